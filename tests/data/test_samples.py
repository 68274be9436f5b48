import itertools
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i import images
from i2i.config import DataSettings
from i2i.data import reader as reading
from i2i.data.folders import Source
from i2i.data.loader import batch_numbers, batches, collate
from i2i.data.reader import INSTANCES, Reader, picture
from i2i.data.samples import FixedSamples, PairedSamples, Sample, UnpairedSamples
from i2i.data.settle import settle
from i2i.data.transforms import cropped, resized
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.images import ImageError, Picture


def save(path: Path, array: np.ndarray) -> Source:
    """A source whose file holds the array (H, W, C)."""
    path.write_bytes(images.encode(Picture(array), path.suffix))
    return Source(path, path.stem)


def flat(folder: Path, values: range, shape: tuple[int, ...] = (6, 6, 1), dtype: str = "uint8") -> list[Source]:
    """Files of one value each, which tells them apart in a sample."""
    folder.mkdir()
    return [save(folder / f"{value}.tif", np.full(shape, value, dtype)) for value in values]


def settings(size: int = 4, *, channels: int = 1, dtype: str = "uint8", **more) -> DataSettings:
    domain = Domain.of(channels, dtype)
    return DataSettings(size=size, x=domain, y=domain, **more)


@pytest.fixture
def unequal(tmp_path):
    """Seven images on one side, values 0 to 6, and three on the other, 100 to 102."""
    how = settings()
    sides = _sides(tmp_path, range(7), range(100, 103))
    return lambda seed=0: UnpairedSamples(*sides, how, Reader(how, 10**6), seed)


def _sides(folder: Path, *values: range) -> list[list[Source]]:
    return [flat(folder / f"side{v.start}", v) for v in values]


# Samples


def test_a_sample_is_the_same_in_any_order(unequal):
    forwards, backwards = unequal(), unequal()
    first = [forwards[n] for n in range(30)]
    second = [backwards[n] for n in reversed(range(30))][::-1]
    assert all(np.array_equal(a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True))


def test_another_seed_gives_another_order(unequal):
    assert [int(unequal(0)[n][0][0, 0, 0]) for n in range(7)] != [int(unequal(1)[n][0][0, 0, 0]) for n in range(7)]


def test_every_epoch_is_a_new_permutation(unequal):
    samples = unequal()
    epochs = [[int(samples[n][0][0, 0, 0]) for n in range(7 * e, 7 * e + 7)] for e in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_other_unpaired_side_is_drawn_at_random(unequal):
    samples = unequal()
    drawn = Counter(int(samples[n][1][0, 0, 0]) for n in range(300))
    assert set(drawn) == {100, 101, 102}
    assert min(drawn.values()) > 70
    together = Counter((int(x[0, 0, 0]), int(y[0, 0, 0])) for x, y, *_ in (samples[n] for n in range(300)))
    assert len(together) == 21


def test_a_smaller_first_side_is_repeated_evenly(tmp_path):
    how = settings()
    samples = UnpairedSamples(*_sides(tmp_path, range(3), range(100, 106)), how, Reader(how, 10**6), 0)
    assert len(samples) == 6
    assert Counter(int(samples[n][0][0, 0, 0]) for n in range(6)) == {0: 2, 1: 2, 2: 2}


def test_draws_never_change_between_versions(unequal):
    """A resumed run must go on with the order that it began with."""
    samples = unequal()
    assert [int(samples[n][0][0, 0, 0]) for n in range(7)] == [3, 5, 2, 4, 1, 6, 0]
    assert [int(samples[n][1][0, 0, 0]) for n in range(7)] == [102, 100, 102, 102, 100, 101, 102]


def coordinates(height: int = 20, width: int = 24) -> np.ndarray:
    """(H, W, 3): the row and the column of every pixel, each far enough from the next to survive resizing."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 10, columns * 10, np.zeros_like(rows)], axis=2).astype(np.uint8)


def test_pairs_share_crop_and_flip(tmp_path):
    a, b = save(tmp_path / "a.png", coordinates()), save(tmp_path / "b.png", 255 - coordinates())
    how = settings(8, channels=3, resize="none")
    samples = PairedSamples([a], [b], how, Reader(how, 10**6), 0)
    seen = set()
    for n in range(60):
        x, y, *_ = samples[n]
        assert np.array_equal(x, 255 - y)
        seen.add((int(x[0, 0, 0]), int(x[0].min(0)[1]), bool(x[0, 0, 1] > x[0, 1, 1])))
    assert len({top for top, _, _ in seen}) == 13  # every one of 20 - 8 + 1 rows
    assert len({left for _, left, _ in seen}) > 10
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def test_unpaired_sides_are_cut_apart(tmp_path):
    a = save(tmp_path / "a.png", coordinates())
    how = settings(8, channels=3, resize="none")
    samples = UnpairedSamples([a], [a], how, Reader(how, 10**6), 0)
    assert sum(np.array_equal(*samples[n][:2]) for n in range(30)) < 5


def test_flips_can_be_turned_off(tmp_path):
    a = save(tmp_path / "a.png", coordinates())
    how = settings(8, channels=3, resize="none", flip=False)
    samples = PairedSamples([a], [a], how, Reader(how, 10**6), 0)
    assert all(x[0, 0, 1] < x[0, 1, 1] for x, *_ in (samples[n] for n in range(20)))


def test_fixed_samples_are_the_first_in_order_from_the_middle(tmp_path):
    a = save(tmp_path / "a.png", coordinates())
    how = settings(8, channels=3, resize="none")
    samples = FixedSamples([a], [a], how, Reader(how, 10**6), 0)
    assert np.array_equal(samples[0][0], coordinates()[6:14, 8:16])
    assert np.array_equal(samples[3][1], samples[0][1])


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint16"), (3, "uint16"), (5, "uint8"), (2, "float32")])
def test_deep_and_many_channelled_images_stay_what_they_are(tmp_path, channels, dtype):
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    array = (np.random.default_rng(0).random((9, 9, channels)) * top).astype(dtype)
    source = save(tmp_path / "a.tif", array)
    how = settings(9, channels=channels, dtype=dtype, resize="none", flip=False)
    x, *_ = PairedSamples([source], [source], how, Reader(how, 10**6), 0)[0]
    assert x.dtype == dtype
    assert np.array_equal(x, array)
    assert collate([Sample(x, x)]).x.dtype == getattr(torch, dtype)


def test_labels_instances_region_and_photo_share_place_and_mirroring(tmp_path):
    """16-bit ids past 32767 and odd sides among them."""
    rows, columns = np.mgrid[:21, :30]
    place = (columns + 30 * rows).astype(np.uint16)
    sources = [
        save(tmp_path / "label.png", (columns % 7)[..., None].astype(np.uint8)),
        save(tmp_path / "photo.png", np.stack([rows * 8, columns * 8, columns % 7 * 36], 2).astype(np.uint8)),
        save(tmp_path / "inst.png", (33_000 + place)[..., None]),
        save(tmp_path / "region.png", (columns * 8)[..., None].astype(np.uint8)),
    ]
    how = DataSettings(size="13x9", resize="none", x=Domain(channels=7, labels=True), y=Domain.of(3))
    x, y, instances, region = ([source] for source in sources)
    samples = PairedSamples(x, y, how, Reader(how, 10**6), 0, instances, region)
    for number in range(20):
        sample = samples[number]
        assert [field.shape for field in sample] == [(9, 13, 1), (9, 13, 3), (9, 13, 1), (9, 13, 1)]
        assert [field.dtype for field in sample] == [np.uint8, np.uint8, np.int32, np.float32]
        where = sample.instances[..., 0] - 33_000
        assert np.array_equal(where // 30 * 8, sample.y[..., 0])
        assert np.array_equal(where % 30 % 7, sample.x[..., 0])
        assert np.allclose(where % 30 * 8 / 255, sample.region[..., 0])
    batch = collate([samples[0], samples[1]])
    assert batch.instances.dtype == torch.int32
    assert batch.region.shape == (2, 9, 13, 1)
    fixed = FixedSamples(x, y, how, Reader(how, 10**6), 0, instances)[0]
    assert (fixed.instances.shape, fixed.region) == ((9, 13, 1), None)


def test_resized_ids_are_never_mixed_and_lie_on_one_grid(tmp_path):
    ids = np.random.default_rng(0).integers(0, 2, (37, 23, 1))
    label, inst = (
        save(tmp_path / "l.png", (ids * 9).astype(np.uint8)),
        save(tmp_path / "i.png", (ids * 60_000).astype(np.uint16)),
    )
    how = DataSettings(size=16, load_size=19, x=Domain(channels=10, labels=True), y=Domain(channels=10, labels=True))
    sample = PairedSamples([label], [label], how, Reader(how, 10**6), 0, [inst])[0]
    assert set(np.unique(sample.x)) == {0, 9}
    assert np.array_equal(sample.x // 9, sample.instances // 60_000)


def test_samples_without_companions_have_none(unequal):
    assert unequal()[0][2:] == (None, None)
    batch = next(batches(unequal(), 2, 0))
    assert (batch.instances, batch.region) == (None, None)


def test_a_label_outside_the_classes_names_its_file(tmp_path):
    source = save(tmp_path / "bad.png", np.full((4, 4, 1), 34, np.uint8))
    how = DataSettings(size=4, x=Domain(channels=34, labels=True), y=Domain.of(1))
    with pytest.raises(ImageError, match=r"bad\.png.*labels 34, and the classes are 0 to 33"):
        Reader(how, 0)(source, how.x)


def test_label_maps_can_be_halves_of_files(tmp_path):
    path = save(tmp_path / "a.png", np.hstack([np.full((4, 4, 1), v, np.uint8) for v in (1, 200)])).path
    how = DataSettings(size=4, x=Domain(channels=2, labels=True), y=Domain.of(1))
    sides = [Source(path, "a", half) for half in ("left", "right")]
    sample = PairedSamples(sides[:1], sides[1:], how, Reader(how, 0), 0)[0]
    assert (sample.x.max(), sample.y.min()) == (1, 200)


def test_label_maps_are_read_once(tmp_path, monkeypatch):
    source = save(tmp_path / "a.png", np.zeros((4, 4, 1), np.uint8))
    how, read, count = DataSettings(size=4, x=Domain(channels=2, labels=True), y=Domain.of(1)), images.read_ids, []
    monkeypatch.setattr(reading.images, "read_ids", lambda *given: count.append(given) or read(*given))
    reader = Reader(how, 10**6)
    assert reader(source, how.x) is reader(source, how.x)
    assert reader(source, INSTANCES) is reader(source, INSTANCES)
    assert len(count) == 2


# The loader


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("start", [0, 5])
def test_batches_are_the_same_with_any_workers_from_any_start(unequal, workers, start):
    alone = list(itertools.islice(batches(unequal(), 2, 0), 12))[start:]
    threaded = list(itertools.islice(batches(unequal(), 2, start, workers=workers), 12 - start))
    assert all(
        torch.equal(a, b) for one, other in zip(alone, threaded, strict=True) for a, b in zip(one[:2], other[:2], strict=True)
    )


def test_ranks_share_every_sample_and_repeat_none():
    taken = [n for step in range(3) for rank in range(4) for n in batch_numbers(step, 2, rank, 4)]
    assert taken == list(range(24))


def test_a_bad_file_is_reported_from_a_worker(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    how = settings()
    bad = [Source(tmp_path / "a.png", "a")]
    with pytest.raises(ImageError, match=r"a\.png"):
        next(batches(PairedSamples(bad, bad, how, Reader(how, 0), 0), 1, 0, workers=2))


def test_a_closed_loader_stops_its_threads(unequal):
    supply = batches(unequal(), 2, 0, workers=2)
    next(supply)
    supply.close()
    assert next(supply, None) is None


# The reader


def counted(monkeypatch) -> list[Path]:
    """Every file that this thread decodes from now on; a loader that an earlier test closed may still be finishing one."""
    decoded = []
    read, here = images.read, threading.get_ident()

    def noted(path: Path) -> images.Picture:
        if threading.get_ident() == here:
            decoded.append(path)
        return read(path)

    monkeypatch.setattr(reading.images, "read", noted)
    return decoded


def test_a_kept_image_is_decoded_once(tmp_path, monkeypatch):
    (source,) = flat(tmp_path / "a", range(1))
    how, decoded = settings(), counted(monkeypatch)
    reader = Reader(how, 10**6)
    assert reader(source, how.x) is reader(source, how.x)
    assert len(decoded) == 1


def test_nothing_is_kept_past_the_budget(tmp_path, monkeypatch):
    sources = flat(tmp_path / "a", range(5))
    how, decoded = settings(load_size=4), counted(monkeypatch)
    reader = Reader(how, 3 * 16)
    for _ in range(2):
        for source in sources:
            reader(source, how.x)
    assert len(decoded) == 5 + 2


def test_both_halves_of_a_file_are_decoded_together(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.hstack([np.full((4, 4, 1), v, np.uint8) for v in (7, 9)])).path
    how, decoded = settings(), counted(monkeypatch)
    reader = Reader(how, 0)
    left, right = (reader(Source(path, "a", half), how.x) for half in ("left", "right"))
    assert (left.max(), right.min()) == (7, 9)
    assert len(decoded) == 1


def test_halves_of_odd_width_have_one_size(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((4, 9, 1), np.uint8)).path
    assert [picture(Source(path, "a", half)).width for half in ("left", "right")] == [4, 4]


def test_a_file_too_narrow_for_two_is_named(tmp_path):
    path = save(tmp_path / "thin.png", np.zeros((4, 1, 1), np.uint8)).path
    with pytest.raises(ImageError, match=r"thin\.png"):
        picture(Source(path, "a", "left"))


def test_a_file_that_does_not_fit_the_domain_is_named(tmp_path):
    source = save(tmp_path / "five.tif", np.zeros((4, 4, 5), np.uint8))
    how = settings(channels=3)
    with pytest.raises(ImageError, match=r"five\.tif.*5 channels"):
        Reader(how, 0)(source, how.x)


# Transforms


@pytest.mark.parametrize(
    ("mode", "load", "crop", "shape", "expected"),
    [
        ("square", 10, 8, (20, 40), (10, 10)),
        ("square", 6, 8, (20, 40), (8, 8)),
        ("square", "40x20", "32x16", (30, 30), (20, 40)),
        ("shorter", 10, 8, (20, 40), (10, 20)),
        ("shorter", 10, 8, (40, 20), (20, 10)),
        ("shorter", 6, 8, (3, 3), (8, 8)),
        ("shorter", "40x20", "32x16", (40, 80), (20, 40)),
        ("shorter", "40x20", "32x16", (40, 40), (32, 32)),
        ("width", 10, 8, (20, 20), (10, 10)),
        ("width", "40x20", "32x16", (30, 80), (16, 43)),
        ("width", "40x20", "32x16", (100, 80), (50, 40)),
        ("none", 10, 8, (20, 40), (20, 40)),
        ("none", 10, 8, (4, 40), (8, 80)),
        ("none", 10, 8, (1, 1), (8, 8)),
        ("none", 10, "32x16", (17, 30), (18, 32)),
    ],
)
def test_resizing_leaves_room_for_the_crop(mode, load, crop, shape, expected):
    how = DataSettings(size=crop, load_size=load)
    assert resized(np.zeros((*shape, 3), np.uint8), mode, how.resized, how.crop).shape == (*expected, 3)


def test_the_default_size_before_the_crop_is_286_for_256_on_both_sides():
    assert DataSettings().resized == (286, 286)
    assert DataSettings(size="1024x512").resized == (572, 1144)
    assert DataSettings(size="1024x512").crop == (512, 1024)


def test_an_image_of_the_right_size_is_not_touched():
    image = coordinates(10, 10)
    assert resized(image, "square", (10, 10), (8, 8)) is image


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.999999, 0.999999), (0.5, 0.0)])
def test_a_crop_lies_inside(place):
    assert cropped(coordinates(9, 11), (8, 8), place, False).shape == (8, 8, 3)
    assert cropped(coordinates(9, 11), (4, 10), place, False).shape == (4, 10, 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_a_flip_mirrors_the_columns(dtype, channels):
    image = np.random.default_rng(0).integers(0, 255, (9, 9, channels)).astype(dtype)
    assert np.array_equal(cropped(image, (8, 8), (0, 0), True), image[:8, :8][:, ::-1])


# Settling


def test_the_deepest_and_richest_kind_wins(tmp_path):
    sources = [
        save(tmp_path / "grey.png", np.zeros((9, 8, 1), np.uint16)),
        save(tmp_path / "colour.png", np.zeros((7, 12, 3), np.uint8)),
    ]
    assert settle("x", sources) == Domain.of(3, "uint16")


def test_the_range_of_floats_is_read_off_the_files(tmp_path):
    sources = [save(tmp_path / f"{v}.tif", np.full((4, 4, 1), v, np.float32)) for v in (-3, 12.5)]
    domain = settle("x", sources)
    assert (domain.low, domain.high) == (-3, 12.5)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), "channels, such as"),
        (np.zeros((4, 4, 3), np.float32), "mixes float images"),
    ],
)
def test_kinds_without_a_right_answer_are_refused(tmp_path, second, message):
    sources = [save(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8)), save(tmp_path / "b.tif", second)]
    with pytest.raises(UserError, match=message) as caught:
        settle("x", sources)
    assert caught.value.hint


def test_floats_of_one_value_are_refused(tmp_path):
    with pytest.raises(UserError, match="has the value 2"):
        settle("x", [save(tmp_path / "a.tif", np.full((4, 4, 1), 2, np.float32))])


def test_a_missing_file_of_a_manifest_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png.*no such file"):
        settle("x", [Source(tmp_path / "gone.png", "1")])
