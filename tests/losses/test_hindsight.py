import pytest
import torch

from i2i.losses.hindsight import class_errors, hindsight

TAPS = {"input": (16, 24), "near": (8, 12), "far": (3, 4)}  # the last is no whole fraction of the image
LAMBDAS = {"input": 1.0, "near": 0.5, "far": 4.0}


def drawn(k: int = 3, batch: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {tap: torch.rand(batch, k, *size, generator=generator) for tap, size in TAPS.items()}


def layout(batch: int = 2, classes: int = 4) -> torch.Tensor:
    ids = torch.randint(classes, (batch, 16, 24), generator=torch.Generator().manual_seed(7))
    return torch.nn.functional.one_hot(ids, classes).permute(0, 3, 1, 2).float()


def whole(batch: int = 2) -> torch.Tensor:
    return torch.ones(batch, 1, 16, 24)


def loss(maps, masks, alpha: float = 0.999) -> torch.Tensor:
    return hindsight(class_errors(maps, LAMBDAS, masks), alpha)


def test_an_error_is_the_mean_over_all_pixels_of_what_lies_in_the_class() -> None:
    distances = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])[None]
    assert class_errors({"input": distances}, {"input": 10}, masks).tolist() == [[[10 * 3 / 4, 10 * 7 / 4]]]


def test_masks_are_shrunk_by_areas_to_the_size_of_a_tap() -> None:
    masks = torch.tensor([[1.0, 1.0, 1.0, 0.0]]).expand(2, 4)[None, None]  # a tap of half the size: 1 and a half
    assert class_errors({"far": torch.tensor([[[[6.0, 8.0]]]])}, {"far": 1}, masks).tolist() == [[[(6 + 8 / 2) / 2]]]


def test_each_class_takes_its_own_best_image() -> None:
    errors = torch.tensor([[[1.0, 5.0], [3.0, 2.0]]])
    assert hindsight(errors, alpha=1).item() == 1 + 2
    assert hindsight(errors).item() == pytest.approx(0.999 * (1 + 2) + 0.001 * (2 + 3.5))


def test_a_batch_is_the_mean_of_its_images() -> None:
    maps, masks = drawn(), layout()
    alone = [loss({tap: d[[b]] for tap, d in maps.items()}, masks[[b]]) for b in range(2)]
    torch.testing.assert_close(loss(maps, masks), torch.stack(alone).mean())


def test_classes_share_out_the_whole_error() -> None:
    """Masks sum to 1 at every tap, even where its size is no whole fraction of the image's."""
    maps = drawn()
    torch.testing.assert_close(class_errors(maps, LAMBDAS, layout()).sum(2), class_errors(maps, LAMBDAS, whole())[:, :, 0])


def test_with_one_image_masks_change_nothing_and_the_loss_is_the_plain_one() -> None:
    maps = drawn(k=1)
    plain = sum(LAMBDAS[tap] * d.mean() for tap, d in maps.items())
    torch.testing.assert_close(loss(maps, layout()), plain)
    torch.testing.assert_close(loss(maps, whole()), plain)


@pytest.mark.parametrize("seed", range(5))
def test_a_best_image_for_each_class_is_no_worse_than_one_for_all(seed) -> None:
    maps = drawn(seed=seed)
    assert loss(maps, layout(), alpha=1) <= loss(maps, whole(), alpha=1) + 1e-6


def test_the_order_of_the_images_means_nothing() -> None:
    maps = drawn()
    shuffled = {tap: d[:, [2, 0, 1]] for tap, d in maps.items()}
    torch.testing.assert_close(loss(shuffled, layout()), loss(maps, layout()))


def test_the_gradient_reaches_every_image_and_most_of_it_the_best() -> None:
    maps = {tap: (d + torch.arange(3.0).view(1, 3, 1, 1)).requires_grad_() for tap, d in drawn().items()}
    loss(maps, layout()).backward()
    for d in maps.values():
        best, *others = (d.grad[:, u].abs().sum() for u in range(3))
        assert all(0 < other < 0.001 * best for other in others)


def test_without_the_mean_the_losers_get_nothing() -> None:
    maps = {tap: (d + torch.arange(3.0).view(1, 3, 1, 1)).requires_grad_() for tap, d in drawn().items()}
    loss(maps, layout(), alpha=1).backward()
    assert all(d.grad[:, 1:].abs().max() == 0 for d in maps.values())


def test_narrow_distances_are_summed_in_float32() -> None:
    maps = {"input": torch.full((1, 1, 64, 64), 1 + 2**-7, dtype=torch.bfloat16)}
    with torch.autocast("cpu", torch.bfloat16):
        total = hindsight(class_errors(maps, {"input": 1}, torch.ones(1, 1, 64, 64)))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(1 + 2**-7, rel=1e-5)
