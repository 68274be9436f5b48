"""Only what lies inside of a mask changes: with a model that inverts its input, so that every pixel is known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i import images
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.images import ImageError, Picture
from i2i.masks import Masking, Paste, require_alike, shares
from i2i.method import Accepts
from i2i.translate import Translator


@pytest.fixture
def inverting(saved, tmp_path):
    """`inverting(x={...}, y={...}, tile=16)`: a model that makes the negative of an image."""

    def open_one(x: dict | None = None, y: dict | None = None, **how: object) -> Translator:
        translator = Translator.open(saved(tmp_path / "model.safetensors", x=x, y=y), "cpu", **how)
        translator.model.method.translate = lambda x, **_: -x
        translator.model.method.accepts = lambda: Accepts(4, 8, 0)
        return translator

    return open_one


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(height * width).integers(0, top, (height, width, channels), dtype, endpoint=True)


def half(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    """White on the right half."""
    mask = np.zeros((height, width), dtype)
    mask[:, width // 2 :] = np.iinfo(dtype).max
    return mask


def save(path: Path, array: np.ndarray, alpha: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, Picture(array if array.ndim == 3 else array[..., None], alpha))
    return path


# Shares


def test_the_share_rises_from_the_edge_inwards_and_is_whole_behind_the_feather():
    mask = np.array([[0, 0, 1, 1, 1, 1, 1, 1]], np.float32)
    s = lambda t: t * t * (3 - 2 * t)  # noqa: E731
    np.testing.assert_allclose(shares(mask, 3), [[0, 0, s(0.25), s(0.5), s(0.75), 1, 1, 1]], rtol=1e-6)
    np.testing.assert_array_equal(shares(mask, 1), [[0, 0, 0.5, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(shares(mask, 0), mask)


def test_the_border_of_the_image_is_no_edge():
    np.testing.assert_array_equal(shares(np.ones((5, 7), np.float32), 4), np.ones((5, 7)))


def test_a_corner_is_as_far_as_the_nearest_pixel_outside():
    mask = np.ones((5, 5), np.float32)
    mask[0, 0] = 0
    t = np.sqrt(8) / 4
    assert shares(mask, 3)[2, 2] == pytest.approx(t * t * (3 - 2 * t))


def test_grey_in_a_mask_is_a_share():
    mask = np.array([[0, 0.25, 1, 1]], np.float32)
    np.testing.assert_array_equal(shares(mask, 0), mask)
    np.testing.assert_array_equal(shares(mask, 1), [[0, 0.125, 1, 1]])


@pytest.mark.parametrize(("dtype", "mean"), [(np.uint8, 25), (np.uint16, 25), (np.float32, 24.6)])
def test_between_there_is_a_mean_in_the_depth_of_the_output(dtype, mean):
    ground, new = np.full((1, 3, 1), 20, dtype), np.full((1, 3, 1), 43, dtype)
    pasted = Paste(ground, np.array([[0, 0.2, 1]], np.float32)).over(Picture(new)).array
    assert pasted.dtype == dtype
    np.testing.assert_allclose(pasted.ravel(), [20, mean, 43], rtol=1e-6)


def test_floats_are_not_rounded_where_nothing_is_blended():
    ground, new = np.array([[[1e8], [0.1]]], np.float32), np.array([[[0.3], [1e8]]], np.float32)
    pasted = Paste(ground, np.array([[1, 0]], np.float32)).over(Picture(new)).array
    np.testing.assert_array_equal(pasted, np.array([[[0.3], [0.1]]], np.float32))


# One image


@pytest.mark.parametrize("tile", ["off", 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_outside_is_the_input_inside_the_translation_and_the_feather_lies_inside(inverting, dtype, tile):
    array, top = noise(21, 40, dtype=dtype), np.iinfo(dtype).max
    result = inverting(tile=tile).translate(array, mask=half(21, 40), feather=4).array
    whole = inverting(tile=tile).translate(array).array
    assert result.dtype == dtype
    np.testing.assert_array_equal(result[:, :20], array[:, :20])
    np.testing.assert_array_equal(result[:, 24:], whole[:, 24:])
    assert np.abs(whole.astype(np.int64) + array - top).max() <= 1
    share = np.float64(0.4) ** 2 * (3 - 0.8)  # the second of four: 2 / 5 of the way
    expected = array[:, 21] * (1 - share) + whole[:, 21] * share
    np.testing.assert_array_equal(result[:, 21], np.rint(expected))


def test_a_mask_is_taken_in_every_way_that_an_image_is(inverting, tmp_path):
    translator, array, mask = inverting(), noise(9, 12), half(9, 12)
    expected = translator.translate(array, mask=mask, feather=0).array
    np.testing.assert_array_equal(expected[:, :6], array[:, :6])
    assert not np.array_equal(expected[:, 6:], array[:, 6:])
    colour = np.repeat(mask[..., None], 3, axis=2)
    path = save(tmp_path / "m.png", mask)
    for one in (
        mask > 0,
        half(9, 12, np.uint16),
        colour,
        Picture(colour),
        Image.fromarray(mask > 0),
        (mask > 0).astype(np.float32),
        path,
        str(path),
        path.read_bytes(),
        np.dstack([np.full_like(colour, 255), mask]),  # white, transparent where nothing changes
    ):
        np.testing.assert_array_equal(translator.translate(array, mask=one, feather=0).array, expected)


def test_a_black_mask_gives_the_input_back_and_says_why(inverting):
    array = noise(9, 12)
    result = inverting().translate(array, mask=np.zeros((9, 12), np.uint8))
    np.testing.assert_array_equal(result.array, array)
    assert result.notes == ("its mask is nowhere brighter than 0 of 255, and white is 255",)
    faint = inverting().translate(array, mask=np.ones((9, 12), np.uint8))  # 0 and 1, as programs write them
    assert faint.notes == ("its mask is nowhere brighter than 1 of 255, and white is 255",)
    assert inverting().translate(array, mask=half(9, 12)).notes == ()


def test_a_white_mask_gives_the_translation(inverting):
    array = noise(9, 12)
    white = np.full((9, 12), 255, np.uint8)
    np.testing.assert_array_equal(inverting().translate(array, mask=white).array, inverting().translate(array).array)


def test_the_own_alpha_channel_can_be_the_mask_and_is_kept_or_dropped_as_asked(inverting, tmp_path):
    array, alpha = noise(9, 12), half(9, 12)
    path, translator = save(tmp_path / "in/a.png", array, alpha), inverting()
    expected = translator.translate(array, mask=alpha, feather=2).array
    kept = translator.translate(path, mask="alpha", feather=2)
    np.testing.assert_array_equal(kept.array, expected)
    np.testing.assert_array_equal(kept.alpha, alpha)
    list(translator.translate_folder(path, tmp_path / "out", mask="alpha", feather=2, alpha="drop"))
    dropped = images.read(tmp_path / "out/a.png")
    assert dropped.alpha is None
    np.testing.assert_array_equal(dropped.array, expected)
    with pytest.raises(ImageError, match="no alpha channel, which was to be its mask"):
        translator.translate(array, mask="alpha")


def test_what_is_flattened_stays_flattened_outside(inverting, tmp_path):
    path = save(tmp_path / "in/a.png", np.zeros((9, 12, 3), np.uint8), half(9, 12))
    list(inverting().translate_folder(path, tmp_path / "out", mask="alpha", feather=0, alpha="flatten"))
    flat = images.read(tmp_path / "out/a.png").array
    assert (flat[:, :6] == 255).all()  # the white behind what is transparent
    assert (flat[:, 6:] == 255).all()  # the negative of black


def test_grey_images_of_a_colour_model_and_deep_ones_stay_as_they_are(inverting):
    grey = noise(9, 12, 1)
    result = inverting().translate(grey, mask=half(9, 12), feather=0).array
    np.testing.assert_array_equal(result[:, :6], np.repeat(grey, 3, axis=2)[:, :6])
    array = noise(9, 12)
    deep = inverting(y={"dtype": "uint16"}).translate(array, mask=half(9, 12), feather=0).array
    np.testing.assert_array_equal(deep[:, :6], array[:, :6].astype(np.uint16) * 257)


def test_values_beyond_the_range_of_the_model_stay_outside_of_the_mask(inverting):
    narrow = inverting(x={"high": 100}, y={"high": 100})
    array = noise(9, 12)
    assert array[:, :6].max() > 100
    np.testing.assert_array_equal(narrow.translate(array, mask=half(9, 12)).array[:, :6], array[:, :6])
    floats = {"dtype": "float32", "low": -1, "high": 1}
    array = np.random.default_rng(0).normal(0, 9, (9, 12, 3)).astype(np.float32)
    result = inverting(x=floats, y=floats).translate(array, mask=half(9, 12), feather=0).array
    np.testing.assert_array_equal(result[:, :6], array[:, :6])
    np.testing.assert_allclose(result[:, 6:], -array[:, 6:].clip(-1, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ({"channels": 1}, {}),
        ({"channels": 3, "labels": True}, {}),
        ({"dtype": "float32", "high": 1.0}, {}),
    ],
)
def test_a_model_whose_sides_differ_cannot_keep_what_is_outside(inverting, tmp_path, x, y):
    translator, path = inverting(x=x, y=y), save(tmp_path / "in/a.png", noise(9, 12, 1))
    with pytest.raises(UserError, match="outside of a mask stays as it was, but the model makes 8-bit colour of"):
        translator.translate(path, mask=half(9, 12))
    with pytest.raises(UserError, match="stays as it was"):
        translator.plan([path], tmp_path / "out", mask="alpha")
    assert not (tmp_path / "out").exists()


def test_colours_are_not_lost_outside_of_the_mask_without_a_word(inverting):
    grey = inverting(x={"channels": 1}, y={"channels": 1})
    with pytest.raises(ImageError, match="has 3 channels and its translation 1"):
        grey.translate(noise(9, 12), mask=half(9, 12))


def test_a_mask_of_another_size_or_kind_is_refused(inverting):
    with pytest.raises(ImageError, match="it has 12x9 pixels, but its mask 9x12"):
        inverting().translate(noise(9, 12), mask=half(12, 9))
    with pytest.raises(ImageError, match="its mask is none: the image has 5 channels"):
        inverting().translate(noise(9, 12), mask=noise(9, 12, 5))
    with pytest.raises(UserError, match="-1 pixels wide"):
        Masking.of("alpha", -1)


# Folders


def test_masks_lie_under_the_names_of_the_images_and_what_is_wrong_with_one_fails_alone(inverting, tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png", "sub/e.jpg", "f.png"):
        save(tmp_path / "in" / name, noise(9, 12))
    for name in ("a.png", "sub/e.tif"):
        save(tmp_path / "masks" / name, half(9, 12))
    save(tmp_path / "masks/f_mask.png", half(9, 12))
    save(tmp_path / "masks/b.png", half(9, 11))
    (tmp_path / "masks/c.png").write_bytes(b"\x89PNG")
    records = list(inverting().translate_folder(tmp_path / "in", tmp_path / "out", mask=tmp_path / "masks", feather=0))
    errors = {record.input.name: record.error for record in records}
    assert {name for name, error in errors.items() if not error} == {"a.png", "e.jpg", "f.png"}
    assert f"in/b.png': it has 12x9 pixels, but its mask '{tmp_path}/masks/b.png' 11x9" in errors["b.png"]
    assert f"in/c.png': cannot read '{tmp_path}/masks/c.png'" in errors["c.png"]
    assert "in/d.png': it has no mask" in errors["d.png"]
    done = images.read(tmp_path / "out/a.png").array
    np.testing.assert_array_equal(done[:, :6], noise(9, 12)[:, :6])
    np.testing.assert_array_equal(done[:, 6:], 255 - noise(9, 12)[:, 6:])


def test_one_mask_can_be_for_all_in_any_batch(inverting, tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.png", noise(9, 12) // 2 + number)
    mask = save(tmp_path / "m.png", half(9, 12))
    list(inverting().translate_folder(tmp_path / "in", tmp_path / "out", mask=mask, feather=0, batch=3, compare=True))
    for number in range(3):
        made, array = images.read(tmp_path / f"out/{number}.png").array, noise(9, 12) // 2 + number
        np.testing.assert_array_equal(made, np.hstack([array[:, :6], 255 - array[:, 6:]]))
        both = images.read(tmp_path / f"out/{number}_compare.png").array
        np.testing.assert_array_equal(both, np.hstack([array, made]))


def test_a_mask_that_is_not_there_is_refused_at_once_and_none_is_ever_replaced(inverting, tmp_path):
    image, mask = save(tmp_path / "in/a.png", noise(9, 12)), save(tmp_path / "masks/a.png", half(9, 12))
    with pytest.raises(UserError, match="there is no folder or file"):
        inverting().translate_folder(image, tmp_path / "out", mask=tmp_path / "none")
    for given in (mask, mask.parent):
        with pytest.raises(UserError, match="would replace the input"):
            inverting().translate_folder(image, mask.parent, mask=given, existing="overwrite")


def test_all_samples_are_pasted(inverting, tmp_path):
    translator = inverting()
    translator.model.method.draw_styles = lambda count, seed: list(range(count))
    translator.model.method.samples = lambda x, styles, **_: [x * 0 + style for style in styles]
    image, mask = save(tmp_path / "in/a.png", noise(9, 12)), save(tmp_path / "m.png", half(9, 12))
    list(translator.translate_folder(image, tmp_path / "out", mask=mask, feather=0, samples=2))
    for number, value in enumerate((128, 255)):
        made = images.read(tmp_path / f"out/a_{number}.png").array
        np.testing.assert_array_equal(made[:, :6], noise(9, 12)[:, :6])
        assert (made[:, 6:] == value).all()


def test_a_lossy_file_is_said_to_change_everything_a_little(same) -> None:
    array = np.full((16, 16, 3), 90, np.uint8)
    images.write(Path("a.png"), Picture(array))
    images.write(Path("m.png"), Picture(np.zeros((16, 16, 1), np.uint8)))
    for format, said in (("png", False), ("jpg", True)):
        record, *_ = same.translate_folder("a.png", f"out-{format}", mask="m.png", format=format)
        assert any("loses a little of every pixel, outside of the mask too" in note for note in record.notes) == said


def test_sides_of_different_ranges_cannot_share_an_image() -> None:
    wide, narrow = Domain.of(1, "float32"), Domain(channels=1, dtype="float32", low=-100, high=3000)
    require_alike(wide, wide)
    require_alike(Domain.of(3), Domain.of(3, "uint16"))
    with pytest.raises(UserError, match="stays as it was"):
        require_alike(wide, narrow)
