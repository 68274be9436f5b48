"""Label maps and alpha on their way to a network; pictures are followed through whole translations in test_translate."""

import numpy as np
import pytest
from PIL import Image

from i2i.conversion import Alpha, as_ids, padded, prepare, prepare_ids
from i2i.domain import Domain
from i2i.images import ImageError, Picture
from i2i.method import Accepts

X = Domain(channels=4, labels=True, void=(255,))
Y = Domain.of(3)
BY_FOUR = Accepts(stride=4, smallest=8, halo=None)
IDS = np.array([[0, 1, 2], [255, 0, 0], [2, 2, 1], [1, 1, 1], [0, 0, 2]])


def test_a_label_map_is_padded_by_its_mirror_and_lies_where_it_says():
    ready = prepare_ids(IDS, X, Y, BY_FOUR)
    assert ready.values.shape == (8, 8, 1)
    assert np.array_equal(ready.values[ready.rows, ready.columns, 0], np.where(IDS == 255, 3, IDS))
    assert set(np.unique(ready.values)) == {0, 1, 2, 3}
    assert (ready.dtype, ready.alpha, ready.scale) == ("uint8", None, X)


def test_instances_are_padded_as_the_label_map_is():
    values, rows, columns = padded(IDS[..., None] * 1000, BY_FOUR)
    ready = prepare_ids(IDS, X, Y, BY_FOUR)
    assert (rows, columns) == (ready.rows, ready.columns)
    assert np.array_equal(values == 255_000, ready.values == 3)


def test_the_depth_of_ids_is_not_the_depth_of_the_result():
    picture = Picture(IDS[..., None].astype(np.uint16))
    assert prepare(picture, X, Y, BY_FOUR).dtype == "uint8"


def test_ids_that_the_model_does_not_know_are_listed():
    with pytest.raises(ImageError, match="labels 3 and 77, and the classes are 0 to 2"):
        prepare_ids(np.array([[77, 3, 0]]), X, Y, BY_FOUR)


def test_label_maps_come_from_pillow_and_numpy_as_they_are():
    small = IDS.astype(np.uint8)
    indexed = Image.fromarray(small)
    indexed.putpalette(bytes(range(256)) * 3)
    for source in (small, small[..., None], IDS.astype(np.int32), Image.fromarray(small), indexed, Picture(small[..., None])):
        assert np.array_equal(as_ids(source, X), IDS)
    assert as_ids(Image.fromarray(IDS.astype(np.uint16) * 257), X).max() == 65535
    by_colour = Domain(channels=3, labels=True, palette=((9, 9, 9), (1, 2, 3)))
    assert as_ids(np.array([[[1, 2, 3], [9, 9, 9], [0, 0, 0]]], np.uint8), by_colour).tolist() == [[1, 0, -1]]


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8), np.zeros(3)]
)
def test_what_is_no_label_map_is_refused(array):
    with pytest.raises(ImageError):
        as_ids(array, X)


def test_hidden_colour_does_not_shine_through_what_is_flattened():
    array = np.array([[[10], [10]], [[10], [10]]], np.uint8)
    alpha = np.array([[0, 255], [51, 128]], np.uint8)
    flat = Alpha.parse("flatten:white").of(Picture(array, alpha, ("a note",)))
    assert flat.array[..., 0].tolist() == [[255, 10], [206, 132]]
    assert (flat.alpha, flat.notes) == (None, ("a note",))


def test_what_has_no_alpha_or_keeps_it_stays_as_it_is():
    clear, solid = Picture(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)), Picture(np.zeros((2, 2, 3), np.uint8))
    assert Alpha.parse("keep").of(clear) is clear
    assert Alpha.parse("flatten:red").of(solid) is solid
    assert Alpha.parse("drop").of(clear).alpha is None


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.float32), (5, np.uint8)])
def test_floats_and_many_channels_have_no_colour_to_lie_on(channels, dtype):
    with pytest.raises(ImageError, match="can be flattened"):
        Alpha.parse("flatten").of(Picture(np.zeros((2, 2, channels), dtype), np.zeros((2, 2), dtype)))
