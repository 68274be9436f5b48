import math

import pytest
import torch
from torch import Tensor, nn

from i2i.losses.adversarial import Game, discriminator_losses, generator_loss, gradient_penalty, r1_penalty
from i2i.losses.augment import augmented
from i2i.losses.matching import feature_matching
from i2i.networks.layers import InstanceNorm2d, spectrally_normalised
from i2i.networks.patchgan import Maps, PatchGAN

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
def test_the_discriminator_pays_what_the_papers_say(kind) -> None:
    real, fake = discriminator_losses(kind, REAL, FAKE)
    assert real.item() == pytest.approx(BY_HAND[kind][0])
    assert fake.item() == pytest.approx(BY_HAND[kind][1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_pays_what_the_papers_say(kind) -> None:
    assert generator_loss(kind, FAKE).item() == pytest.approx(GENERATOR_BY_HAND[kind])


def test_vanilla_is_the_cross_entropy_of_the_published_code() -> None:
    bce = nn.BCEWithLogitsLoss()
    real, fake = discriminator_losses("vanilla", REAL, FAKE)
    torch.testing.assert_close(real, bce(REAL, torch.ones(2, 2)))
    torch.testing.assert_close(fake, bce(FAKE, torch.zeros(2, 2)))
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
    assert real.item() == fake.item() == 1e4
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


class Critic(nn.Sequential):
    def forward(self, x: Tensor) -> Maps:
        return [[super().forward(x)]]


def critic(norm: bool = False) -> Critic:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 4, 2, 1), *([InstanceNorm2d()] if norm else []), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 2, 1)]
    return Critic(*layers)


def images(size: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size, size, generator=generator), torch.randn(batch, 3, size, size, generator=generator)


class Linear(nn.Module):
    """Answers with `patches` copies of slope * (sum over the image): its gradient is known."""

    def __init__(self, slope: float, patches: int = 1):
        super().__init__()
        self.slope, self.patches = nn.Parameter(torch.tensor(slope)), patches

    def forward(self, x: Tensor) -> Maps:
        return [[(self.slope * x.sum((1, 2, 3), keepdim=True)).expand(-1, 1, self.patches, 1)]]


@pytest.mark.parametrize(("slope", "patches"), [(0.5, 1), (2.0, 1), (0.5, 4), (0.25, 9)])
def test_the_penalty_of_a_linear_critic_is_known(slope, patches) -> None:
    """Its gradient is slope * patches in each of N values, so the norm is slope * patches * sqrt(N / patches)."""
    a, b = images(4, batch=3)
    norm = slope * patches * math.sqrt(3 * 4 * 4 / patches)
    assert gradient_penalty(Linear(slope, patches), a, b).item() == pytest.approx((norm - 1) ** 2, rel=1e-5)


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
    logits = network(x)[0][-1]
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    total, patches = gradient.flatten(1).norm(dim=1).mean().item(), logits[0].numel()
    penalty = gradient_penalty(network, x.detach(), x.detach()).item()
    return {"sum": total, "mean": total / patches, "used": 1 - math.sqrt(penalty)}


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
    assert penalty.item() == pytest.approx(1)
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
        def forward(self, x: Tensor) -> Maps:
            seen.append(x.detach())
            return super().forward(x)

    gradient_penalty(Looking(1.0), torch.zeros(4, 1, 2, 2), torch.ones(4, 1, 2, 2))
    points = seen[0].flatten(1)
    assert (points == points[:, :1]).all()
    assert len(points[:, 0].unique()) == 4
    assert ((points >= 0) & (points <= 1)).all()


@pytest.mark.parametrize(("slope", "patches"), [(0.5, 1), (2.0, 4)])
def test_r1_is_half_the_squared_slope_at_real_images(slope, patches) -> None:
    real, _ = images(4, batch=3)
    squared = (slope * patches) ** 2 * 3 * 4 * 4 / patches
    assert r1_penalty(Linear(slope, patches), real).item() == pytest.approx(0.5 * squared, rel=1e-5)


# The game


class Scales(nn.Module):
    """A discriminator of two scales, each a feature map and logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = PatchGAN(3, layers=1, width=2, norm="none"), PatchGAN(3, layers=1, width=3, norm="none")
        for p in self.parameters():
            nn.init.normal_(p, 0, 0.2)

    def forward(self, x: Tensor) -> Maps:
        return [*self.a(x), *self.b(x[..., ::2, ::2])]


def logits(maps: Maps) -> list[Tensor]:
    return [scale[-1] for scale in maps]


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scales_are_summed_and_d_pays_half_where_it_should(kind, halved) -> None:
    D, (real, fake) = Scales(), images(16)
    terms = Game(kind, halved=halved, gp=0).discriminator(D, real, fake)
    pairs = [discriminator_losses(kind, r, f) for r, f in zip(logits(D(real)), logits(D(fake)), strict=True)]
    share = 0.5 if halved else 1
    torch.testing.assert_close(terms["real"], share * (pairs[0][0] + pairs[1][0]))
    torch.testing.assert_close(terms["fake"], share * (pairs[0][1] + pairs[1][1]))
    paid = Game(kind).generator(D(fake), [])
    torch.testing.assert_close(paid, sum(generator_loss(kind, one) for one in logits(D(fake))))


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_a_relativistic_game_judges_each_side_against_the_mean_of_the_other(kind) -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])
    r, f = real - 1, fake - 1
    by_hand = {
        "vanilla": lambda a, b: softplus(-a) + softplus(b),
        "lsgan": lambda a, b: (a - 1) ** 2 + (b + 1) ** 2,
        "hinge": lambda a, b: max(0, 1 - a) + max(0, 1 + b),
    }[kind]
    game = Game(kind, relativistic=True)
    D = Answering(real, fake)
    terms = game.discriminator(D, torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1))
    d = mean(*(by_hand(a.item(), b.item()) for a, b in zip(r, f, strict=True))) / 2
    assert (terms["real"] + terms["fake"]).item() == pytest.approx(d)
    g = mean(*(by_hand(b.item(), a.item()) for a, b in zip(r, f, strict=True))) / 2
    assert game.generator([[fake]], [[real]]).item() == pytest.approx(g)


class Answering(nn.Module):
    """Answers with known logits: one for images of zeros, another for images of ones."""

    def __init__(self, real: Tensor, fake: Tensor):
        super().__init__()
        self.real, self.fake = real, fake

    def forward(self, x: Tensor) -> Maps:
        return [[self.fake if x.mean() == 1 else self.real]]


def test_a_generator_does_not_learn_from_the_real_side() -> None:
    D, (real, fake) = Scales(), images(16)
    fake_maps, real_maps = Game("lsgan").look(D, fake.requires_grad_(), real.requires_grad_(), features=True)
    assert all(layer.requires_grad for maps in fake_maps for layer in maps)
    assert not any(layer.requires_grad for maps in real_maps for layer in maps)
    assert Game("lsgan").look(D, fake, real)[1] == []
    assert Game("lsgan", relativistic=True).look(D, fake, real)[1] != []


@pytest.mark.parametrize("kind", ["vanilla", "lsgan"])
def test_a_smoothed_real_label_stops_d_from_being_sure_of_real_images(kind) -> None:
    at = torch.linspace(-5, 5, 1001)
    best = {}
    for label in (1.0, 0.9):
        paid = [discriminator_losses(kind, x[None], x[None], label)[0].item() for x in at]
        best[label] = at[paid.index(min(paid))].item()
    assert best[0.9] == pytest.approx(0.9 if kind == "lsgan" else math.log(9), abs=0.02)
    assert best[1.0] == pytest.approx(1.0 if kind == "lsgan" else 5, abs=0.02)


def test_the_margin_is_paid_until_the_features_are_that_far_apart() -> None:
    D, (real, fake) = Scales(), images(16)
    distance = feature_matching(D(fake), D(real)).item()
    assert Game("lsgan", margin=distance + 2).discriminator(D, real, fake)["margin"].item() == pytest.approx(1, rel=1e-4)
    paid = Game("lsgan", margin=distance / 2).discriminator(D, real, fake)["margin"]
    assert paid.item() == 0


def test_the_margin_pushes_the_features_of_both_sides() -> None:
    D, (real, fake) = Scales(), images(16)
    weight = D.a.model[0].weight

    def slope(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, weight)[0]

    paid = Game("lsgan", halved=False, margin=100.0).discriminator(D, real, fake)["margin"]
    with torch.no_grad():
        fake_maps, real_maps = D(fake), D(real)
    one_side = slope(-feature_matching(D(fake), real_maps))
    other_side = slope(-feature_matching(fake_maps, D(real), detach_real=False))
    assert min(one_side.abs().sum(), other_side.abs().sum()) > 0.01
    torch.testing.assert_close(slope(paid), one_side + other_side)


def test_nothing_that_d_pays_leads_to_the_generator() -> None:
    D, (real, fake) = Scales(), images(16)
    fake.requires_grad_()
    game = Game("wgan-gp", r1=1.0, margin=100.0, augment=("color", "translation", "cutout"))
    sum(game.discriminator(D, real, fake).values()).backward()
    assert fake.grad is None


def test_every_penalty_that_is_on_has_a_term_of_its_own() -> None:
    D, (real, fake) = Scales(), images(16)
    assert list(Game("wgan-gp", r1=1.0, margin=1.0).discriminator(D, real, fake)) == ["real", "fake", "gp", "r1", "margin"]
    assert list(Game("lsgan").discriminator(D, real, fake)) == ["real", "fake"]


def test_augmented_real_and_fake_images_are_changed_alike_and_the_condition_keeps_its_colours() -> None:
    seen = []
    D = Scales()
    D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, _ = images(16)
    torch.manual_seed(1)
    Game("lsgan", augment=("color",)).look(D, x, x, features=True, colours=1)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][:, :2], x[:, :2])
    assert not torch.equal(seen[0][:, 2:], x[:, 2:])


PENALTIES = [("lsgan", "r1", {"r1": 1.0}), ("wgan-gp", "gp", {})]


@pytest.mark.parametrize(("kind", "name", "weight"), PENALTIES)
def test_a_penalty_is_paid_where_d_looks_which_is_at_augmented_images(kind, name, weight) -> None:
    D, (real, fake), seen = Scales(), images(16), []
    game = Game(kind, halved=False, augment=("color", "translation", "cutout"), **weight)
    hook = D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    torch.manual_seed(1)
    paid = game.discriminator(D, real, fake)[name]
    hook.remove()
    *_, point = seen
    torch.manual_seed(1)
    fake, real = augmented([fake, real], game.augment)
    if name == "r1":
        torch.testing.assert_close(point, real)
        torch.testing.assert_close(paid, r1_penalty(D, real))
    else:
        share = ((point - real) / (fake - real)).nanmean((1, 2, 3), keepdim=True)  # cut out values are 0 in all three
        torch.testing.assert_close(point, torch.lerp(real, fake, share))
        torch.testing.assert_close(paid / 10, gradient_penalty(D, point, point))


class Weighing(nn.Module):
    """Answers with a sum over the image in which each channel has a weight of its own."""

    def __init__(self, *weights: float):
        super().__init__()
        self.weights = torch.tensor(weights).view(-1, 1, 1)

    def forward(self, x: Tensor) -> Maps:
        return [[(self.weights * x).sum((1, 2, 3), keepdim=True)]]


@pytest.mark.parametrize(("kind", "name", "weight"), PENALTIES)
def test_penalties_are_those_of_the_image_and_not_of_its_condition(kind, name, weight) -> None:
    real, fake = images(4)
    game = Game(kind, halved=False, gp=1.0, **weight)
    steep_in_the_condition, flat_there = Weighing(7.0, 0.5, 0.25), Weighing(0.0, 0.5, 0.25)
    squared = 4 * 4 * (0.5**2 + 0.25**2)
    expected = 0.5 * squared if name == "r1" else (math.sqrt(squared) - 1) ** 2
    for D in (steep_in_the_condition, flat_there):
        assert game.discriminator(D, real, fake, colours=2)[name].item() == pytest.approx(expected, rel=1e-5)
    assert game.discriminator(steep_in_the_condition, real, fake)[name].item() > 10 * expected


@pytest.mark.parametrize(("kind", "name", "weight"), PENALTIES)
def test_the_condition_of_a_penalty_is_that_of_the_real_side(kind, name, weight) -> None:
    """An image between a real one and a fake belongs to one input."""
    D, (real, fake), seen = Scales(), images(16), []
    D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    Game(kind, **weight).discriminator(D, real, fake, colours=2)
    assert torch.equal(seen[-1][:, :1], real[:, :1])
    assert torch.equal(seen[-1][:, 1:], real[:, 1:]) == (name == "r1")
