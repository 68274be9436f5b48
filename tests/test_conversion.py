"""Label maps on their way to a network; pictures are followed through whole translations in test_translate."""

import numpy as np
import pytest
from PIL import Image

from i2i.conversion import as_ids, padded, prepare, prepare_ids
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
