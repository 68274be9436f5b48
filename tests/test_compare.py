"""Which settings of runs differ, and which of their numbers compare."""

import json

import pytest
import torch

from i2i.compare import compare, found, winners
from i2i.training import checkpoint


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        ({}, {}, {}),
        ({"train": {"lr": 1e-3}}, {"train": {"lr": 1e-4}}, {"train.lr": [1e-3, 1e-4]}),
        ({"train": {"lr": 2e-4}}, {}, {}),  # which an older version did not write, and is the default
        (
            {"model": {"gan": {"kind": "hinge", "r1": 0}}},
            {"model": {"gan": {"kind": "lsgan", "r1": 0}}},
            {"model.gan.kind": ["hinge", "lsgan"]},
        ),
        ({"model": {"new": 1}}, {"model": {}}, {"model.new": [1, None], "model": [None, {}]}),
        ({"method": "crn", "model": {"modules": 3}}, {"model": {"depth": 3}}, {}),  # of methods that have nothing in common
        ({"data": {"source": "a"}}, {"data": {"source": "b"}}, {}),  # which has a row of its own
        (
            {"stages": {"fine": {"train": {"steps": 3}}}},
            {"stages": {"fine": {"train": {"steps": 4}}}},
            {"stages.fine.train.steps": [3, 4]},
        ),
    ],
)
def test_settings_that_differ_are_told_by_their_whole_key(run_folder, one, other, differing):
    runs = [run_folder(name, **changes) for name, changes in (("a", one), ("b", other))]
    settings = compare(runs).settings
    assert settings.items() >= {key: value for key, value in differing.items() if key != "model"}.items()
    assert settings.keys() <= differing.keys()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, []),
        ({"data": {"source": "b"}}, ["the data"]),
        ({"data": {"source": "a", "direction": "BtoA"}}, ["the direction"]),
        ({"data": {"source": "a"}, "train": {"validate_images": 7}}, ["how many are measured"]),
        ({"data": {"source": "a", "hold_back": 7}}, ["the images held back"]),
        ({"seen": {"data": {"x": 21, "y": 30, "names": "m"}}}, ["its images"]),
        ({"data": {"source": "a", "y": {"channels": 1}}}, ["the kind of images"]),
        ({"data": {"source": "a", "size": 128}}, ["the size of the crops"]),
    ],
)
def test_validations_compare_where_they_are_of_the_same_images(run_folder, changes, why):
    same = {"saved": [1], "data": {"source": "a"}}
    found = compare([run_folder("a", **same), run_folder("b", **{**same, **changes})])
    assert found.why == why
    assert found.exams == ([1, 2] if why else [1, 1])


@pytest.mark.parametrize(
    ("changes", "beside", "grounds"),
    [
        ({}, {}, [1, 1]),
        ({"data": {"source": "a", "size": 128}}, {}, [1, 1]),  # whole images are evaluated
        ({"data": {"source": "b"}}, {}, [1, 2]),
        ({}, {"direction": "BtoA"}, [1, 2]),
        ({}, {"palette": "0af3"}, [1, 2]),
        ({}, {"seed": 1}, [1, 2]),
    ],
)
def test_evaluations_compare_where_the_same_was_asked_of_the_same_images(run_folder, changes, beside, grounds):
    same = {"saved": [1], "data": {"source": "a"}}
    runs = [run_folder("a", **same), run_folder("b", **{**same, **changes})]
    for run, asked in zip(runs, ({}, beside), strict=True):
        (run / "evaluation.json").write_text(json.dumps({"metrics": [], "direction": "AtoB", "seed": 0, **asked}))
    assert compare(runs).grounds == grounds


@pytest.mark.parametrize(
    ("metric", "values", "groups", "best"),
    [
        ("l1", [3.0, 1.0, 2.0], "aaa", {1}),
        ("ssim", [0.3, 0.1, 0.2], "aaa", {0}),
        ("1nn", [0.2, 0.9, 0.6], "aaa", {2}),
        ("l1", [3.0, 1.0, 2.0], "aba", {2}),
        ("l1", [1.0, 1.0, 2.0], "aaa", {0, 1}),
        ("l1", [1.0, 1.0], "aa", set()),
        ("l1", [1.0], "a", set()),
        ("l1", [None, float("nan"), 2.0], "aaa", set()),
        ("psnr", [float("inf"), 30.0], "aa", {0}),
    ],
)
def test_the_best_is_told_among_several_of_one_group(metric, values, groups, best):
    assert winners(metric, values, groups) == best


def test_a_folder_stands_for_the_runs_in_it_in_natural_order(run_folder, tmp_path):
    (tmp_path / "junk").mkdir()
    runs = [run_folder(name) for name in ("run-10", "run-9")]
    assert found([tmp_path, runs[0]]) == [runs[1], runs[0]]


def test_a_damaged_run_in_a_folder_is_left_out_with_a_word_and_a_named_one_is_not(run_folder, tmp_path):
    runs, said = [run_folder(name) for name in ("a", "b")], []
    (runs[0] / "config.yaml").write_text("method: [")
    assert found([tmp_path], said.append) == [runs[1]]
    assert said[0].startswith(f"warning: '{runs[0]}' is left out: ")
    assert found([runs[0]]) == [runs[0]]


def test_runs_can_be_sorted_and_one_that_was_not_measured_comes_last(run_folder):
    values = {"a": None, "b": 0.3, "c": 0.5}
    runs = [run_folder(n, [{"step": 1, "seconds": 1, "val/ssim": v}] if v else []) for n, v in values.items()]
    assert [one["run"][-1] for one in compare(runs, by="ssim").runs] == ["c", "b", "a"]


def test_the_weights_of_a_model_are_counted_by_the_head_of_its_file(run_folder):
    folder = run_folder("a")
    assert compare([folder]).runs[0]["weights"] is None
    checkpoint.export(folder / "model.safetensors", {"G.a": torch.zeros(3, 4), "G.b": torch.zeros(())}, {})
    assert compare([folder]).runs[0]["weights"] == 13


def test_a_damaged_evaluation_is_none(run_folder):
    folder = run_folder("a")
    (folder / "evaluation.json").write_text('{"metr')
    assert compare([folder]).evaluations == [{}]
