import math

import pytest
import torch
from torch import Tensor, nn

from i2i.losses.adversarial import discriminator_losses, generator_loss, gradient_penalty
from i2i.networks.layers import InstanceNorm2d, spectrally_normalised

KINDS = ["vanilla", "lsgan", "hinge", "wgan-gp"]
REAL, FAKE = torch.tensor([[2.0, 0.0], [-1.0, 0.5]]), torch.tensor([[-2.0, 0.0], [1.0, -0.5]])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def mean(*values: float) -> float:
    return sum(values) / len(values)


BY_HAND = {
    "vanilla": (
        mean(softplus(-2), softplus(0), softplus(1), softplus(-0.5)),
        mean(softplus(-2), softplus(0), softplus(1), softplus(-0.5)),
    ),
    "lsgan": (mean(1, 1, 4, 0.25), mean(4, 0, 1, 0.25)),
    "hinge": (mean(0, 1, 2, 0.5), mean(0, 1, 2, 0.5)),
    "wgan-gp": (-mean(2, 0, -1, 0.5), mean(-2, 0, 1, -0.5)),
}
GENERATOR_BY_HAND = {
    "vanilla": mean(softplus(2), softplus(0), softplus(-1), softplus(0.5)),
    "lsgan": mean(9, 1, 0, 2.25),
    "hinge": -mean(-2, 0, 1, -0.5),
    "wgan-gp": -mean(-2, 0, 1, -0.5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminator_pays_half_of_what_the_papers_say(kind) -> None:
    real, fake = discriminator_losses(kind, REAL, FAKE)
    assert real.item() == pytest.approx(BY_HAND[kind][0] / 2)
    assert fake.item() == pytest.approx(BY_HAND[kind][1] / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_pays_what_the_papers_say(kind) -> None:
    assert generator_loss(kind, FAKE).item() == pytest.approx(GENERATOR_BY_HAND[kind])


def test_vanilla_is_the_cross_entropy_of_the_published_code() -> None:
    bce = nn.BCEWithLogitsLoss()
    real, fake = discriminator_losses("vanilla", REAL, FAKE)
    torch.testing.assert_close(real, 0.5 * bce(REAL, torch.ones(2, 2)))
    torch.testing.assert_close(fake, 0.5 * bce(FAKE, torch.zeros(2, 2)))
    torch.testing.assert_close(generator_loss("vanilla", FAKE), bce(FAKE, torch.ones(2, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_push_real_up_and_fake_down_and_the_generator_pushes_back(kind) -> None:
    real, fake, own = (torch.zeros(3, requires_grad=True) for _ in range(3))
    if kind == "lsgan":  # its fakes are where they should be at 0
        fake = torch.full((3,), 0.5, requires_grad=True)
    sum(discriminator_losses(kind, real, fake)).backward()
    generator_loss(kind, own).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    assert (own.grad < 0).all()


def test_hinge_leaves_convincing_logits_alone() -> None:
    real, fake = torch.tensor([1.5], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
    sum(discriminator_losses("hinge", real, fake)).backward()
    assert not real.grad.any()
    assert not fake.grad.any()


def test_vanilla_survives_enormous_logits() -> None:
    real, fake = discriminator_losses("vanilla", torch.tensor([-1e4]), torch.tensor([1e4]))
    assert real.item() == fake.item() == 5000
    assert generator_loss("vanilla", torch.tensor([-1e4])).item() == 1e4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "computed"), [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)]
)
def test_losses_compute_in_float32_at_least(kind, given, computed) -> None:
    losses = (*discriminator_losses(kind, REAL.to(given), FAKE.to(given)), generator_loss(kind, FAKE.to(given)))
    assert all(loss.dtype == computed and loss.shape == () for loss in losses)
    assert losses[2].item() == pytest.approx(GENERATOR_BY_HAND[kind], rel=1e-6)


# The gradient penalty


def critic(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 4, 2, 1), *([InstanceNorm2d()] if norm else []), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 2, 1)]
    return nn.Sequential(*layers)


def images(size: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size, size, generator=generator), torch.randn(batch, 3, size, size, generator=generator)


class Linear(nn.Module):
    """Answers with `patches` copies of slope * (sum over the image): its gradient is known."""

    def __init__(self, slope: float, patches: int = 1):
        super().__init__()
        self.slope, self.patches = nn.Parameter(torch.tensor(slope)), patches

    def forward(self, x: Tensor) -> Tensor:
        return (self.slope * x.sum((1, 2, 3), keepdim=True)).expand(-1, 1, self.patches, 1)


@pytest.mark.parametrize(("slope", "patches"), [(0.5, 1), (2.0, 1), (0.5, 4), (0.25, 9)])
def test_the_penalty_of_a_linear_critic_is_known(slope, patches) -> None:
    """Its gradient is slope * patches in each of N values, so the norm is slope * patches * sqrt(N / patches)."""
    a, b = images(4, batch=3)
    norm = slope * patches * math.sqrt(3 * 4 * 4 / patches)
    assert gradient_penalty(Linear(slope, patches), a, b).item() == pytest.approx(0.5 * (norm - 1) ** 2, rel=1e-5)


def test_the_slope_of_the_penalty_leads_to_a_gradient_of_one() -> None:
    a, b = images(4)
    for slope, direction in ((0.01, -1), (1.0, 1)):
        network = Linear(slope)
        gradient_penalty(network, a, b).backward()
        assert math.copysign(1, network.slope.grad.item()) == direction


def gradient_norms(size: int) -> dict[str, float]:
    """|grad| of the sum over patches, of their mean, and what the penalty uses, for one critic at one image size."""
    network = critic()
    x = images(size)[0].requires_grad_()
    logits = network(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    total, patches = gradient.flatten(1).norm(dim=1).mean().item(), logits[0].numel()
    penalty = gradient_penalty(network, x.detach(), x.detach()).item()
    return {"sum": total, "mean": total / patches, "used": 1 - math.sqrt(2 * penalty)}


def test_the_penalty_keeps_its_scale_when_the_image_grows() -> None:
    small, large = gradient_norms(32), gradient_norms(128)
    assert 0.1 < small["used"] < 0.9  # a scale at which the penalty can work
    assert 0.5 < large["used"] / small["used"] < 2
    assert large["sum"] / small["sum"] > 3
    assert large["mean"] / small["mean"] < 1 / 3


def test_a_critic_without_slope_gives_a_finite_penalty_and_gradient() -> None:
    network = Linear(0.0)
    penalty = gradient_penalty(network, *images(4))
    penalty.backward()
    assert penalty.item() == pytest.approx(0.5)
    assert torch.isfinite(network.slope.grad)


@pytest.mark.parametrize("spectral", [False, True])
def test_the_penalty_reaches_the_weights_of_the_critic_but_not_the_generator(spectral) -> None:
    network = spectrally_normalised(critic(norm=True)) if spectral else critic(norm=True)
    real, fake = images(16)
    fake.requires_grad_()
    gradient_penalty(network, real, fake).backward()
    weights = [p for name, p in network.named_parameters() if "bias" not in name]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)
    assert fake.grad is None


def test_the_penalty_is_the_same_inside_an_autocast_region() -> None:
    network, (real, fake) = critic(norm=True), images(16)
    torch.manual_seed(3)
    outside = gradient_penalty(network, real, fake)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradient_penalty(network, real, fake)
        inside.backward()
    assert torch.equal(outside, inside)


def test_the_penalty_takes_bfloat16_fakes_and_keeps_float64() -> None:
    real, fake = images(16)
    assert gradient_penalty(critic(), real, fake.to(torch.bfloat16)).dtype == torch.float32
    assert gradient_penalty(critic().double(), real.double(), fake.double()).dtype == torch.float64


def test_each_image_gets_a_point_of_its_own() -> None:
    seen = []

    class Looking(Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return super().forward(x)

    gradient_penalty(Looking(1.0), torch.zeros(4, 1, 2, 2), torch.ones(4, 1, 2, 2))
    points = seen[0].flatten(1)
    assert (points == points[:, :1]).all()
    assert len(points[:, 0].unique()) == 4
    assert ((points >= 0) & (points <= 1)).all()
