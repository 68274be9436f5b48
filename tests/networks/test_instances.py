import pytest
import torch

from i2i.networks.instances import boundaries, instance_mean, kinds, segments


def ids(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows)[None, None]


# Boundaries


def test_both_sides_of_a_boundary_are_marked() -> None:
    edge = boundaries(ids([[1, 1, 2, 2], [1, 1, 2, 2]]))
    assert edge[0, 0].tolist() == [[False, True, True, False]] * 2


def test_a_thing_of_one_pixel_marks_its_four_neighbours_and_not_the_diagonal_ones() -> None:
    edge = boundaries(ids([[5, 5, 5], [5, 7000, 5], [5, 5, 5]]))
    assert edge[0, 0].tolist() == [[False, True, False], [True, True, True], [False, True, False]]


def test_one_thing_has_no_boundary_not_even_at_the_border_of_the_image() -> None:
    assert not boundaries(torch.full((2, 1, 3, 4), 26001)).any()


def test_boundaries_are_found_in_each_image_alone() -> None:
    edge = boundaries(torch.cat([ids([[1, 1], [1, 1]]), ids([[2, 2], [3, 3]])]))
    assert (edge[0].any().item(), edge[1].all().item()) == (False, True)


# The mean over a thing


def test_every_pixel_gets_the_mean_over_its_thing() -> None:
    features = torch.tensor([[[[1.0, 3.0], [10.0, 5.0]], [[0.0, 0.0], [4.0, 6.0]]]])
    mean = instance_mean(features, ids([[24001, 24001], [7, 24001]]))
    assert mean.tolist() == [[[[3, 3], [10, 3]], [[2, 2], [4, 2]]]]


def test_the_same_id_in_two_images_is_two_things() -> None:
    features = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 5.0)])
    assert torch.equal(instance_mean(features, torch.zeros(2, 1, 2, 2, dtype=torch.int64)), features)


def test_a_loop_over_all_things_gives_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 9, 7, generator=generator, dtype=torch.float64)
    instances = torch.randint(-3, 4, (3, 1, 9, 7), generator=generator)
    expected = torch.empty_like(features)
    for b in range(3):
        for i in instances[b].unique():
            where = instances[b, 0] == i
            expected[b, :, where] = features[b, :, where].mean(1, keepdim=True)
    torch.testing.assert_close(instance_mean(features, instances), expected)


def test_gradients_flow_through_the_mean() -> None:
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    instances = torch.randint(0, 3, (2, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda f: instance_mean(f, instances), features)


def test_things_are_numbered_with_their_size_and_their_first_pixel() -> None:
    instances = torch.cat([ids([[3, 3], [-1, 3]]), ids([[3, 9], [9, 9]])])
    number, size, first = segments(instances)
    assert number.tolist() == [1, 1, 0, 1, 2, 3, 3, 3]
    assert size.tolist() == [1, 3, 1, 3]
    assert first.tolist() == [2, 0, 4, 5]


# Kinds


def clouds(*sizes: int) -> torch.Tensor:
    """Points around the corners (0, 0), (10, 0), (20, 0), so many each, shuffled."""
    generator = torch.Generator().manual_seed(0)
    points = [torch.randn(n, 2, generator=generator) * 0.1 + torch.tensor([10.0 * i, 0]) for i, n in enumerate(sizes)]
    return torch.cat(points)[torch.randperm(sum(sizes), generator=generator)]


def test_clouds_are_found_and_the_largest_comes_first() -> None:
    centres = kinds(clouds(5, 30, 12), 3)
    torch.testing.assert_close(centres, torch.tensor([[10.0, 0], [20, 0], [0, 0]]), rtol=0, atol=0.2)


def test_a_centre_is_the_mean_of_its_points() -> None:
    assert kinds(torch.tensor([[0.0], [1.0], [9.0], [10.0], [11.0]]), 2).tolist() == [[10], [0.5]]


def test_kinds_are_not_random() -> None:
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    assert torch.equal(kinds(points, 7), kinds(points, 7))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("points", "count"), [([[2.0, 1.0]], 1), ([[2.0, 1.0]] * 4, 1), ([[0.0, 0], [1, 1], [0, 0]], 2)])
def test_there_are_no_more_kinds_than_different_points(points, count) -> None:
    centres = kinds(torch.tensor(points), 10)
    assert len(centres) == count
    assert {tuple(c) for c in centres.tolist()} == {tuple(p) for p in points}


def test_one_kind_is_the_mean() -> None:
    points = clouds(3, 4)
    torch.testing.assert_close(kinds(points, 1), points.mean(0, keepdim=True))
