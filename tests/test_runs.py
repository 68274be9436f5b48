"""A run: how it is configured, named, created, started from other weights and opened again."""

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import models, runs
from i2i.config import from_assignments
from i2i.errors import UserError
from i2i.prepare import prepare
from i2i.training import checkpoint
from i2i.training.ranks import Ranks
from i2i.training.trainer import Nobody

SMALL = ["model.generator.depth=3", "model.generator.width=2", "model.discriminator.layers=1", "model.discriminator.width=2"]
TRAIN = ["train.steps=1", "train.samples=1", "train.device=cpu", "train.precision=fp32", "data.size=16"]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "photos" / "train").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    for number in range(3):
        Image.fromarray(np.roll(pixels, number, 1)).save(tmp_path / "photos" / "train" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def prepared(data, tmp_path, monkeypatch):
    """`prepared("train.ema=0.9")`: a small pix2pix that is ready to run, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def ready(*settings):
        layers = [from_assignments([*SMALL, *TRAIN, f"data.source={data}"]), from_assignments(list(settings))]
        return prepare(models.configure("pix2pix", layers))

    return ready


@pytest.fixture
def trained(prepared):
    """The folder of a run of one step with an average."""
    ready = prepared("train.ema=0.5")
    folder = runs.create(ready, None, "photos")
    runs.trainer(folder, ready, Nobody()).run()
    return folder


# Names and folders


def test_runs_are_numbered_one_after_the_other(prepared):
    ready = prepared()
    assert [str(runs.create(ready, None, "photos")) for _ in range(2)] == ["runs/pix2pix-photos-001", "runs/pix2pix-photos-002"]
    assert str(runs.create(ready, None, "others")) == "runs/pix2pix-others-001"


def test_a_number_that_was_used_is_not_used_again(prepared, tmp_path):
    (tmp_path / "runs" / "pix2pix-photos-017").mkdir(parents=True)
    assert runs.create(prepared(), None, "photos").name == "pix2pix-photos-018"


def test_a_folder_that_another_process_has_just_made_is_left_to_it(prepared, monkeypatch):
    ready, real = prepared(), runs._next_free

    def overtaken(folder, stem):
        free = real(folder, stem)
        if free.name.endswith("001"):
            free.mkdir(parents=True)
        return free

    monkeypatch.setattr(runs, "_next_free", overtaken)
    assert runs.create(ready, None, "photos").name == "pix2pix-photos-002"


def test_a_folder_that_is_not_empty_is_refused(prepared, data):
    with pytest.raises(UserError, match="is not empty") as error:
        runs.create(prepared(), data, "photos")
    assert error.value.hint == f"i2i resume {data}, if it is a run; else another --out"


def test_an_empty_folder_is_used(prepared, tmp_path):
    (tmp_path / "empty").mkdir()
    assert (runs.create(prepared(), tmp_path / "empty", "photos") / "config.yaml").exists()


def test_the_saved_config_is_complete_and_gives_the_same_run_again(prepared):
    ready = prepared("train.lr=1e-5", "data.flip=false")
    folder = runs.create(ready, None, "photos")
    assert runs.saved_config(folder) == ready.config
    assert ready.config.data.source.startswith("/")


# What would stop training is found before a folder is made


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.source=''"], "no data"),
        (["data.source=/nowhere/at/all"], "there is no folder"),
        (["data.size=20"], "multiple of 8"),
        (["data.load_size=8"], "smaller than data.size"),
        (["train.device=cuda:99"], "no device 'cuda:99'"),
        (["train.precision=fp16"], "fp16"),
        (["train.player_lr.X=1"], "train.player_lr names 'X'"),
    ],
)
def test_a_setting_that_cannot_work_is_named_before_anything_is_written(prepared, tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        prepared(*settings)
    assert not (tmp_path / "runs").exists()


def test_only_the_first_of_several_processes_looks_for_the_data(prepared, data, monkeypatch):
    asked = []

    class Second(Ranks):
        def tell(self, make):
            asked.append(make)
            return str(data)

    monkeypatch.setattr("i2i.training.ranks.join", lambda: Second(1, 2))
    for name in ("locate", "check"):
        monkeypatch.setattr(f"i2i.prepare.{name}", lambda *_, **__: pytest.fail("the second process looked as well"))
    prepared()
    assert len(asked) == 2, "the place, and what would hurt training"


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (["data.size=20"], "--size 16, or a shallower one: --set model.generator.depth=2"),
        (["data.size=21"], "--size 24"),
        (["data.size=2"], "--size 8"),
        (["model.generator.kind=resnet", "data.size=18"], "--size 16"),
        (["model.generator.kind=resnet", "data.size=4"], "--size 8"),
        (["train.player_lr.d=1"], "such as --set train.player_lr.G=0.0002"),
    ],
)
def test_the_hint_is_what_would_work(prepared, settings, hint):
    with pytest.raises(UserError) as error:
        prepared(*settings)
    assert error.value.hint == hint


def test_images_that_cannot_be_decoded_are_said_before_training(prepared, data):
    for name in ("1.png", "2.png"):
        whole = (data / "train" / name).read_bytes()
        (data / "train" / name).write_bytes(whole[: len(whole) // 2])
    first = data / "train" / "1.png"
    with pytest.raises(UserError, match=f"2 files cannot be read: .+, such as '{first}'$") as error:
        prepared()
    assert error.value.hint == f"replace or remove; training would stop there; i2i data check {data} shows all"
    (data / "train" / "2.png").write_bytes((data / "train" / "0.png").read_bytes())
    with pytest.raises(UserError, match=f"1 file cannot be read: .+, such as '{first}'"):
        prepared()
    assert prepared("data.check=false").config.data.check is False


def test_held_out_images_are_decoded_as_well(prepared, data):
    (data / "val").mkdir()
    whole = (data / "train" / "0.png").read_bytes()
    for name, content in {"a.png": whole[: len(whole) // 2], "b.png": whole[: len(whole) // 2]}.items():
        (data / "val" / name).write_bytes(content)
    with pytest.raises(UserError, match=r"2 files cannot be read: .*a\.png'"):
        prepared()


def test_memory_for_images_is_only_spoken_of_where_there_is_some(prepared):
    assert any("kept in memory, up to 2.0 GB" in line for line in prepared("data.cache_gb=2").said)
    assert not any("kept in memory" in line for line in prepared("data.cache_gb=0").said)


# Starting weights


def test_all_weights_of_a_checkpoint_can_be_started_from(prepared, trained):
    weights, said = models.starting_weights(prepared().config, checkpoint.latest(trained))
    assert weights.keys() == models.build(prepared().config).state_dict().keys()
    assert said == f"starting from '{checkpoint.latest(trained)}'"


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_a_run_or_a_file_gives_its_generators_and_the_rest_is_named_as_fresh(prepared, trained, name):
    weights, said = models.starting_weights(prepared().config, trained / name)
    assert all(key.startswith("G.") for key in weights)
    assert said.endswith("; fresh: D")


def test_weights_that_have_no_place_and_missing_ones_are_named(prepared, trained, tmp_path):
    weights, about = checkpoint.load_weights(trained / "model.safetensors")
    missing = min(weights)
    del weights[missing]
    checkpoint.export(tmp_path / "odd.safetensors", weights | {"E.a": torch.zeros(1), "E.b": torch.zeros(1)}, about)
    _, said = models.starting_weights(prepared().config, tmp_path / "odd.safetensors")
    assert said == f"starting from '{tmp_path / 'odd.safetensors'}'; fresh: D, {missing}; not used: E"


def test_a_weight_of_another_shape_is_named(prepared, trained):
    with pytest.raises(UserError, match=r"G\.\S+ is \(.*\) in '.*' and \(.*\) in the new run") as error:
        models.starting_weights(prepared("model.generator.width=3").config, trained)
    assert error.value.hint == f"train with the settings of that model: --config {trained}/config.yaml"


def test_a_file_that_fits_nothing_is_refused(prepared, tmp_path):
    checkpoint.export(tmp_path / "other.safetensors", {"refiner.weight": torch.zeros(1)}, {"config": {}})
    with pytest.raises(UserError, match=r"nothing in .* fits pix2pix") as error:
        models.starting_weights(prepared().config, tmp_path / "other.safetensors")
    assert error.value.hint == "it holds refiner"


def test_a_run_starts_from_the_weights_that_it_was_given(prepared, trained):
    ready = prepared()
    start, _ = models.starting_weights(ready.config, trained)
    folder = runs.create(ready, None, "second", start)
    method = runs.trainer(folder, ready, Nobody()).method
    assert all(torch.equal(method.state_dict()[name], tensor) for name, tensor in start.items())


# Opening


def test_a_run_a_checkpoint_and_a_file_open_as_the_same_model(trained):
    x = torch.rand(1, 3, 16, 16)
    outputs = [
        models.open_model(path, torch.device("cpu")).method.translate(x)
        for path in (trained, checkpoint.latest(trained), trained / "model.safetensors", trained / "checkpoints" / "last")
    ]
    assert all(torch.equal(outputs[0], output) for output in outputs)


def test_a_folder_without_a_model_says_what_would_make_one(prepared):
    folder = runs.create(prepared(), None, "photos")
    with pytest.raises(UserError, match="there is no model in") as error:
        models.open_model(folder, torch.device("cpu"))
    assert error.value.hint == f"it was not saved yet: i2i resume {folder}"


def test_commands_to_copy_quote_the_names_of_folders(prepared, tmp_path):
    folder = runs.create(prepared(), tmp_path / "my run", "photos")
    with pytest.raises(UserError) as error:
        models.open_model(folder, torch.device("cpu"))
    assert error.value.hint == f"it was not saved yet: i2i resume '{folder}'"
    with pytest.raises(UserError) as error:
        runs.create(prepared(), folder, "photos")
    assert error.value.hint == f"i2i resume '{folder}', if it is a run; else another --out"


def test_a_model_that_lacks_weights_is_refused_with_what_to_do(trained, tmp_path):
    weights, about = checkpoint.load_weights(trained / "model.safetensors")
    missing = min(weights)
    del weights[missing]
    checkpoint.export(tmp_path / "cut.safetensors", weights, about)
    with pytest.raises(UserError, match=f"lacks {missing}$") as error:
        models.open_model(tmp_path / "cut.safetensors", torch.device("cpu"))
    assert "take another checkpoint" in error.value.hint


def test_git_is_only_asked_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "i2i" / "runs.py"))
    monkeypatch.setattr(runs.subprocess, "run", lambda *_, **__: pytest.fail("git was run"))
    assert "git" not in runs.made_with()
