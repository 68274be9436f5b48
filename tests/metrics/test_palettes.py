"""Painted label maps: counted by hand."""

import pytest
import torch

from i2i.metrics.palettes import accuracy, confusion, mean_iou, nearest

PALETTE = torch.tensor([[0, 0, 0], [255, 0, 0], [0, 0, 255]])


def test_a_pixel_is_the_nearest_colour_and_of_two_the_first() -> None:
    pixels = torch.tensor([[250, 10, 0], [0, 20, 200], [9, 9, 9], [127, 0, 127]], dtype=torch.uint8)
    assert nearest(pixels.T.view(3, 2, 2), PALETTE).tolist() == [[1, 2], [0, 0]]


def test_accuracy_and_iou_have_the_values_computed_by_hand() -> None:
    true, painted = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
    confused = confusion(painted, true, 3)
    assert confused.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert accuracy(confused) == 0.75
    assert mean_iou(confused) == pytest.approx((1 / 2 + 2 / 3) / 2)  # class 2 is nowhere, and does not count


def test_a_class_that_was_only_painted_counts() -> None:
    assert mean_iou(confusion(torch.tensor([[0, 2]]), torch.tensor([[0, 0]]), 3)) == pytest.approx((1 / 2 + 0) / 2)


def test_a_map_against_itself_is_right_everywhere() -> None:
    ids = torch.randint(0, 3, (8, 8), generator=torch.Generator().manual_seed(0))
    assert (accuracy(confusion(ids, ids, 3)), mean_iou(confusion(ids, ids, 3))) == (1, 1)
