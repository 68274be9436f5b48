import pytest
import torch
from torch import Tensor

from i2i.losses.augment import augmented

POLICIES = ["color", "translation", "cutout"]


def image(*, batch: int = 4, channels: int = 3, height: int = 16, width: int = 24, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, channels, height, width, generator=generator) * 2 - 1


def one(x: Tensor, *policies, seed: int = 0, **options) -> Tensor:
    torch.manual_seed(seed)
    (changed,) = augmented([x], policies, **options)
    return changed


# One draw for all


@pytest.mark.parametrize("policies", [[policy] for policy in POLICIES] + [POLICIES])
def test_all_images_are_changed_alike(policies) -> None:
    x = image()
    torch.manual_seed(0)
    first, second, third = augmented([x, x.clone(), image(seed=2)], policies)
    assert torch.equal(first, second)
    assert not torch.equal(first, x)
    assert first.shape == third.shape == x.shape
    torch.manual_seed(0)
    assert torch.equal(augmented([image(seed=2)], policies)[0], third)  # what comes beside it does not matter


@pytest.mark.parametrize("policy", POLICIES)
def test_every_place_in_the_batch_and_every_call_has_its_own_draw(policy) -> None:
    x = image(batch=1).repeat(8, 1, 1, 1)
    torch.manual_seed(0)
    first, second = augmented([x], [policy])[0], augmented([x], [policy])[0]
    assert len({tuple(changed.flatten().tolist()) for changed in [*first, *second]}) >= 12


def test_without_policies_the_images_are_the_same_tensors_and_nothing_is_drawn() -> None:
    x, y = image(), image(seed=2)
    before = torch.get_rng_state()
    changed = augmented([x, y], [])
    assert changed[0] is x
    assert changed[1] is y
    assert torch.equal(torch.get_rng_state(), before)


def test_the_generator_of_the_cpu_decides() -> None:
    assert torch.equal(one(image(), *POLICIES, seed=3), one(image(), *POLICIES, seed=3))
    assert not torch.equal(one(image(), *POLICIES, seed=3), one(image(), *POLICIES, seed=4))


def test_the_images_given_are_left_as_they_are() -> None:
    x = image()
    before = x.clone()
    one(x, *POLICIES)
    assert torch.equal(x, before)


def test_images_keep_their_precision() -> None:
    torch.manual_seed(0)
    changed = augmented([image().to(torch.bfloat16), image(), image().double()], POLICIES)
    assert [x.dtype for x in changed] == [torch.bfloat16, torch.float32, torch.float64]


# Colours


def test_brightness_saturation_and_contrast_stay_in_the_published_ranges() -> None:
    """The mean moves by U(-0.5, 0.5), grey is stretched by U(0.5, 1.5), and what differs from grey by U(0, 2) more."""
    x = image(batch=1, height=8, width=8).repeat(4000, 1, 1, 1)
    changed = one(x, "color")
    grey, grey_before = changed.mean(1, keepdim=True), x.mean(1, keepdim=True)
    moved = changed.mean((1, 2, 3)) - x.mean((1, 2, 3))
    contrast = grey.std((1, 2, 3)) / grey_before.std((1, 2, 3))
    saturation = (changed - grey).std((1, 2, 3)) / (x - grey_before).std((1, 2, 3)) / contrast
    for values, low, high in ((moved, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0, 2)):
        assert low - 1e-4 <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-4
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03)
    assert torch.corrcoef(torch.stack([moved, contrast, saturation])).triu(1).abs().max() < 0.06  # three draws, not one


def test_colours_are_not_clipped_so_no_gradient_is_lost() -> None:
    x = torch.ones(8, 3, 4, 4).requires_grad_()
    changed = one(x, "color")
    assert changed.max() > 1.2
    changed.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))  # the changes of saturation and contrast keep the mean


def test_colours_of_a_condition_are_left_alone() -> None:
    x = image(channels=5)
    changed = one(x, "color", colours=3)
    assert torch.equal(changed[:, :2], x[:, :2])
    assert torch.equal(changed[:, 2:], one(x[:, 2:], "color"))  # and have no influence
    assert (changed[:, 2:] - x[:, 2:]).abs().amax((1, 2, 3)).min() > 0.01


# Geometry


@pytest.mark.parametrize("policy", ["translation", "cutout"])
def test_condition_and_image_move_together(policy) -> None:
    x = image(channels=1) + 2  # no zeros of its own
    changed = one(torch.cat([x, x, x], 1), policy, colours=1)
    assert torch.equal(changed[:, :1], changed[:, 1:2])
    assert torch.equal(changed[:, :1], changed[:, 2:])


def shifts(x: Tensor, changed: Tensor) -> set[tuple[int, int]]:
    """By how much each image was moved: found by trying."""
    height, width = x.shape[2:]
    found = set()
    for before, after in zip(x, changed, strict=True):
        large = torch.nn.functional.pad(before, (width, width, height, height))
        found |= {
            (height - i, width - j)
            for i in range(height - 4, height + 5)
            for j in range(width - 4, width + 5)
            if torch.equal(large[:, i : i + height, j : j + width], after)
        }
    return found


def test_translation_moves_by_whole_pixels_up_to_an_eighth_and_zeros_come_in() -> None:
    x = image(batch=300, channels=1) + 2
    assert shifts(x, one(x, "translation")) == {(i, j) for i in range(-2, 3) for j in range(-3, 4)}


def test_translation_passes_the_gradient_of_what_stays_in_sight() -> None:
    x = (image() + 2).requires_grad_()
    changed = one(x, "translation")
    changed.sum().backward()
    assert x.grad.sum() == (changed != 0).sum()
    assert x.grad[:, :, 2:-2, 3:-3].eq(1).all()


@pytest.mark.parametrize(("height", "width", "cut"), [(16, 24, (8, 12)), (15, 9, (8, 5)), (2, 2, (1, 1))])
def test_cutout_hides_a_rectangle_of_half_the_sides_anywhere(height, width, cut) -> None:
    x = image(batch=500, height=height, width=width) + 2
    hidden = (one(x, "cutout") == 0).all(1)
    assert torch.equal(one(x, "cutout"), x * ~hidden[:, None])
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(rows * columns, hidden.sum((1, 2)))  # a rectangle, and whole
    assert (rows.max().item(), columns.max().item()) == cut
    for edge in (hidden[:, 0].any(1), hidden[:, -1].any(1)):  # at both ends up to half of it is outside
        assert rows[edge].min() == (cut[0] + 1) // 2
    for edge in (hidden[:, :, 0].any(1), hidden[:, :, -1].any(1)):
        assert columns[edge].min() == (cut[1] + 1) // 2


def test_cutout_passes_the_gradient_of_what_stays() -> None:
    x = (image() + 2).requires_grad_()
    changed = one(x, "cutout")
    changed.sum().backward()
    assert torch.equal(x.grad != 0, changed != 0)


def test_all_together_leave_a_gradient_in_most_of_the_image() -> None:
    x = image().requires_grad_()
    (one(x, *POLICIES) * image(seed=5)).sum().backward()
    assert (x.grad.abs().sum(1) > 0).float().mean() > 0.5
