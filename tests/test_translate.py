"""Translating with networks that are tiny or change nothing, so that every pixel of the result is known."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import atomic, images, inputs, items, models, naming
from i2i.config import Layer
from i2i.conversion import padding
from i2i.domain import Domain
from i2i.errors import NothingDone, OutOfResources, UserError
from i2i.images import ImageError, Picture
from i2i.method import Accepts
from i2i.training import checkpoint
from i2i.translate import Translator

SIZES = [*((n, n) for n in range(1, 71)), *((n, 3) for n in range(255, 261)), (1, 4096), (4096, 1), (97, 131), (7, 251)]


def export(path: Path, method: str = "cyclegan", x: dict | None = None, y: dict | None = None, **generator: object) -> Path:
    """A file with the untrained generators of a tiny model."""
    model = {"generator": {"width": 2, "blocks": 1, **generator}, "discriminator": {"width": 2}}
    data = {"x": {"channels": 3, **(x or {})}, "y": {"channels": 3, **(y or {})}}
    if method == "cyclegan":
        model["lambda_identity"] = 0.0
    config = models.configure(method, [Layer("test", {"model": model, "data": data})])
    networks = models.build(config).generators()
    weights = {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}
    checkpoint.export(path, weights, {"config": config.tree(), "made_with": {}})
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return export(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def translator(tiny) -> Translator:
    return Translator.open(tiny, "cpu")


@pytest.fixture
def in_tmp(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unchanging(path: Path, accepts: Accepts | None = None, **domains: dict) -> Translator:
    """A model that returns its input."""
    translator = Translator.open(export(path / "same.safetensors", **domains), "cpu")
    translator.model.method.translate = lambda x, **_: x
    translator.model.method.accepts = lambda **_: accepts or Accepts(4, 8, 20)
    return translator


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(height * width).integers(0, top, (height, width, channels), dtype, endpoint=True)


def save(path: Path, array: np.ndarray, alpha: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, Picture(array, alpha))
    return path


def levels_apart(a: np.ndarray, b: np.ndarray) -> int:
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    return int(np.abs(a.astype(np.int64) - b).max())


# One image


@pytest.mark.parametrize("accepts", [Accepts(4, 8, 20), Accepts(64, 64, None), Accepts(1, 1, 0)], ids=lambda a: f"x{a.stride}")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_size_comes_back_with_the_pixels_that_went_in(tmp_path, accepts, dtype):
    same = unchanging(tmp_path, accepts)
    for height, width in SIZES:
        array = noise(height, width, dtype=dtype)
        assert levels_apart(same.translate(array).array, array) <= 1, (height, width)


@pytest.mark.parametrize(("kind", "options"), [("resnet", {}), ("unet", {"depth": 4})])
def test_a_real_network_takes_every_size(tmp_path, kind, options):
    translator = Translator.open(export(tmp_path / "m.safetensors", kind=kind, **options), "cpu")
    for height, width in [(1, 1), (1, 300), (3, 2), (8, 8), (17, 33), (31, 64), (257, 5)]:
        assert translator.translate(noise(height, width)).array.shape == (height, width, 3)


@pytest.mark.parametrize("side", [*range(1, 70), 255, 256, 257])
@pytest.mark.parametrize("accepts", [Accepts(4, 8, 20), Accepts(64, 64, None), Accepts(1, 1, 0), Accepts(8, 20, 0)])
def test_padding_is_the_least_that_the_network_takes_and_even(side, accepts):
    before, after = padding(side, accepts)
    padded = before + side + after
    assert padded % accepts.stride == 0
    assert padded >= accepts.smallest
    assert padded - accepts.stride < max(side, accepts.smallest)
    assert after - before in (0, 1)


def test_what_is_padded_mirrors_the_image(tmp_path):
    seen = []
    same = unchanging(tmp_path, Accepts(8, 8, None))
    same.model.method.translate = lambda x, **_: seen.append(x) or x
    same.translate(np.arange(6, dtype=np.uint8).reshape(1, 6))
    row = ((seen[0][0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert row == [1, 0, 1, 2, 3, 4, 5, 4]


@pytest.mark.parametrize(
    ("x", "y", "array", "dtype"),
    [
        ("uint8", "uint8", np.uint8, "uint8"),
        ("uint8", "uint8", np.uint16, "uint16"),
        ("uint8", "uint16", np.uint8, "uint16"),
        ("uint16", "uint8", np.uint8, "uint8"),
        ("uint16", "uint8", np.uint16, "uint16"),
        ("uint16", "uint16", np.uint8, "uint16"),
        ("uint8", "float32", np.uint8, "float32"),
    ],
)
def test_the_result_has_the_deeper_type_of_image_and_model(tmp_path, x, y, array, dtype):
    high = {"high": 10.0} if y == "float32" else {}
    same = unchanging(tmp_path, x={"dtype": x}, y={"dtype": y, **high})
    source = noise(9, 7, dtype=array)
    result = same.translate(source).array
    top = {"uint8": 255, "uint16": 65535, "float32": 10}
    assert result.dtype == dtype
    expected = source.astype(np.float64) / np.iinfo(array).max * top[dtype]
    np.testing.assert_allclose(result, expected, atol=1e-4 if dtype == "float32" else 1.0)


def test_float_images_keep_the_range_of_a_float_model(tmp_path):
    same = unchanging(tmp_path, x={"dtype": "float32", "low": -5, "high": 5}, y={"dtype": "float32", "low": -5, "high": 5})
    array = np.linspace(-5, 5, 60, dtype=np.float32).reshape(4, 5, 3)
    np.testing.assert_allclose(same.translate(array).array, array, atol=1e-5)


def test_a_16_bit_image_keeps_its_depth_in_a_model_of_a_narrow_8_bit_range(tmp_path):
    same = unchanging(tmp_path, x={"high": 100}, y={"high": 100})
    array = np.linspace(0, 100 * 257, 300).astype(np.uint16).reshape(10, 10, 3)
    assert levels_apart(same.translate(array).array, array) <= 1


def test_grey_becomes_colour_for_a_colour_model_and_colour_grey_for_a_grey_one(tmp_path):
    grey = noise(5, 6, 1)
    np.testing.assert_array_equal(unchanging(tmp_path).translate(grey[..., 0]).array, np.repeat(grey, 3, axis=2))
    to_grey = unchanging(tmp_path, x={"channels": 1}, y={"channels": 1})
    assert to_grey.translate(noise(5, 6)).array.shape == (5, 6, 1)


def test_alpha_stays_as_it_was(tmp_path):
    array = noise(5, 6, 4)
    result = unchanging(tmp_path).translate(array)
    np.testing.assert_array_equal(result.alpha, array[..., 3])
    deep = unchanging(tmp_path, y={"dtype": "uint16"}).translate(array)
    np.testing.assert_array_equal(deep.alpha, array[..., 3].astype(np.uint16) * 257)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pillow_images_of_every_mode_are_taken(translator, mode):
    image = Image.fromarray(noise(9, 12, 1)[..., 0]).convert(mode)
    result = translator.translate(image)
    assert (result.width, result.height) == image.size
    assert (result.alpha is not None) == (mode in ("LA", "RGBA"))
    assert result.dtype == ("uint16" if mode == "I;16" else "uint8")


def test_a_path_an_array_a_picture_and_pillow_give_the_same(translator, tmp_path):
    array = noise(9, 12)
    path = save(tmp_path / "a.png", array)
    results = [translator.translate(s).array for s in (path, str(path), array, Picture(array), Image.open(path))]
    assert all(np.array_equal(results[0], other) for other in results[1:])
    translator.translate(path).save(tmp_path / "out.png")
    assert translator.translate(path).to_pil().size == (12, 9)
    np.testing.assert_array_equal(images.read(tmp_path / "out.png").array, results[0])


@pytest.mark.parametrize("array", [np.zeros((0, 3, 3), np.uint8), np.zeros((2, 2, 3), bool), np.zeros((2, 2, 2, 3), np.uint8)])
def test_an_array_that_is_no_image_is_refused_by_its_shape_and_type(translator, array):
    with pytest.raises(ImageError, match="is no image"):
        translator.translate(array)


def test_values_that_are_not_finite_are_an_error_and_not_a_black_image(tmp_path):
    same = unchanging(tmp_path)
    same.model.method.translate = lambda x, **_: x * float("nan")
    with pytest.raises(ImageError, match="not finite"):
        same.translate(noise(5, 5))


def test_the_other_direction_swaps_the_sides(tmp_path):
    translator = Translator.open(export(tmp_path / "m.safetensors", x={"channels": 1}, y={"dtype": "uint16"}), "cpu")
    there = translator.translate(noise(9, 8, 1))
    back = translator.translate(there, direction="BtoA")
    assert (there.channels, there.dtype, back.channels) == (3, "uint16", 1)
    assert translator.translate(noise(9, 8, 1), direction="AtoB").channels == 3
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    expected = translator.model.method.F(x)
    np.testing.assert_allclose(translator.model.method.translate(x, reverse=True).detach(), expected.detach())


def test_a_method_that_goes_one_way_says_so(tmp_path):
    translator = Translator.open(export(tmp_path / "m.safetensors", "pix2pix", kind="resnet"), "cpu")
    with pytest.raises(UserError, match="translates AtoB only"):
        translator.translate(noise(8, 8), direction="BtoA")


def test_8_bit_results_may_be_computed_in_bf16_but_deeper_ones_are_not_by_default(tmp_path):
    same = unchanging(tmp_path)
    same.engine.precision = replace(same.engine.precision, name="bf16")
    seen = []
    same.model.method.translate = lambda x, **_: seen.append(torch.is_autocast_enabled("cpu")) or x
    same.translate(noise(8, 8))
    same.translate(noise(8, 8, dtype=np.uint16))
    assert seen == [True, False]


# Memory


def out_of_memory_beyond(images_at_once: int, calls: list[int]):
    def translate(x, **_):
        calls.append(len(x))
        if len(x) > images_at_once:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return x

    return translate


def test_when_memory_runs_out_the_batch_is_halved_and_stays_so(tmp_path):
    same, calls = unchanging(tmp_path), []
    same.model.method.translate = out_of_memory_beyond(2, calls)
    arrays = [noise(8, 8) + n for n in range(12)]
    for number, array in enumerate(arrays):
        save(tmp_path / f"in/{number}.png", array)
    records = list(same.translate_folder(tmp_path / "in", tmp_path / "out", batch=8))
    assert [r.status for r in records] == ["done"] * 12
    assert calls[:3] == [8, 4, 2]
    assert max(calls[3:]) <= 4
    for number, array in enumerate(arrays):
        np.testing.assert_array_equal(images.read(tmp_path / f"out/{number}.png").array, array)


def test_one_image_that_does_not_fit_ends_with_status_6(tmp_path):
    same = unchanging(tmp_path)
    same.model.method.translate = out_of_memory_beyond(0, [])
    with pytest.raises(OutOfResources, match="8x8 pixels does not fit in memory") as caught:
        same.translate(noise(8, 8))
    assert caught.value.status == 6


def test_other_errors_of_the_network_are_not_taken_for_missing_memory(tmp_path):
    same = unchanging(tmp_path)

    def broken(x, **_):
        raise RuntimeError("shapes do not match")

    same.model.method.translate = broken
    with pytest.raises(RuntimeError, match="shapes"):
        same.translate(noise(8, 8))


def test_images_are_not_read_far_ahead_of_those_that_are_written(tmp_path):
    for number in range(40):
        save(tmp_path / f"in/{number}.png", noise(8, 8))
    same = unchanging(tmp_path)
    jobs = same.plan([tmp_path / "in"], tmp_path / "out")
    taken = []

    class Watched(list):
        def __iter__(self):
            for job in jobs:
                taken.append(job)
                yield job

    records = same.translate_files(Watched(jobs), batch=2)
    taken.clear()
    next(records)
    assert len(taken) < 16


# Folders


def test_batches_give_what_one_by_one_gives_in_the_order_of_the_names(translator, tmp_path):
    for number in range(11):
        save(tmp_path / f"in/{number}.png", noise(20 + number // 4, 24) // 2 + number)
    first = list(translator.translate_folder(tmp_path / "in", tmp_path / "one", batch=1))
    list(translator.translate_folder(tmp_path / "in", tmp_path / "many", batch=4))
    assert [record.input.stem for record in first] == [str(n) for n in range(11)]
    for record in first:
        other = images.read(tmp_path / "many" / record.output.name).array
        assert levels_apart(images.read(record.output).array, other) <= 1


def test_a_folder_mirrors_its_tree_and_leaves_hidden_and_other_files(translator, tmp_path):
    for name in ("a.png", "b/c.jpg", "b/d/e.webp", ".hidden/f.png", "b/.g.png"):
        save(tmp_path / "in" / name, noise(8, 9))
    (tmp_path / "in/desktop.ini").write_text("x")
    list(translator.translate_folder(tmp_path / "in", tmp_path / "out"))
    assert tree(tmp_path / "out") == ["a.png", "b/c.png", "b/d/e.png"]


def tree(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_pattern_is_expanded_and_mirrored_from_its_first_wildcard(translator, tmp_path):
    for name in ("a/x.png", "a/y.jpg", "b/x.png", "b/deep/z.png"):
        save(tmp_path / "in" / name, noise(8, 9))
    list(translator.translate_folder(str(tmp_path / "in/*/x.*"), tmp_path / "out"))
    assert tree(tmp_path / "out") == ["a/x.png", "b/x.png"]
    list(translator.translate_folder(str(tmp_path / "in/**/*.png"), tmp_path / "all"))
    assert tree(tmp_path / "all") == ["a/x.png", "b/deep/z.png", "b/x.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(translator, tmp_path):
    save(tmp_path / "a[1].png", noise(8, 9))
    save(tmp_path / "a1.png", noise(8, 9))
    list(translator.translate_folder(tmp_path / "a[1].png", tmp_path / "out"))
    assert tree(tmp_path / "out") == ["a[1].png"]


@pytest.mark.parametrize(
    "name", [b"a b.png", b"a\nb.png", b"[b].png", b"\xff\xfe.png", b"%d.png", b"-x.png", b"x" * 246 + b".png"]
)
def test_odd_names_are_kept(translator, tmp_path, name):
    path = Path(os.fsdecode(name))
    try:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / path).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses the name")
    (tmp_path / "in" / path).write_bytes(images.encode(Picture(noise(8, 9)), ".png"))
    (record,) = translator.translate_folder(tmp_path / "in", tmp_path / "out")
    assert record.status == "done"
    assert os.fsencode(record.output.name) == name
    assert tree(tmp_path / "out") == [str(path)]


def test_images_that_would_share_a_name_keep_their_suffix_in_it(translator, tmp_path):
    for name in ("a.jpg", "a.png", "b.png", "c.PNG", "C.jpg"):
        save(tmp_path / "in" / name, noise(8, 9))
    list(translator.translate_folder(tmp_path / "in", tmp_path / "out"))
    assert tree(tmp_path / "out") == ["C.jpg.png", "a.jpg.png", "a.png.png", "b.png", "c.PNG.png"]


def test_a_name_made_to_avoid_a_collision_may_itself_collide(translator, tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        save(tmp_path / "in" / name, noise(8, 9))
    list(translator.translate_folder(tmp_path / "in", tmp_path / "out"))
    assert tree(tmp_path / "out") == ["a.jpg.png", "a.jpg.png.png", "a.png.png"]


def test_files_of_two_folders_keep_their_suffix_or_are_refused_before_anything_is_done(translator, tmp_path):
    one, two = save(tmp_path / "one/x.jpg", noise(8, 9)), save(tmp_path / "two/x.png", noise(8, 9))
    list(translator.translate_folder([one, two], tmp_path / "out"))
    assert tree(tmp_path / "out") == ["x.jpg.png", "x.png.png"]
    save(tmp_path / "two/x.jpg", noise(8, 9))
    with pytest.raises(UserError, match=r"would both become 'x\.jpg\.png'"):
        translator.translate_folder([tmp_path / "one", tmp_path / "two"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_named_twice_is_done_once(translator, tmp_path):
    path = save(tmp_path / "in/a.png", noise(8, 9))
    records = list(translator.translate_folder([path, tmp_path / "in", path], tmp_path / "out"))
    assert [record.status for record in records] == ["done"]


@pytest.mark.parametrize(
    ("format", "y", "names"),
    [
        (None, {}, ["a.png", "b.png", "c.png"]),
        ("jpg", {}, ["a.jpg", "b.jpg", "c.jpg"]),
        ("keep", {}, ["a.png", "b.JPG", "c.png"]),
        (None, {"dtype": "float32", "high": 1}, ["a.tiff", "b.tiff", "c.tiff"]),
        (None, {"channels": 5}, ["a.tiff", "b.tiff", "c.tiff"]),
        (None, {"dtype": "uint16"}, ["a.png", "b.png", "c.png"]),
    ],
)
def test_the_kind_of_file_is_the_one_asked_for_or_one_that_holds_the_values(tmp_path, format, y, names):
    files = [Path("a.png"), Path("b.JPG"), Path("c.gif")]
    for file in files:
        (tmp_path / file).touch()
    jobs = naming.plan(
        inputs.find([tmp_path / f for f in files]), tmp_path / "out", Domain(**{"channels": 3, **y}), format, "refuse"
    )
    assert [job.outputs[0].path.name for job in jobs] == names
    assert all(job.notes for job in jobs) == (names[0] == "a.tiff")


@pytest.mark.parametrize(
    ("format", "out", "y"),
    [
        ("jpg", "out", {"dtype": "uint16"}),
        ("png", "out", {"dtype": "float32", "high": 1}),
        ("webp", "out", {"channels": 5}),
        (None, "out.bmp", {"dtype": "uint16"}),
        (None, "out.gif", {}),
        ("png", "out.jpg", {}),
    ],
)
def test_a_kind_of_file_that_does_not_fit_is_refused_before_anything_is_done(tmp_path, format, out, y):
    path = save(tmp_path / "a.png", noise(8, 9))
    with pytest.raises(UserError, match=r"cannot hold|cannot write|contradict"):
        naming.plan(inputs.find([path]), tmp_path / out, Domain(**{"channels": 3, **y}), format, "refuse")


def test_a_deep_image_in_a_shallow_file_and_alpha_without_a_place_are_told(translator, tmp_path):
    save(tmp_path / "in/a.png", noise(8, 9, dtype=np.uint16), noise(8, 9, 1, np.uint16)[..., 0])
    (record,) = translator.translate_folder(tmp_path / "in", tmp_path / "out", format="jpg")
    assert record.status == "done"
    assert record.notes == ("16 bits became 8, since JPEG holds no more", "alpha dropped, since JPEG has none")


def test_a_whole_double_image_is_noticed_where_halves_were_trained_on(translator, tmp_path):
    way = replace(translator.way(), from_halves=True)
    for name, shape in (("double.png", (16, 32, 3)), ("single.png", (16, 16, 3))):
        images.write(tmp_path / name, Picture(np.zeros(shape, np.uint8)))
        item = items.read(naming.Job(tmp_path / name, Path(name), (naming.Output(tmp_path / "out" / name),)), way)
        assert item.given is not None
        assert any("side-by-side" in note for note in item.given.padded.notes) == (name == "double.png")


def test_16_bits_and_alpha_survive_a_folder(tmp_path):
    array, alpha = noise(8, 9, dtype=np.uint16), noise(8, 9, 1, np.uint16)[..., 0]
    save(tmp_path / "in/a.png", array, alpha)
    list(unchanging(tmp_path).translate_folder(tmp_path / "in", tmp_path / "out"))
    result = images.read(tmp_path / "out/a.png")
    assert levels_apart(result.array, array) <= 1
    np.testing.assert_array_equal(result.alpha, alpha)


def test_one_file_and_a_file_name_make_one_file(translator, tmp_path):
    path = save(tmp_path / "a.png", noise(8, 9))
    list(translator.translate_folder(path, tmp_path / "new/b.JPG"))
    assert tree(tmp_path / "new") == ["b.JPG"]


@pytest.mark.parametrize(
    ("given", "out", "words"),
    [
        (["in"], "in", "lies in the input folder"),
        (["in"], "in/sub/out", "lies in the input folder"),
        (["in"], "link/out", "lies in the input folder"),
        (["in/**/*.png"], "in/out", "lies in the input folder"),
        (["in/a.png"], "in", "would replace the input"),
        (["in/a.png"], "in/a.png", "would replace the input"),
        (["in/a.png"], "linked.png", "would replace the input"),
        (["in/a.png"], "hard.png", "would replace the input"),
        (["in"], "linked", "would replace the input"),
        (["in"], "in/a.png/x", "is a file"),
        (["in/a.png"], "other.txt", "is a file"),
        (["in"], "out.png", "is the name of one file"),
        (["in/a.png", "in/b.png"], "out.png", "is the name of one file"),
        (["none.png"], "out", "there is no file or folder"),
    ],
)
def test_what_would_touch_an_input_is_refused(translator, in_tmp, given, out, words):
    for name in ("in/a.png", "in/b.png"):
        save(Path(name), noise(8, 9))
    Path("link").symlink_to("in")
    Path("linked.png").symlink_to("in/a.png")
    Path("hard.png").hardlink_to("in/a.png")
    Path("linked").mkdir()
    Path("linked/a.png").hardlink_to("in/a.png")
    Path("other.txt").write_text("mine")
    before = {file: Path(file).read_bytes() for file in tree(in_tmp)}
    for existing in ("refuse", "skip", "overwrite"):
        with pytest.raises(UserError, match=words) as caught:
            translator.translate_folder(given, out, existing=existing)
        assert caught.value.status == 2
    assert {file: Path(file).read_bytes() for file in tree(in_tmp)} == before


def test_what_a_killed_process_left_half_written_is_swept_away(translator, tmp_path):
    save(tmp_path / "in/a.png", noise(8, 9))
    (tmp_path / "out").mkdir()
    ours = f"{atomic.MARK}{atomic.HOST}"
    (tmp_path / f"out/{ours}-4194305-abc.png").write_text("half")  # a higher number than a process can have
    (tmp_path / f"out/{ours}-{os.getppid()}-abc.png").write_text("being written")
    list(translator.translate_folder(tmp_path / "in", tmp_path / "out"))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a.png", f"{ours}-{os.getppid()}-abc.png"}


def test_an_output_that_exists_is_refused_skipped_or_replaced(translator, tmp_path):
    for name in "abc":
        save(tmp_path / f"in/{name}.png", noise(8, 9))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.png").write_text("mine")
    with pytest.raises(UserError, match="1 of 3 outputs exist already"):
        translator.translate_folder(tmp_path / "in", tmp_path / "out")
    assert tree(tmp_path / "out") == ["b.png"]
    records = list(translator.translate_folder(tmp_path / "in", tmp_path / "out", existing="skip"))
    assert [record.status for record in records] == ["done", "skipped", "done"]
    assert (tmp_path / "out/b.png").read_text() == "mine"
    records = list(translator.translate_folder(tmp_path / "in", tmp_path / "out", existing="overwrite"))
    assert [record.status for record in records] == ["done"] * 3
    assert images.read(tmp_path / "out/b.png").width == 9


def test_a_folder_without_images_and_a_pattern_without_matches_are_nothing_to_do(translator, tmp_path):
    (tmp_path / "in").mkdir()
    for text in (tmp_path / "in", str(tmp_path / "*.png")):
        with pytest.raises(NothingDone, match="there is no image in"):
            translator.translate_folder(text, tmp_path / "out")


def test_an_image_with_the_wrong_channels_fails_by_name_and_the_rest_is_done(translator, tmp_path):
    save(tmp_path / "in/a.tif", noise(8, 9, 5))
    save(tmp_path / "in/b.png", noise(8, 9))
    first, second = translator.translate_folder(tmp_path / "in", tmp_path / "out")
    assert (first.status, second.status) == ("failed", "done")
    assert "a.tif" in first.error
    assert "5 channels, 3 are expected" in first.error


def test_a_full_disk_ends_the_work_at_once(translator, tmp_path, monkeypatch):
    for number in range(9):
        save(tmp_path / f"in/{number}.png", noise(8, 9))
    tries = []

    def full(path, picture, packing):
        tries.append(path)
        raise OutOfResources("no space left")

    monkeypatch.setattr(images, "write", full)
    with pytest.raises(OutOfResources):
        list(translator.translate_folder(tmp_path / "in", tmp_path / "out", batch=1))
    assert len(tries) < 9


def test_leaving_early_keeps_whole_files_and_ends_the_threads(translator, tmp_path):
    for number in range(30):
        save(tmp_path / f"in/{number}.png", noise(8, 9))
    records = translator.translate_folder(tmp_path / "in", tmp_path / "out", batch=1)
    next(records)
    records.close()
    names = tree(tmp_path / "out")
    assert 1 <= len(names) < 30
    for name in names:
        images.read(tmp_path / "out" / name)


def test_importing_i2i_does_not_load_torch_and_load_opens_a_model(tiny):
    code = f"""
import sys, i2i
assert "torch" not in sys.modules
import torch; torch.set_num_threads(1)
print(type(i2i.load({str(tiny)!r}, device="cpu")).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(naming.__file__).parents[1]
    )
    assert done.stdout.strip() == "Translator", done.stderr
