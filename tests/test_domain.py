"""Between pictures and tensors every level survives, and what does not fit is said."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import ValidationError

from i2i.domain import Domain
from i2i.images import ImageError, Picture


@pytest.mark.parametrize(("dtype", "levels"), [("uint8", 256), ("uint16", 65536)])
def test_every_level_survives_the_way_there_and_back(dtype, levels):
    domain = Domain.of(1, dtype)
    values = np.arange(levels).astype(dtype).reshape(1, 16, -1)
    floats = domain.to_float(torch.from_numpy(values))
    assert (floats.min(), floats.max()) == (-1, 1)
    np.testing.assert_array_equal(domain.to_array(floats)[..., 0], values[0])


def test_to_float_is_the_formula_in_float32():
    values = torch.arange(256, dtype=torch.uint8)
    expected = 2 * values.numpy().astype(np.float32) / np.float32(255) - np.float32(1)
    np.testing.assert_array_equal(Domain.of(3).to_float(values).numpy(), expected)
    narrow = Domain(channels=1, dtype="uint16", low=100, high=300)
    assert narrow.to_float(torch.tensor([100.0, 200.0, 300.0])).tolist() == [-1, 0, 1]


def test_to_array_rounds_and_clamps_and_puts_channels_last():
    image = torch.tensor([-7.0, -1.0, 0.9999, 7.0]).reshape(2, 1, 2)
    array = Domain.of(2).to_array(image)
    assert array.shape == (1, 2, 2)
    assert array.tolist() == [[[0, 255], [0, 255]]]
    assert Domain.of(1).to_array(torch.full((1, 1, 1), 2 * 99.6 / 255 - 1)).item() == 100
    assert Domain.of(1).to_array(torch.ones(1, 1, 1, dtype=torch.bfloat16)).item() == 255


@pytest.mark.parametrize(
    ("domain", "dtype", "expected"),
    [
        (Domain.of(1, "uint8"), "uint16", [0, 65535]),
        (Domain.of(1, "uint16"), "uint8", [0, 255]),
        (Domain.of(1, "float32"), "uint8", [0, 255]),
        (Domain.of(1, "uint8"), "float32", [0, 255]),
        (Domain(channels=1, dtype="uint8", low=10, high=20), "uint16", [2570, 5140]),
        (Domain(channels=1, dtype="float32", low=-5, high=5), "float32", [-5, 5]),
    ],
)
def test_another_type_can_be_asked_for(domain, dtype, expected):
    array = domain.to_array(torch.tensor([-1.0, 1.0]).reshape(1, 1, 2), dtype)
    assert array.dtype == dtype
    assert array.ravel().tolist() == expected


def test_grey_becomes_colour_by_repetition_and_colour_grey_by_luma():
    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    luma = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
    np.testing.assert_array_equal(Domain.of(1).conform(Picture(rgb)), luma)
    np.testing.assert_array_equal(Domain.of(3).conform(Picture(luma)), np.repeat(luma, 3, axis=2))
    deep = Domain.of(1, "uint16").conform(Picture(rgb.astype(np.uint16) * 257))
    assert np.abs(deep / 257.0 - luma).max() <= 0.51
    floats = Domain.of(1, "float32").conform(Picture(rgb.astype(np.float32) / 255))
    assert np.abs(floats * 255 - luma).max() <= 0.51


@pytest.mark.parametrize(("found", "wanted"), [(2, 1), (2, 3), (5, 3), (3, 4), (1, 2)])
def test_other_channel_counts_are_refused_with_both_numbers(found, wanted):
    with pytest.raises(ImageError, match=f"{found} channels, {wanted} are expected"):
        Domain.of(wanted).conform(Picture(np.zeros((2, 2, found), np.uint8)))


def test_integers_change_type_by_full_scale():
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    sixteen = Domain.of(1, "uint16").conform(Picture(eight))
    assert sixteen.max() == 65535
    np.testing.assert_array_equal(Domain.of(1).conform(Picture(sixteen)), eight)
    odd = np.array([128, 129, 65406, 65407], np.uint16).reshape(1, 4, 1)
    assert Domain.of(1).conform(Picture(odd)).ravel().tolist() == [0, 1, 254, 255]
    floats = Domain(channels=1, dtype="float32", low=-1, high=3).conform(Picture(eight))
    assert (floats.min(), floats.max(), floats.dtype) == (-1, 3, np.float32)


def test_values_outside_the_domain_are_clipped_and_alpha_is_dropped():
    domain = Domain(channels=1, dtype="float32", low=-1, high=2)
    picture = Picture(np.array([[[-9], [0.5], [9]]], np.float32), np.ones((1, 3), np.float32))
    assert domain.conform(picture).ravel().tolist() == [-1, 0.5, 2]
    narrow = Domain(channels=1, dtype="uint16", low=100, high=4000)
    clipped = narrow.conform(Picture(np.array([[[0], [200], [65535]]], np.uint16)))
    assert (clipped.dtype, clipped.ravel().tolist()) == (np.uint16, [100, 200, 4000])


def test_floats_for_an_integer_domain_are_refused_since_their_scale_is_unknown():
    with pytest.raises(ImageError, match="float values, uint8 is expected"):
        Domain.of(1).conform(Picture(np.zeros((2, 2, 1), np.float32)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"channels": 3, "dtype": "int8"},
        {"channels": 3, "low": 5, "high": 5},
        {"channels": 3, "high": 256},
        {"channels": 3, "low": 0.5},
        {"channels": 3, "gamma": 2},
        {"channels": 3, "void": (255,)},
        {"channels": 3, "instances": True},
        {"channels": 3, "palette": ((0, 0, 0),) * 3},
        {"channels": 1, "labels": True, "void": (255,)},
        {"channels": 2, "labels": True, "palette": ((0, 0, 0), (0, 0, 0))},
        {"channels": 4, "labels": True, "palette": ((0, 0, 0), (1, 1, 1))},
        {"channels": 1, "labels": True, "palette": ((0, 0, 256),)},
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Domain(**wrong)


RED_BLUE = ((255, 0, 0), (0, 0, 255))


@pytest.mark.parametrize(
    "domain",
    [
        Domain(channels=2, dtype="uint16", low=3, high=900),
        Domain(channels=36, labels=True, void=(255, -1), instances=True),
        Domain(channels=3, labels=True, palette=RED_BLUE),
    ],
)
def test_a_domain_survives_json_and_yaml(domain):
    assert Domain.model_validate_json(domain.model_dump_json()) == domain
    assert Domain(**yaml.safe_load(yaml.safe_dump(domain.model_dump(mode="json")))) == domain
    assert hash(domain) == hash(domain.model_copy())


def test_label_maps_become_one_hot_with_void_in_the_last_channel():
    domain = Domain(channels=4, labels=True, void=(255, 7))
    assert (domain.classes, domain.unlabelled) == (3, True)
    values = domain.positions(np.array([[0, 2, 255], [1, 7, 0]]))
    assert (values.dtype, values[..., 0].tolist()) == (np.uint8, [[0, 2, 3], [1, 3, 0]])
    one_hot = domain.to_float(torch.from_numpy(values).permute(2, 0, 1)[None])
    assert (one_hot.shape, one_hot.dtype) == ((1, 4, 2, 3), torch.float32)
    assert one_hot.sum(1).eq(1).all()
    assert one_hot.argmax(1)[0].tolist() == values[..., 0].tolist()


def test_classes_past_255_keep_their_channel():
    domain = Domain(channels=301, labels=True)
    values = torch.from_numpy(domain.positions(np.array([[300, 256, 0]]))).permute(2, 0, 1)[None]
    assert domain.to_float(values).argmax(1).tolist() == [[[300, 256, 0]]]


def test_a_label_map_with_channels_last_is_refused_by_to_float():
    with pytest.raises(ValueError, match="one channel"):
        Domain(channels=3, labels=True).to_float(torch.zeros(1, 5, 4, 1, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("ids", "named"), [([0, 3, -1], "-1 and 3"), (range(20), "3, 4, 5, 6, 7, 8, 9, 10 and 9 more"), ([255], "255")]
)
def test_ids_that_are_no_class_are_refused_by_their_values(ids, named):
    with pytest.raises(ImageError, match=f"labels {named}, and the classes are 0 to 2"):
        Domain(channels=3, labels=True).positions(np.array([list(ids)]))


def test_other_colours_are_void_where_the_model_has_a_channel_for_them_and_else_refused():
    colours = Picture(np.array([[[0, 0, 255], [255, 0, 0], [1, 2, 3]]], np.uint8))
    assert Domain(channels=3, labels=True, palette=RED_BLUE).conform(colours)[..., 0].tolist() == [[1, 0, 2]]
    with pytest.raises(ImageError, match="colours outside the palette"):
        Domain(channels=2, labels=True, palette=RED_BLUE).conform(colours)


@pytest.mark.parametrize(
    "picture",
    [
        Picture(np.zeros((2, 2, 1), np.float32)),
        Picture(np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.uint8)),
        Picture(np.zeros((2, 2, 2), np.uint8)),
        Picture(np.zeros((2, 2, 3), np.uint8)),
    ],
)
def test_what_holds_no_ids_is_no_label_map(picture):
    with pytest.raises(ImageError):
        Domain(channels=3, labels=True).conform(picture)


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (Domain.of(3), "8-bit colour"),
        (Domain.of(1, "uint16"), "16-bit grey"),
        (Domain.of(5, "float32"), "float with 5 channels, 0 to 1"),
        (Domain(channels=36, labels=True, void=(255,), instances=True), "label map of 35 classes (+ void), with instances"),
        (Domain(channels=2, labels=True, palette=RED_BLUE), "label map of 2 classes"),
    ],
)
def test_a_domain_says_what_it_holds(domain, said):
    assert str(domain) == said
