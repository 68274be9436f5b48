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


# Half a batch of older ones, as SimGAN published


def test_half_of_a_batch_is_older_once_there_are_enough() -> None:
    torch.manual_seed(0)
    history = History(8)
    assert numbers(history.mixed(numbered(1, 2, 3, 4))) == [1, 2, 3, 4]
    assert numbers(history.images) == [1, 2]
    back = numbers(history.mixed(numbered(5, 6, 7, 8)))
    assert back[:2] == [5, 6]
    assert sorted(back[2:]) == [1, 2]


@pytest.mark.parametrize(("batch", "older"), [(2, 1), (3, 1), (4, 2), (5, 2), (9, 4)])
def test_never_more_than_half_is_older_and_no_old_one_comes_twice(batch, older) -> None:
    torch.manual_seed(0)
    history = History(2 * batch)
    for k in range(1, 40):
        fakes = list(range(100 * k, 100 * k + batch))
        back = numbers(history.mixed(numbered(*fakes)))
        assert back[: batch - older] == fakes[: batch - older]
        old = back if k == 1 else back[batch - older :]
        assert len(set(old)) == len(old)
        assert k == 1 or all(n < 100 * k for n in old)


def test_it_fills_by_half_a_batch_at_a_time_and_never_grows_beyond_its_size() -> None:
    history, lengths = History(5), []
    for k in range(6):
        history.mixed(numbered(*range(10 * k, 10 * k + 4)))
        lengths.append(len(history.images))
    assert lengths == [2, 4, 5, 5, 5, 5]


def test_once_full_half_a_batch_replaces_as_many_random_ones() -> None:
    torch.manual_seed(0)
    history = History(6)
    for k in range(3):
        history.mixed(numbered(*range(4 * k, 4 * k + 4)))
    places = set()
    for k in range(3, 40):
        before = numbers(history.images)
        history.mixed(numbered(*range(4 * k, 4 * k + 4)))
        after = numbers(history.images)
        changed = [slot for slot in range(6) if before[slot] != after[slot]]
        assert sorted(after[slot] for slot in changed) == [4 * k, 4 * k + 1]
        places |= set(changed)
    assert places == set(range(6))


def test_a_history_of_less_than_half_a_batch_gives_what_it_has() -> None:
    history = History(1)
    history.mixed(numbered(1, 2, 3, 4))
    assert numbers(history.mixed(numbered(5, 6, 7, 8))) == [5, 6, 7, 1]
    assert numbers(history.images) == [5]


def test_a_batch_of_one_has_no_half_and_is_swapped() -> None:
    one, other = filled(3), filled(3)
    torch.manual_seed(0)
    expected = [numbers(one.query(numbered(n))) for n in range(10, 30)]
    torch.manual_seed(0)
    assert [numbers(other.mixed(numbered(n))) for n in range(10, 30)] == expected
    assert torch.equal(one.images, other.images)


def test_a_mixed_batch_is_detached_wide_and_a_copy_of_what_is_stored() -> None:
    history = History(4)
    for k in range(5):
        back = history.mixed(numbered(k, 10 + k, 20 + k, 30 + k).to(torch.bfloat16).requires_grad_())
        stored = history.images.clone()
        assert not back.requires_grad
        assert back.dtype == history.images.dtype == torch.float32
        back.zero_()
        assert torch.equal(history.images, stored)


def test_without_a_history_nothing_is_mixed() -> None:
    history, fakes = History(0), numbered(1, 2, 3, 4)
    for _ in range(3):
        assert numbers(history.mixed(fakes)) == [1, 2, 3, 4]
    assert history.images.numel() == 0


def test_a_restored_history_mixes_as_the_first_one_would() -> None:
    torch.manual_seed(0)
    old, new = History(6), History(6)
    for k in range(3):
        old.mixed(numbered(*range(4 * k, 4 * k + 4)))
    new.load_state_dict(old.state_dict())
    rounds = [numbered(*range(100 * k, 100 * k + 4)) for k in range(1, 6)]
    torch.manual_seed(1)
    expected = [numbers(old.mixed(fakes)) for fakes in rounds]
    torch.manual_seed(1)
    assert [numbers(new.mixed(fakes)) for fakes in rounds] == expected
