"""`i2i translate` with styles, label maps and annotations, as people type it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i import images, load, models
from i2i.config import Layer
from i2i.images import Picture
from i2i.training import checkpoint

RGB = {"channels": 3}
LABELS = {"channels": 3, "labels": True, "instances": True}


@pytest.fixture
def model(saved, tmp_path, monkeypatch):
    """`model("pix2pix", z=4)`: a file with a tiny untrained model, in the current folder, beside two images in `in`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number, name in enumerate("ab"):
        images.write(Path("in", f"{name}.png"), Picture(np.random.default_rng(number).integers(0, 3, (9, 12, 1), np.uint8)))
        Path("in", f"{name}.json").write_text(name)

    def export(method: str, x: dict | None = None, **settings: object) -> Path:
        return saved(tmp_path / f"{method}.safetensors", method, settings, x=x)

    return export


@pytest.fixture
def noisy(model) -> Path:
    return model("pix2pix", z=4, generator={"depth": 3, "width": 2}, discriminator={"width": 2})


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "status", "said", "made"),
    [
        (["--samples", 2], 0, "4 of 4 translated", ["a_0.png", "a_1.png", "b_0.png", "b_1.png"]),
        (["--samples", 2, "--seed", 5, "--same-style"], 0, "4 of 4", ["a_0.png", "a_1.png", "b_0.png", "b_1.png"]),
        (["--seed", 5], 0, "2 of 2", ["a.png", "b.png"]),
        (["--samples", 3, "--interpolate", 4], 0, "2 of 2", ["a.png", "b.png"]),
        (["--samples", 3, "--interpolate", 4, "--format", "gif"], 0, "2 of 2", ["a.gif", "b.gif"]),
        (["--samples", 3, "--interpolate", 4, "--format", "mp4"], 0, "2 of 2", ["a.mp4", "b.mp4"]),
        (["--samples", 2, "--dry-run"], 0, "4 of 4 images would be", None),
        (["--interpolate", 4], 2, "--samples", None),
        (["--samples", 2, "--format", "mp4"], 2, "one image is no MP4", None),
        (["--samples", 0], 2, "--samples", None),
        (["--style-from", "in/a.png"], 2, "cannot take its style from an image", None),
        (["--samples", 2, "--style-from", "in/a.png"], 2, "each say which styles to take", None),
        (["--style", "1=2"], 2, "no kinds to choose from", None),
        (["--style", "1"], 2, "--style takes LABEL=KIND, two numbers, not '1'", None),
        (["--tile", "7"], 2, "--tile must be auto, off, or at least 16 pixels, not '7'", None),
        (["--instances", "in"], 2, "does not take any", None),
        (["--noise", "off", "--seed", 5], 0, "2 of 2", ["a.png", "b.png"]),
        (["--noise", "on"], 2, "no dropout", None),  # three halvings have none
        (["--noise", "7"], 2, "--noise", None),
        (["--norm-stats", "image"], 0, "2 of 2", ["a.png", "b.png"]),
        (["--norm-stats", "running"], 2, "no statistics of its training", None),  # it was never trained
        (["--norm-stats", "batch"], 2, "--norm-stats", None),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_how_it_ends(i2i, noisy, words, status, said, made):
    ended = i2i("translate", noisy, "in", "-o", "out", *words)
    assert ended.status == status
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert files("out") == (made or [])


def test_one_image_becomes_one_movie_by_its_name(i2i, noisy):
    assert i2i("translate", noisy, "in/a.png", "-o", "a.gif", "--interpolate", 4, "--samples", 2).status == 0
    assert Path("a.gif").read_bytes()[:3] == b"GIF"
    assert i2i("translate", noisy, "in/a.png", "-o", "b.gif").status == 2


def test_the_log_has_a_line_for_each_output_and_a_rerun_makes_what_is_missing(i2i, noisy):
    ended = i2i("translate", noisy, "in", "-o", "out", "--samples", 2, "--json")
    *records, summary = map(json.loads, ended.out.splitlines())
    assert [r["output"] for r in records] == ["out/a_0.png", "out/a_1.png", "out/b_0.png", "out/b_1.png"]
    assert (summary["summary"]["total"], summary["summary"]["done"]) == (4, 4)
    kept = Path("out/b_1.png").read_bytes()
    Path("out/b_1.png").unlink()
    assert "1 of 4 translated, 3 skipped" in i2i("translate", noisy, "in", "-o", "out", "--samples", 2, "--skip-existing").err
    assert Path("out/b_1.png").read_bytes() == kept


def test_the_statistics_of_the_training_are_used_where_they_are_asked_for(i2i, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = models.configure(
        "pix2pix", [Layer("test", {"model": {"generator": {"depth": 3, "width": 4}}, "data": {"x": RGB, "y": RGB}})]
    )
    method = models.build(config)
    method.train().G(torch.randn(4, 3, 16, 16))
    checkpoint.export(Path("m.safetensors"), method.generator_weights(), {"config": config.tree(), "made_with": {}})
    images.write(Path("a.png"), Picture(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)))
    made = {}
    for norms in ("image", "running"):
        assert i2i("translate", "m.safetensors", "a.png", "-o", f"{norms}.png", "--norm-stats", norms).status == 0
        made[norms] = images.read(Path(f"{norms}.png")).array
    translator = load("m.safetensors", "cpu", norm_stats="running")
    np.testing.assert_array_equal(made["running"], translator.translate("a.png").array)
    assert not np.array_equal(made["running"], made["image"])
    with torch.no_grad():
        for norm in (layer for layer in translator.model.method.G.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
            norm.running_mean += 0.5
    assert not np.array_equal(made["running"], translator.translate("a.png").array)


def test_the_noise_of_pix2pix_is_drawn_for_each_output_where_it_is_asked_for(i2i, model):
    path = model("pix2pix", generator={"kind": "resnet", "blocks": 1, "width": 4, "dropout": True}, initial={"gain": 0.3})
    words = {"off": [], "on": ["--noise", "on"], "again": ["--noise", "on", "--batch", 2], "7": ["--noise", "on", "--seed", 7]}
    for out, more in words.items():
        assert i2i("translate", path, "in", "-o", out, *more).status == 0
    made = {out: Path(out, "a.png").read_bytes() for out in words}
    assert made["on"] == made["again"]
    assert len({made["off"], made["on"], made["7"]}) == 3
    assert i2i("translate", path, "in", "-o", "many", "--noise", "on", "--samples", 3).status == 0
    assert len({Path("many", f"a_{n}.png").read_bytes() for n in range(3)}) == 3


def test_a_model_without_styles_says_so_before_anything_is_written(i2i, model):
    path = model("cyclegan", generator={"blocks": 1, "width": 2}, discriminator={"width": 2})
    ended = i2i("translate", path, "in", "-o", "out", "--samples", 2)
    assert (ended.status, Path("out").exists()) == (2, False)
    assert "has no styles" in ended.err


def test_label_maps_and_their_instances_come_from_two_folders(i2i, model):
    path = model("pix2pixhd", LABELS, generator={"width": 2, "halvings": 2, "blocks": 1})
    Path("inst").mkdir()
    images.write(Path("inst/a.png"), Picture(np.full((9, 12, 1), 40_000, np.uint16)))
    assert "no instance maps are given" in i2i("translate", path, "in", "-o", "out").err
    ended = i2i("translate", path, "in", "-o", "out", "--instances", "inst")
    assert (ended.status, files("out")) == (3, ["a.png"])
    assert "cannot translate 'in/b.png': it has no instance map" in ended.err


def test_annotations_go_along_with_refined_images_and_are_counted(i2i, model):
    path = model("simgan")
    shown = i2i("translate", path, "in", "-o", "out", "--dry-run").out.splitlines()
    assert shown[:2] == ["in/a.png -> out/a.png", "in/a.json -> out/a.json (copied)"]
    assert not Path("out").exists()
    planned = json.loads(i2i("translate", path, "in", "-o", "out", "--dry-run", "--json").out.splitlines()[0])
    assert planned["annotations"] == ["out/a.json"]
    ended = i2i("translate", path, "in", "-o", "out", "--json")
    assert "2 of 2 translated, 2 annotations copied" in ended.err
    assert json.loads(ended.out.splitlines()[-1])["summary"]["annotations"] == 2
    assert files("out") == ["a.json", "a.png", "b.json", "b.png"]


def test_the_help_shows_how_to_use_styles(i2i):
    said = i2i("translate", "--help").out
    for option in ("--samples", "--seed", "--same-style", "--style-from", "--interpolate", "--instances"):
        assert option in said
