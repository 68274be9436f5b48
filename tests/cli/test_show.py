"""`i2i show`, `i2i methods` and `i2i config`."""

import json
import subprocess
import sys

import pytest
import yaml

from i2i import config, models
from i2i.methods import METHODS


def test_methods_are_listed_with_the_data_they_need(i2i):
    done = i2i("methods")
    assert [line.split()[:2] for line in done.out.splitlines()] == [[name, row.data] for name, row in METHODS.items()]
    assert done.err == "next: i2i config pix2pix\n"


def test_methods_come_as_json(i2i):
    assert json.loads(i2i("methods", "--json").out)["cyclegan"]["data"] == "unpaired"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", [None, "quick", "small"])
def test_a_printed_config_is_a_config_file_with_the_same_values(i2i, tmp_path, method, preset):
    done = i2i("config", method, *(["--preset", preset] if preset else []))
    file = tmp_path / "my.yaml"
    file.write_text(done.out)
    layers = [config.preset(method, preset)] if preset else []
    assert models.configure(method, [config.from_file(file)]) == models.configure(method, layers)
    assert ("# preset" in done.out) == bool(preset)


def test_values_that_yaml_could_misread_survive_the_printed_config(i2i, photos, small, tmp_path):
    odd = photos.rename(
        tmp_path / "it's: a, [long] #folder {name} with   many spaces that is longer than a line can be in YAML off"
    )
    done = i2i(
        "train",
        "pix2pix",
        "--config",
        small,
        "--data",
        odd,
        "--dry-run",
        "--set",
        "train.lr=1e-5",
        "--set",
        "train.player_lr.D=3e-6",
    )
    settings = yaml.safe_load(done.out)
    assert settings["data"]["source"] == str(odd)
    file = tmp_path / "my.yaml"
    file.write_text(done.out)
    again = i2i("train", "pix2pix", "--config", file, "--dry-run")
    assert yaml.safe_load(again.out) == settings


def test_show_tells_where_a_run_stands_and_what_comes_next(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos)
    done = i2i("show", "runs/pix2pix-photos-001")
    lines = dict(line.split(None, 1) for line in done.out.splitlines())
    assert lines["run"] == "runs/pix2pix-photos-001, finished"
    assert lines["progress"] == "step 2 of 2 (100%), epoch 0.67"
    assert "G/l1" in lines["losses"]
    assert lines["checkpoints"] == "step-000000002 (last)"
    assert done.err.startswith("next: i2i translate runs/pix2pix-photos-001")
    about = json.loads(i2i("show", "runs/pix2pix-photos-001", "--json").out)
    assert (about["step"], about["steps"], about["method"]) == (2, 2, "pix2pix")


def test_show_of_an_unfinished_run_says_how_to_go_on(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos)
    file = photos.parent / "work" / "runs" / "pix2pix-photos-001" / "config.yaml"
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 4\n"))
    assert i2i("show", "runs/pix2pix-photos-001").err == "next: i2i resume runs/pix2pix-photos-001\n"


def test_show_of_a_run_that_was_shortened_takes_it_as_finished_and_quotes_its_name(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos, "--out", "my run")
    file = photos.parent / "work" / "my run" / "config.yaml"
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 1\n"))
    assert i2i("show", "my run").err == "next: i2i translate 'my run' FOLDER -o OUT\n"


@pytest.fixture
def validated(i2i, photos, small):
    """A run of two steps, of which the first was the better one."""
    i2i("train", "pix2pix", "--config", small, "--data", photos, "--out", "r", "--set", "train.save_every=1")
    run = photos.parent / "work" / "r"
    rows = [
        {"step": step, "steps": 2, "epoch": 1, "seconds": step, "val/ssim": 0.5 - step / 10, "val/l1": 30 - step}
        for step in (1, 2)
    ]
    with (run / "metrics.jsonl").open("a") as log:
        log.writelines(f"{json.dumps(row)}\n" for row in rows)
    (run / "checkpoints" / "best").symlink_to("step-000000001")
    return run


def test_show_says_that_the_best_is_not_the_last_and_translates_with_the_best(i2i, validated):
    done = i2i("show", "r")
    assert [line.strip() for line in done.out.splitlines()[-7:]] == [
        "validation   metric  better  last  at step  best  at step",
        "ssim    higher  0.3   2        0.4   1",
        "l1      lower   28    2        28    2",
        "the best of 2 validations is that by ssim",
        "checkpoints  step-000000001 (best)",
        "step-000000002 (last)",
        "model        r/model.safetensors",
    ]
    assert "note: the last checkpoint is not the best one" in done.err
    assert done.err.endswith("next: i2i translate r/checkpoints/best FOLDER -o OUT\n")
    assert json.loads(i2i("show", "r", "--json").out)["validation"]["metrics"]["ssim"]["best"] == {"step": 1, "value": 0.4}


@pytest.mark.parametrize(("columns", "lines"), [("40", 3), ("200", 1)])
def test_losses_fill_the_width_of_the_terminal_and_are_not_broken(i2i, validated, monkeypatch, columns, lines):
    monkeypatch.setenv("COLUMNS", columns)
    out = i2i("show", "r").out.splitlines()
    start = next(i for i, line in enumerate(out) if line.startswith("losses"))
    told = next(i for i, line in enumerate(out) if line.startswith("rates")) - start
    assert told == lines
    assert all(len(line) <= int(columns) for line in out[start : start + told])


def test_show_warns_of_what_ails_the_run_with_its_remedy(i2i, validated):
    with (validated / "metrics.jsonl").open("a") as log:
        for step in range(20, 1000, 20):
            where = {"step": step, "steps": 2000, "from": 0, "until": 2000, "epoch": 1, "seconds": step}
            log.write(f"{json.dumps(where | {'lr/G': 1e-12, 'lr/D': 2e-4})}\n")
    done = i2i("show", "r")
    assert "warning: G stands still: lr/G is 1e-12 at step 980 of 2000; --set train.schedule=constant" in done.err
    (told,) = json.loads(i2i("show", "r", "--json").out)["warnings"]
    assert told["name"] == "G stands still"
    assert told.keys() == {"name", "evidence", "remedy"}


def test_show_does_without_torch(validated):
    code = (
        "import sys, atexit\natexit.register(lambda: print('torch' in sys.modules))\n"
        "sys.argv = ['i2i', 'show', 'r']\nfrom i2i.cli import main; main()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.endswith("False\n")


def test_a_number_that_json_does_not_have_is_left_out(i2i, validated):
    before = json.loads(i2i("show", "r", "--json").out)
    with (validated / "metrics.jsonl").open("a") as log:
        log.write('{"step": 2, "seconds": 2, "val/psnr": Infinity, "val/l1": NaN}\n')
    tree = json.loads(i2i("show", "r", "--json").out, parse_constant=pytest.fail)
    assert tree["validation"] == before["validation"]


def test_a_model_that_needs_instance_maps_is_told_with_them(i2i, run_folder, tmp_path):
    x = {"channels": 5, "labels": True, "instances": True}
    run = run_folder("r", [{"step": 9, "steps": 9, "seconds": 1}], saved=[9], data={"x": x})
    assert i2i("show", run).err == f"next: i2i translate {run} FOLDER -o OUT --instances DIR\n"
