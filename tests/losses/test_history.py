import pytest
import torch

from i2i.losses.history import History


def numbered(*numbers: float, size: int = 2) -> torch.Tensor:
    return torch.stack([torch.full((3, size, size), float(n)) for n in numbers])


def numbers(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].int().tolist()


def filled(size: int) -> History:
    history = History(size)
    history.query(numbered(*range(size)))
    return history


def test_it_gives_back_what_it_stores_until_it_is_full() -> None:
    history = History(3)
    assert numbers(history.query(numbered(1, 2))) == [1, 2]
    assert numbers(history.query(numbered(3))) == [3]
    assert numbers(history.images) == [1, 2, 3]


def test_once_full_it_swaps_about_half_of_the_new_images() -> None:
    torch.manual_seed(0)
    history = filled(5)
    new = list(range(100, 1100))
    old = [back != n for n in new for back in numbers(history.query(numbered(n)))]
    assert 0.45 < sum(old) / len(old) < 0.55
    assert len(history.images) == 5


def test_a_swap_gives_the_old_image_and_keeps_the_new_one() -> None:
    torch.manual_seed(0)
    history = filled(4)
    for n in range(100, 120):
        before = numbers(history.images)
        (back,) = numbers(history.query(numbered(n)))
        after = numbers(history.images)
        if back == n:
            assert after == before
        else:
            assert sorted(after) == sorted([*before, n][: before.index(back)] + [*before, n][before.index(back) + 1 :])


def test_every_slot_is_used() -> None:
    torch.manual_seed(0)
    history = filled(4)
    for n in range(100, 200):
        history.query(numbered(n))
    assert min(numbers(history.images)) >= 100


def test_the_images_of_a_batch_are_swapped_one_by_one() -> None:
    torch.manual_seed(1)
    history = filled(2)
    back = history.query(numbered(*range(100, 150)))
    assert back.shape == (50, 3, 2, 2)
    kept = [b == n for b, n in zip(numbers(back), range(100, 150), strict=True)]
    assert any(kept)
    assert not all(kept)
    assert len(set(numbers(back) + numbers(history.images))) == 52  # nothing is lost, nothing doubled


def test_the_seed_decides_the_draws() -> None:
    def draws() -> list[int]:
        torch.manual_seed(4)
        history = filled(3)
        return [n for k in range(20) for n in numbers(history.query(numbered(100 + k)))]

    assert draws() == draws()


def test_what_it_returns_is_detached_and_a_copy() -> None:
    torch.manual_seed(0)
    history, fake = History(2), numbered(1).requires_grad_()
    back = history.query(fake * 1)
    assert not back.requires_grad
    back.zero_()
    assert numbers(history.images) == [1]
    for n in range(2, 30):
        back = history.query(numbered(n))
        stored = numbers(history.images)
        back.zero_()
        assert numbers(history.images) == stored


def test_what_it_stores_does_not_follow_the_fake() -> None:
    history, fake = History(2), numbered(1)
    history.query(fake)
    fake.zero_()
    assert numbers(history.images) == [1]


def test_with_size_zero_it_passes_everything_through_detached() -> None:
    history, fake = History(0), numbered(1, 2).requires_grad_()
    back = history.query(fake)
    assert torch.equal(back, fake)
    assert not back.requires_grad
    assert history.images.numel() == 0


def test_it_stores_bfloat16_images_in_float32() -> None:
    history = History(2)
    assert history.query(numbered(1).to(torch.bfloat16)).dtype == torch.float32
    assert history.images.dtype == torch.float32


def test_another_resolution_starts_it_anew() -> None:
    history = filled(3)
    back = history.query(numbered(9, size=4))
    assert back.shape == (1, 3, 4, 4)
    assert numbers(history.images) == [9]


@pytest.mark.parametrize("stored", [0, 2, 3])
def test_its_state_goes_into_a_fresh_one(stored) -> None:
    old, new = History(3), History(3)
    if stored:
        old.query(numbered(*range(stored)))
    new.load_state_dict(old.state_dict())
    assert torch.equal(new.images, old.images)
    torch.manual_seed(0)
    expected = [numbers(old.query(numbered(n))) for n in range(10, 20)]
    torch.manual_seed(0)
    assert [numbers(new.query(numbered(n))) for n in range(10, 20)] == expected


def test_its_state_replaces_that_of_a_used_one() -> None:
    old, used = History(3), filled(3)
    old.query(numbered(7, size=4))
    used.load_state_dict(old.state_dict())
    assert torch.equal(used.images, numbered(7, size=4))


def test_loading_does_not_tie_two_histories_together() -> None:
    old, new = filled(2), History(2)
    new.load_state_dict(old.state_dict())
    new.images.zero_()
    assert numbers(old.images) == [0, 1]
