"""Many outputs of one input, label maps and what lies beside the inputs, through files and tiny models."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from i2i import images, movies
from i2i.errors import UserError
from i2i.images import ImageError, Picture
from i2i.translate import Translator

MODELS = {
    "pix2pix": {"generator": {"depth": 3, "width": 4, "dropout": False}, "discriminator": {"layers": 1, "width": 4}},
    "bicyclegan": {
        "z": 3,
        "generator": {"depth": 3, "width": 4},
        "encoder": {"blocks": 2, "width": 4},
        "initial": {"kind": "xavier", "gain": 1},
    },
    "crn": {"modules": 3, "width": 0.01, "images": 3, "lambda_perceptual": 0.0, "lambda_l1": 1.0},
    "pix2pixhd": {"generator": {"width": 4, "halvings": 2, "blocks": 1}, "lambda_perceptual": 0.0},
    "simgan": {},
}


@pytest.fixture
def opened(saved, tmp_path):
    """`opened("pix2pix", z=4, x={...})`: a tiny untrained model, opened from its file."""

    def open_one(method: str = "pix2pix", x: dict | None = None, y: dict | None = None, **model: object) -> Translator:
        path = saved(tmp_path / f"{method}.safetensors", method, {**MODELS[method], **model}, x=x, y=y)
        return Translator.open(path, "cpu", "fp32")

    return open_one


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder of three images, one of another size."""
    for name, height in (("a", 16), ("b", 16), ("sub/c", 21)):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, picture(height))
    return tmp_path / "in"


def picture(height: int = 16, seed: int = 0) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 255, (height, 16, 3), np.uint8))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Samples


def test_samples_are_numbered_files_and_each_has_a_record(opened, inputs, tmp_path):
    records = list(opened(z=4).translate_folder(inputs, tmp_path / "out", samples=2))
    names = ["a_0.png", "a_1.png", "b_0.png", "b_1.png", "sub/c_0.png", "sub/c_1.png"]
    assert [record.output.relative_to(tmp_path / "out").as_posix() for record in records] == names
    assert [(record.status, record.height) for record in records[-2:]] == [("done", 21)] * 2
    assert sorted(tree(tmp_path / "out")) == names
    assert len(set(tree(tmp_path / "out").values())) == 6


def test_a_file_name_is_numbered_too(opened, inputs, tmp_path):
    list(opened(z=4).translate_folder(inputs / "a.png", tmp_path / "out.jpg", samples=2))
    assert {path.name for path in tmp_path.glob("out*")} == {"out_0.jpg", "out_1.jpg"}


def test_samples_depend_on_name_and_seed_alone(opened, inputs, tmp_path):
    model = opened(z=4)
    runs = {
        "one": {"batch": 1},
        "many": {"batch": 3},
        "seven": {"seed": 7},
    }
    for out, options in runs.items():
        list(model.translate_folder(inputs, tmp_path / out, samples=2, **options))
    alone = list(model.translate_folder(inputs / "b.png", tmp_path / "alone", samples=2))
    made = {out: tree(tmp_path / out) for out in (*runs, "alone")}
    assert made["one"] == made["many"]
    assert made["alone"] == {name: made["one"][name] for name in ("b_0.png", "b_1.png")}
    assert not set(made["seven"].values()) & set(made["one"].values())
    assert len(alone) == 2


def test_every_input_has_its_own_styles_unless_all_get_the_same(opened, inputs, tmp_path):
    model, seen = opened(z=4), []
    samples = model.model.method.samples
    model.model.method.samples = lambda x, styles, **rest: seen.append((len(x), styles)) or samples(x, styles, **rest)
    list(model.translate_folder(inputs, tmp_path / "own", samples=2, batch=4))
    assert [count for count, _ in seen] == [1, 1, 1]
    own = [style for _, styles in seen for style in styles]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(own, 2))
    seen.clear()
    list(model.translate_folder(inputs, tmp_path / "same", samples=2, batch=4, same_style=True))
    assert [count for count, _ in seen] == [2, 1]  # a and b share a batch, c has another size
    assert all(torch.equal(a, b) for _, styles in seen for a, b in zip(styles, model.draw_styles(2, 0), strict=True))


def test_a_seed_alone_draws_one_style_and_without_it_the_typical_one_is_taken(opened, inputs, tmp_path):
    model = opened(z=4)
    for out, options in (("drawn", {"seed": 0}), ("typical", {}), ("sampled", {"samples": 1})):
        list(model.translate_folder(inputs / "a.png", tmp_path / out, **options))
    drawn, typical, sampled = (tree(tmp_path / out) for out in ("drawn", "typical", "sampled"))
    assert (set(drawn), set(typical), set(sampled)) == ({"a.png"}, {"a.png"}, {"a_0.png"})
    assert drawn["a.png"] == sampled["a_0.png"] != typical["a.png"]
    np.testing.assert_array_equal(images.read(tmp_path / "typical/a.png").array, model.translate(inputs / "a.png").array)


def test_only_missing_samples_are_made_and_they_are_what_they_would_have_been(opened, inputs, tmp_path):
    model = opened(z=4)
    list(model.translate_folder(inputs, tmp_path / "out", samples=3))
    before = tree(tmp_path / "out")
    for name in ("a_1.png", "b_0.png", "b_1.png", "b_2.png"):
        (tmp_path / "out" / name).unlink()
    with pytest.raises(UserError, match="5 of 9 outputs exist already"):
        model.translate_folder(inputs, tmp_path / "out", samples=3)
    (tmp_path / "out/a_0.png").write_text("mine")
    records = list(model.translate_folder(inputs, tmp_path / "out", samples=3, existing="skip"))
    assert [r.status[0] for r in records] == list("sdsdddsss")
    assert tree(tmp_path / "out") == before | {"a_0.png": b"mine"}


def test_an_input_that_fails_fails_for_its_missing_outputs_only(opened, inputs, tmp_path):
    model = opened(z=4)
    list(model.translate_folder(inputs / "a.png", tmp_path / "out", samples=2))
    (tmp_path / "out/a_1.png").unlink()
    (inputs / "a.png").write_bytes(b"")
    kept, missing = model.translate_folder(inputs / "a.png", tmp_path / "out", samples=2, existing="skip")
    assert (kept.status, kept.error, missing.status) == ("skipped", None, "failed")


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("pix2pix", {"samples": 2}, "has no styles"),
        ("pix2pix", {"seed": 1}, "has no styles"),
        ("pix2pix", {"style_from": "in/a.png"}, "cannot take its style from an image"),
        ("crn", {"samples": 4}, "4 outputs are asked for, and this model makes 3"),
        ("crn", {"samples": 2, "interpolate": 3}, "no between"),
        ("bicyclegan", {"interpolate": 3}, "3 frames between 1 styles make no movie"),
        ("bicyclegan", {"samples": 2, "style_from": "in/a.png"}, "each say which styles to take"),
        ("bicyclegan", {"style_from": "in/none.png"}, "there is no such file"),
        ("bicyclegan", {"samples": 2, "format": "gif"}, "one image is no GIF"),
    ],
)
def test_what_the_model_does_not_have_is_refused_before_anything_is_written(opened, inputs, tmp_path, method, options, words):
    if "style_from" in options:
        options = {**options, "style_from": tmp_path / options["style_from"]}
    with pytest.raises(UserError, match=words):
        opened(method).translate_folder(inputs, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_crn_writes_its_k_images_in_one_pass(opened, inputs, tmp_path):
    model, passes = opened("crn"), []
    model.model.method.G.register_forward_hook(lambda *_: passes.append(1))
    list(model.translate_folder(inputs, tmp_path / "out", samples=3, batch=4))
    assert len(tree(tmp_path / "out")) == 9
    assert len(passes) == 2  # a and b together, c alone
    first = images.read(tmp_path / "out/a_0.png").array
    np.testing.assert_array_equal(first, model.translate(inputs / "a.png").array)


# A style from an image


def test_the_style_of_an_image_is_used_for_all_inputs(opened, inputs, tmp_path):
    model = opened("bicyclegan")
    boot = tmp_path / "boot.jpg"
    images.write(boot, picture(37, seed=5))
    list(model.translate_folder(inputs, tmp_path / "out", style_from=boot))
    assert set(tree(tmp_path / "out")) == {"a.png", "b.png", "sub/c.png"}
    style = model.encode_style(images.read(boot))
    expected = model.translate(inputs / "a.png", style=style).array
    np.testing.assert_array_equal(images.read(tmp_path / "out/a.png").array, expected)
    assert not np.array_equal(expected, model.translate(inputs / "a.png").array)


# From style to style


def test_an_interpolation_goes_through_all_styles_and_shows_each_once(opened, inputs, tmp_path):
    model = opened(z=4)
    list(model.translate_folder(inputs / "a.png", tmp_path / "out", samples=3, interpolate=4, same_style=True))
    strip = images.read(tmp_path / "out/a.png").array
    frames = np.split(strip, 7, axis=1)
    for place, style in zip((0, 3, 6), model.draw_styles(3, 0), strict=True):
        np.testing.assert_array_equal(frames[place], model.translate(inputs / "a.png", style=style).array)
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(frames)]
    assert min(steps) > 0


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_an_interpolation_can_be_a_movie(opened, inputs, tmp_path, suffix):
    records = list(opened(z=4).translate_folder(inputs, tmp_path / "out", samples=2, interpolate=5, format=suffix))
    assert [record.status for record in records] == ["done"] * 3
    assert set(tree(tmp_path / "out")) == {f"a.{suffix}", f"b.{suffix}", f"sub/c.{suffix}"}
    list(opened(z=4).translate_folder(inputs / "a.png", tmp_path / f"one.{suffix}", samples=2, interpolate=5))
    assert (tmp_path / f"one.{suffix}").read_bytes()[:3] == (tmp_path / f"out/a.{suffix}").read_bytes()[:3]


def test_a_gif_and_an_mp4_hold_every_frame_at_eight_a_second(tmp_path):
    frames = [Picture(np.full((9, 16, 3), (200 - 30 * n, 30 * n, 10), np.uint8)) for n in range(5)]
    movies.write(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"], gif.info["loop"]) == (5, (16, 9), 120, 0)
        gif.seek(4)
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - frames[4].array).max() <= 3
    movies.write(tmp_path / "a.mp4", frames)
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (5, 8)
    shown = video.read()[1][..., ::-1].astype(int)
    assert shown.shape == (10, 16, 3)  # an odd side is made even
    assert np.abs(shown[:9] - frames[0].array).max() < 20


def test_grey_frames_make_movies_and_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    frames = [Picture(np.full((8, 8, 1), 50 * n, np.uint8)) for n in range(3)]
    for name in ("a.gif", "a.mp4", "a.png"):
        movies.write(tmp_path / name, frames)
    monkeypatch.setattr(cv2, "VideoWriter", Silent)
    with pytest.raises(ImageError, match="cannot write MP4"):
        movies.write(tmp_path / "b.mp4", frames)
    with pytest.raises(ImageError, match="cannot write"):
        movies.write(tmp_path / "none/b.gif", frames)
    assert set(tree(tmp_path)) == {"a.gif", "a.mp4", "a.png"}


class Silent:
    """What OpenCV gives where it cannot encode."""

    fourcc = staticmethod(lambda *_: 0)

    def __init__(self, *_: object):
        pass

    def isOpened(self) -> bool:
        return False

    def release(self) -> None:
        pass


def test_a_movie_is_refused_for_values_that_it_cannot_hold(opened, inputs, tmp_path):
    model = opened(z=4, y={"dtype": "uint16"})
    with pytest.raises(UserError, match="GIF cannot hold"):
        model.translate_folder(inputs, tmp_path / "out", samples=2, interpolate=4, format="gif")


# Label maps


LABELS = {"channels": 4, "labels": True, "void": [255]}


@pytest.fixture
def labels(tmp_path) -> Path:
    """Three label maps: grey, palette, and one with labels that no class has."""
    (tmp_path / "in").mkdir()
    ids = np.arange(15 * 18).reshape(15, 18) % 3
    ids[0, 0] = 255
    Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "in/grey.png")
    indexed = Image.fromarray(ids.astype(np.uint8), "P")
    indexed.putpalette([10, 20, 30] * 256)
    indexed.save(tmp_path / "in/palette.png")
    Image.fromarray((ids + 31).clip(0, 255).astype(np.uint8)).save(tmp_path / "in/wrong.png")
    return tmp_path / "in"


def test_label_maps_go_in_as_classes_and_strange_labels_fail_that_file_by_value(opened, labels, tmp_path):
    model, seen = opened(x=LABELS), []
    translate = model.model.method.translate
    model.model.method.translate = lambda x, **rest: seen.append(x) or translate(x, **rest)
    records = list(model.translate_folder(labels, tmp_path / "out"))
    assert [record.status for record in records] == ["done", "done", "failed"]
    assert "wrong.png" in records[2].error
    assert "31, 32 and 33" in records[2].error
    assert set(tree(tmp_path / "out")) == {"grey.png", "palette.png"}
    assert images.read(tmp_path / "out/grey.png").array.shape == (15, 18, 3)
    assert seen[0].shape[1] == 4
    assert seen[0].sum(1).eq(1).all()
    inside = seen[0][0, :, :15, 3:21].argmax(0)  # what is padded is mirrored
    assert (inside[0, 0], inside[3, 4]) == (3, (3 * 18 + 4) % 3)  # void is the last channel


def test_a_label_map_in_memory_is_what_its_file_is(opened, labels):
    model = opened(x=LABELS)
    expected = model.translate(labels / "grey.png").array
    ids = np.asarray(Image.open(labels / "grey.png"))
    for source in (ids, ids.astype(np.int64), Image.open(labels / "grey.png"), Image.open(labels / "palette.png")):
        np.testing.assert_array_equal(model.translate(source).array, expected)


def test_instance_maps_are_found_by_name_kept_whole_and_padded_like_the_labels(opened, labels, tmp_path):
    model, seen = opened("pix2pixhd", x={**LABELS, "instances": True}), []
    samples = model.model.method.samples
    model.model.method.samples = lambda x, s, **rest: seen.append((x, rest["instances"])) or samples(x, s, **rest)
    (labels / "wrong.png").unlink()
    (labels / "grey.png").rename(labels / "grey_gtFine_labelIds.png")
    ids = (np.arange(15 * 18).reshape(15, 18) % 7 + 40_000).astype(np.uint16)
    (tmp_path / "inst").mkdir()
    images.write(tmp_path / "inst/grey_gtFine_instanceIds.png", Picture(ids[..., None]))
    records = list(model.translate_folder(labels, tmp_path / "out", instances=tmp_path / "inst"))
    assert [record.status for record in records] == ["done", "failed"]
    assert "palette.png" in records[1].error
    assert "no instance map" in records[1].error
    ((x, instances),) = seen
    assert (instances.dtype, instances.shape) == (torch.int64, (1, 1, *x.shape[2:]))
    assert set(instances.unique().tolist()) == set(range(40_000, 40_007))
    one = model.translate(labels / "grey_gtFine_labelIds.png", instances=ids)
    np.testing.assert_array_equal(one.array, images.read(records[0].output).array)
    with pytest.raises(ImageError, match="18x15 pixels, but its instance map 17x15"):
        model.translate(labels / "palette.png", instances=ids[:, 1:])


def test_instances_are_asked_for_where_they_are_needed_and_refused_where_not(opened, labels, tmp_path):
    model = opened("pix2pixhd", x={**LABELS, "instances": True})
    with pytest.raises(UserError, match="no instance maps are given"):
        model.translate_folder(labels, tmp_path / "out")
    with pytest.raises(UserError, match="no instance maps are given"):
        model.translate(labels / "grey.png")
    with pytest.raises(UserError, match="there is no folder"):
        model.translate_folder(labels, tmp_path / "out", instances=tmp_path / "none")
    with pytest.raises(UserError, match="does not take any"):
        opened(x=LABELS).translate_folder(labels, tmp_path / "out", instances=labels)


def test_an_instance_map_is_never_replaced(opened, labels, tmp_path):
    (tmp_path / "inst").mkdir()
    (labels / "palette.png").rename(tmp_path / "inst/grey.png")
    model = opened("pix2pixhd", x={**LABELS, "instances": True})
    with pytest.raises(UserError, match="would replace the input"):
        model.translate_folder(labels / "grey.png", tmp_path / "inst", existing="overwrite", instances=tmp_path / "inst")


# Annotations


@pytest.fixture
def noted(inputs) -> Path:
    """Images with what was noted about them beside them."""
    for name in ("a.json", "a.txt", "sub/c.npy", "other.json", "a.tar.gz", "ab.txt"):
        (inputs / name).write_text(f"about {name}")
    return inputs


def test_annotations_are_carried_over_under_the_name_of_the_output(opened, noted, tmp_path):
    records = list(opened("simgan").translate_folder(noted, tmp_path / "out"))
    out = tree(tmp_path / "out")
    assert set(out) == {"a.png", "b.png", "sub/c.png", "a.json", "a.txt", "sub/c.npy"}
    assert out["a.json"] == b"about a.json"
    assert [[path.name for path in record.annotations] for record in records] == [["a.json", "a.txt"], [], ["c.npy"]]
    assert json.loads(json.dumps(records[0].tree()))["annotations"] == [str(tmp_path / "out" / n) for n in ("a.json", "a.txt")]


def test_annotations_follow_an_output_that_has_another_name(opened, noted, tmp_path):
    images.write(noted / "a.jpg", picture())
    list(opened("simgan").translate_folder(noted, tmp_path / "out"))
    assert {"a.jpg.png", "a.png.png", "a.jpg.json", "a.png.json"} <= tree(tmp_path / "out").keys()
    list(opened("simgan").translate_folder(noted / "a.png", tmp_path / "new/x.png"))
    assert set(tree(tmp_path / "new")) == {"x.png", "x.json", "x.txt"}


def test_annotations_are_not_replaced_unless_asked_and_missing_ones_are_added(opened, noted, tmp_path):
    model, out = opened("simgan"), tmp_path / "out"
    out.mkdir()
    (out / "a.json").write_text("mine")
    with pytest.raises(UserError, match=r"1 of 6 outputs exist already, such as '.*a\.json'"):
        model.translate_folder(noted, out)
    list(model.translate_folder(noted, out, existing="skip"))
    assert (out / "a.json").read_text() == "mine"
    (out / "a.txt").unlink()
    records = list(model.translate_folder(noted, out, existing="skip"))
    assert ([r.status for r in records], [len(r.annotations) for r in records]) == (["skipped"] * 3, [1, 0, 0])
    assert (out / "a.txt").read_text() == "about a.txt"
    list(model.translate_folder(noted, out, existing="overwrite"))
    assert (out / "a.json").read_text() == "about a.json"


def test_outputs_beside_their_inputs_leave_the_annotations_where_they_are(opened, tmp_path):
    images.write(tmp_path / "a.jpg", picture())
    (tmp_path / "a.json").write_text("about a")
    records = list(opened("simgan").translate_folder(tmp_path / "a.jpg", tmp_path, existing="overwrite"))
    assert (records[0].status, records[0].annotations) == ("done", ())
    assert (tmp_path / "a.json").read_text() == "about a"


def test_two_annotations_never_get_one_name(opened, tmp_path):
    for name in ("one/x.jpg", "two/x.png"):
        (tmp_path / name).parent.mkdir()
        images.write(tmp_path / name, picture())
        (tmp_path / name).with_suffix(".json").write_text(name)
    with pytest.raises(UserError, match=r"would both become '.*x\.json'"):
        opened("simgan").translate_folder([tmp_path / "one", tmp_path / "two"], tmp_path / "out", format="keep")
    assert not (tmp_path / "out").exists()


def test_methods_that_move_things_leave_annotations_behind(opened, noted, tmp_path):
    list(opened().translate_folder(noted, tmp_path / "out"))
    assert set(tree(tmp_path / "out")) == {"a.png", "b.png", "sub/c.png"}


def test_an_annotation_that_cannot_be_copied_is_a_failure_with_its_name(opened, noted, tmp_path, monkeypatch):
    def broken(source, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.copyfile", broken)
    first, second, _ = opened("simgan").translate_folder(noted, tmp_path / "out")
    assert (first.status, second.status) == ("failed", "done")
    assert "cannot copy" in first.error
    assert "a.json" in first.error
