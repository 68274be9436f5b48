"""What a data set is, in numbers: each is known here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.config import DataSettings
from i2i.data.check import examine
from i2i.data.facts import Facts, facts, views
from i2i.data.sketch import alike, sketch


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def blobs(seed: int, size: int = 48) -> np.ndarray:
    """A dark square somewhere on light ground, (size, size, 3)."""
    row, column = np.random.default_rng(seed).integers(0, size * 3 // 4, 2)
    image = np.full((size, size, 3), 220, np.uint8)
    image[row : row + size // 4, column : column + size // 4] = 30
    return image


def found(root: Path, **settings: object) -> Facts:
    data = DataSettings.model_validate(settings)
    report, seen = examine(root, settings=data, sketched=True)
    assert seen
    return facts(report, seen, data)


def test_a_sketch_has_the_mean_of_each_channel_and_no_detail_in_a_flat_picture() -> None:
    flat = sketch(np.full((8, 8, 3), [0, 51, 255], np.uint8))
    assert flat.mean == pytest.approx((0, 0.2, 1))
    assert flat.detail == 0
    assert flat.colourful == pytest.approx(1)


def test_stripes_are_all_detail_and_grey_is_not_colourful() -> None:
    stripes = np.tile(np.array([0, 65535], np.uint16), (6, 3))[..., None].repeat(3, 2)
    assert sketch(stripes).detail == 1
    assert sketch(stripes).colourful == 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (7, 1, 4), (4, 0, 3)])
def test_pictures_of_a_pixel_or_a_line_can_be_sketched(shape) -> None:
    assert np.isfinite(sketch(np.zeros(shape, np.uint8)).outline).all()


def test_the_same_pixels_have_the_same_digest() -> None:
    assert sketch(blobs(1)).digest == sketch(blobs(1)).digest != sketch(blobs(2)).digest


def test_partners_are_more_alike_than_strangers_though_one_is_a_negative() -> None:
    one, negative = (
        [sketch(image) for image in side] for side in ([blobs(i) for i in range(20)], [255 - blobs(i) for i in range(20)])
    )
    assert alike(one, negative) > 0.95
    assert alike(one, [*negative[7:], *negative[:7]]) == pytest.approx(0.5, abs=0.15)


def test_what_all_have_in_common_does_not_make_partners() -> None:
    same = [sketch(blobs(3)) for _ in range(20)]
    assert alike(same, same) is None
    others = [sketch(blobs(i)) for i in range(20)]
    assert alike([*same, *others], [*same, *others]) > 0.6


def test_halves_of_a_file_are_sides_of_their_own(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / "train" / f"{i}.png", np.hstack([blobs(i), np.full((48, 49, 3), i, np.uint8)]))
    seen = found(tmp_path)
    assert (seen.a.width, seen.b.width, seen.pairs) == (48, 48, 4)
    assert seen.b.detail == 0 < (seen.a.detail or 0)


def test_one_small_image_in_many_does_not_decide_the_size(tmp_path: Path) -> None:
    for i in range(40):
        size = 20 if i == 0 else 64
        save(tmp_path / "A" / f"a{i}.png", np.zeros((size, size, 3), np.uint8))
        save(tmp_path / "B" / f"b{i}.png", np.full((64, 96, 3), 255, np.uint8))
    seen = found(tmp_path)
    assert (seen.kind, seen.a.shorter, seen.a.uniform, seen.b.uniform) == ("unpaired", 64, False, True)
    assert str(seen.a) == "40 images of about 64x64, 8-bit colour"


def test_twelve_bits_in_sixteen_are_seen(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"{i}.png", np.full((32, 32), 3000 + i, np.uint16))
        save(tmp_path / "B" / f"{i}.png", np.full((32, 32), 250, np.uint8))
    seen = found(tmp_path)
    assert (seen.a.dtype, seen.a.top, seen.a.full_scale) == ("uint16", 3002, 4095)
    assert seen.b.full_scale is None
    assert not seen.a.ids


def test_few_small_values_in_grey_files_are_ids(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"{i}.png", np.arange(36, dtype=np.uint8).reshape(6, 6) % 6)
        save(tmp_path / "B" / f"{i}.png", np.full((6, 6, 3), 250, np.uint8))
    seen = found(tmp_path)
    assert seen.a.ids
    assert not seen.b.ids


def test_inputs_with_several_outputs_are_counted(tmp_path: Path) -> None:
    lines = ["A,B"]
    for i in range(6):
        save(tmp_path / f"b{i}.png", blobs(i))
        lines.append(f"a{i % 2}.png,b{i}.png")
    for i in range(2):
        save(tmp_path / f"a{i}.png", blobs(10 + i))
    (tmp_path / "set.csv").write_text("\n".join(lines))
    assert found(tmp_path / "set.csv").outputs == 3


def test_synthetic_and_real_are_known_by_their_folders(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / "synthetic" / f"{i}.png", blobs(i))
        save(tmp_path / "real" / f"{i}.png", blobs(i))
    assert found(tmp_path).synthetic


def test_endings_that_all_names_share_are_views() -> None:
    assert list(views(["1f_t0", "1f_t1", "2a_t0", "2a_t1"])) == ["t0", "t1"]
    assert not views(["1f_t0", "1f_t1", "2a_t0"])
    assert not views(["cat", "dog"])
    assert not views(["a_1", "a_2", "a_3"])
