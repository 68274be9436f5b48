import math

import pytest
import torch

from i2i.losses.latent import kl, mode_seeking, reparametrised, slerp

# The divergence from N(0, 1)


def test_kl_is_summed_over_batch_and_code() -> None:
    mu, logvar = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    by_hand = -0.5 * ((1 + 0 - 1 - 1) + (1 + 1 - 0 - math.e) + (1 + 0 - 4 - 1) + (1 - 1 - 0 - 1 / math.e))
    assert kl(mu, logvar).item() == pytest.approx(by_hand)
    assert kl(mu.repeat(3, 1), logvar.repeat(3, 1)).item() == pytest.approx(3 * by_hand)


def test_kl_is_that_of_torchs_distributions() -> None:
    torch.manual_seed(0)
    mu, logvar = torch.randn(4, 8), torch.randn(4, 8)
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (logvar / 2).exp()), torch.distributions.Normal(torch.zeros(8), torch.ones(8))
    )
    torch.testing.assert_close(kl(mu, logvar), known.sum())


def test_a_standard_normal_code_costs_nothing_and_is_not_moved() -> None:
    mu, logvar = torch.zeros(2, 8, requires_grad=True), torch.zeros(2, 8, requires_grad=True)
    loss = kl(mu, logvar)
    loss.backward()
    assert loss.item() == 0
    assert not mu.grad.any()
    assert not logvar.grad.any()


def test_kl_pulls_the_mean_to_zero_and_the_variance_to_one() -> None:
    mu, logvar = torch.tensor([[0.5, -2.0]], requires_grad=True), torch.tensor([[1.0, -1.0]], requires_grad=True)
    kl(mu, logvar).backward()
    assert mu.grad.tolist() == [[0.5, -2.0]]
    torch.testing.assert_close(logvar.grad, 0.5 * (torch.tensor([[1.0, -1.0]]).exp() - 1))


def test_kl_is_computed_in_float32_at_least() -> None:
    mu = torch.full((64, 8), 2**-5, dtype=torch.bfloat16)
    loss = kl(mu, torch.zeros_like(mu))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(512 * 2**-11, rel=1e-3)
    assert kl(mu.double(), mu.double()).dtype == torch.float64


# Draws of a code


def test_a_draw_is_the_mean_plus_noise_of_the_given_size() -> None:
    mu, logvar, eps = torch.tensor([[1.0, -1.0]]), torch.tensor([[math.log(4.0), math.log(0.25)]]), torch.tensor([[3.0, -2.0]])
    torch.testing.assert_close(reparametrised(mu, logvar, eps), torch.tensor([[1 + 2 * 3, -1 - 0.5 * 2]]))
    assert torch.equal(reparametrised(mu, logvar, torch.zeros(1, 2)), mu)


def test_gradients_pass_the_draw() -> None:
    mu, logvar, eps = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True), torch.tensor([[3.0, -2.0]])
    reparametrised(mu, logvar, eps).sum().backward()
    assert mu.grad.tolist() == [[1, 1]]
    torch.testing.assert_close(logvar.grad, eps / 2)


# Mode seeking


def two(first: float, second: float, shape: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.full(shape, float(value), requires_grad=True) for value in (first, second)]


def test_mode_seeking_is_the_inverse_of_the_published_ratio() -> None:
    images, codes = two(0.5, -0.25, (2, 3, 4, 4)), two(1, 3, (2, 8))
    assert mode_seeking(*images, *codes).item() == pytest.approx(1 / (0.75 / 2 + 1e-5))
    assert mode_seeking(*images, *codes, eps=0.1).item() == pytest.approx(1 / (0.75 / 2 + 0.1))


def test_the_means_of_the_ratio_run_over_the_batch() -> None:
    a, b = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    b[0] = 1  # one pair of images is equal: a ratio of its own would be 0
    assert mode_seeking(a, b, torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]), eps=0).item() == pytest.approx(2 / 0.5)


@pytest.mark.parametrize("form", ["inverse", "clipped"])
def test_it_pushes_the_images_apart(form) -> None:
    images, codes = two(0.5, -0.25, (2, 3, 4, 4)), two(1, 3, (2, 8))
    mode_seeking(*images, *codes, form=form).backward()
    assert (images[0].grad < 0).all()
    assert (images[1].grad > 0).all()


def test_clipped_stops_at_tau_with_its_gradient() -> None:
    codes = two(1, 3, (2, 8))
    near, far = two(0.5, -0.25, (2, 3, 4, 4)), two(1, -1, (2, 3, 4, 4))
    assert mode_seeking(*near, *codes, form="clipped", tau=0.5).item() == pytest.approx(-0.75 / 2)
    loss = mode_seeking(*far, *codes, form="clipped", tau=0.5)
    loss.backward()
    assert loss.item() == -0.5
    assert not far[0].grad.any()


def test_equal_images_give_a_finite_loss_in_both_forms() -> None:
    same, codes = torch.ones(1, 3, 4, 4), two(1, 3, (1, 8))
    assert mode_seeking(same, same, *codes).item() == pytest.approx(1e5)
    assert mode_seeking(same, same, *codes, form="clipped").item() == 0


def test_mode_seeking_is_computed_in_float32_at_least() -> None:
    images, codes = two(0.5, -0.25, (2, 3, 4, 4)), two(1, 3, (2, 8))
    assert mode_seeking(*(x.to(torch.bfloat16) for x in images), *codes).dtype == torch.float32


# Between two codes


def test_slerp_begins_and_ends_at_its_codes() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    torch.testing.assert_close(slerp(a, b, 0), a)
    torch.testing.assert_close(slerp(a, b, 1), b)


def test_slerp_by_hand() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(slerp(a, b, 1 / 3), torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))
    torch.testing.assert_close(
        slerp(2 * a, 4 * b, 0.5), torch.tensor([2.0, 4.0]) * math.sqrt(0.5)
    )  # the ends keep their length


def test_slerp_turns_evenly_and_keeps_the_length_of_equally_long_codes() -> None:
    torch.manual_seed(0)
    a, b = torch.nn.functional.normalize(torch.randn(2, 3, 8), dim=-1)
    way = torch.stack([slerp(a, b, share) for share in torch.linspace(0, 1, 9).tolist()])
    torch.testing.assert_close(way.norm(dim=-1), torch.ones(9, 3))
    turns = (way[1:] * way[:-1]).sum(-1)
    torch.testing.assert_close(turns, turns[:1].expand_as(turns))


def test_each_code_of_a_batch_takes_its_own_arc() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    torch.testing.assert_close(slerp(a, b, 0.3)[2], slerp(a[2], b[2], 0.3))


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, -3.0, 0.0])
def test_where_there_is_no_arc_the_way_is_straight(factor) -> None:
    torch.manual_seed(0)
    a = torch.randn(5, 8)
    torch.testing.assert_close(slerp(a, factor * a, 0.25), (0.75 + 0.25 * factor) * a)
