import copy

import pytest
import torch
from torch import nn

from i2i.config import from_assignments
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses.matching import l1
from i2i.method import Batch
from i2i.methods.simgan import gradient, mean_colour
from i2i.models import build, configure
from i2i.networks.layers import is_per_image
from i2i.training.precision import Precision
from i2i.training.update import Updater

GANS = ["vanilla", "lsgan", "hinge", "wgan-gp"]
PLAYING = 5 + 3
"""The first step of Algorithm 1 itself in a tiny method."""


def turns(method, steps: int) -> list[str]:
    return [method.turn(step) for step in range(steps)]


def refiner_weights(method) -> list[torch.Tensor]:
    return [p.detach().clone() for p in method.R.parameters()]


# The clock


def test_R_learns_to_copy_then_D_to_tell_then_both_play_in_turn(tiny) -> None:
    assert turns(tiny("simgan"), 8 + 6) == ["R alone"] * 5 + ["D"] * 3 + ["R", "R", "D"] * 2


@pytest.mark.parametrize(("k_g", "k_d"), [(1, 1), (2, 1), (1, 3), (50, 2)])
def test_R_plays_k_g_times_to_the_k_d_times_of_D(k_g, k_d, tiny) -> None:
    method = tiny("simgan", k_g=k_g, k_d=k_d, refiner_first=0, discriminator_first=0)
    assert turns(method, 2 * (k_g + k_d)) == (["R"] * k_g + ["D"] * k_d) * 2


def test_a_warm_up_can_be_left_out(tiny) -> None:
    assert turns(tiny("simgan", refiner_first=0, discriminator_first=2), 4) == ["D", "D", "R", "R"]
    assert turns(tiny("simgan", refiner_first=2, discriminator_first=0), 4) == ["R alone", "R alone", "R", "R"]


@pytest.mark.parametrize(
    ("step", "call"),
    [
        (0, (("R",), ["reg", "moved"])),
        (5, (("D",), ["real", "fake"])),
        (PLAYING, (("R",), ["gan", "reg", "moved"])),
        (PLAYING + 2, (("D",), ["real", "fake"])),
    ],
)
def test_one_batch_is_one_update_of_whose_turn_it_is(step, call, tiny, pair, recording) -> None:
    update = recording(step=step)
    tiny("simgan").step(pair(batch=2), update)
    assert update.calls == [call]


@pytest.mark.parametrize(("step", "moved"), [(0, {"R"}), (5, {"D"}), (PLAYING, {"R"}), (PLAYING + 2, {"D"})])
def test_a_turn_moves_only_whose_turn_it_is(step, moved, tiny, pair) -> None:
    method = tiny("simgan")
    before = {key: t.clone() for key, t in method.state_dict().items() if key[:2] in ("R.", "D.")}
    update = Updater(method)
    update.step = step
    method.step(pair(batch=2), update)
    after = method.state_dict()
    assert {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])} == moved


def test_only_the_discriminator_s_turns_write_history(tiny, pair, recording) -> None:
    method, lengths = tiny("simgan"), []
    for step in range(PLAYING + 3):
        method.step(pair(batch=4, seed=step), recording(step=step))
        lengths.append(len(method.history.images))
    assert lengths == [0] * 5 + [2, 4, 6] + [6, 6, 6]  # full at 6


def test_a_run_cut_in_the_middle_of_a_warm_up_goes_on_bit_for_bit(tiny, pair) -> None:
    def trained(method, update, steps: range):
        for step in steps:
            update.step = step
            method.step(pair(batch=4, seed=step), update)

    whole = tiny("simgan")
    torch.manual_seed(3)
    trained(whole, update := Updater(whole), range(6))
    weights, moments, draws = copy.deepcopy((whole.state_dict(), update.state_dict(), torch.get_rng_state()))
    trained(whole, update, range(6, 14))

    resumed = tiny("simgan", seed=8)
    resumed.load_state_dict(weights)
    update = Updater(resumed)
    update.load_state_dict(moments)
    torch.set_rng_state(draws)
    trained(resumed, update, range(6, 14))
    for key, t in whole.state_dict().items():
        assert torch.equal(t, resumed.state_dict()[key]), key


# What is paid


@pytest.mark.parametrize("psi", ["identity", "gradient", "mean"])
def test_an_unchanged_image_costs_nothing(psi, tiny, pair) -> None:
    method, (x, y, *_) = tiny("simgan", psi=psi), pair()
    assert method.changed(x, x) == 0
    assert method.changed(y, x) > 0


def test_what_must_not_change_can_be_chosen(tiny, pair) -> None:
    x = pair(batch=2).x * 0.5
    darker, redder = x - 0.25, x + torch.tensor([0.2, -0.1, -0.1])[:, None, None]
    expected = {"identity": (0.25, 0.4 / 3), "gradient": (0.0, 0.0), "mean": (0.25, 0.0)}
    for psi, prices in expected.items():
        method = tiny("simgan", psi=psi)
        paid = torch.stack([method.changed(darker, x), method.changed(redder, x)])
        torch.testing.assert_close(paid, torch.tensor(prices), atol=1e-6, rtol=0)


def test_perceptual_features_are_compared_where_they_are_asked_for(tiny, pair, recording) -> None:
    class Told:
        def require(self, channels) -> None:
            raise UserError("no weights")

        def __call__(self, a, b):
            return l1(a, b) * 3

    method, batch = tiny("simgan", psi="perceptual", lambda_reg=2), pair()
    method.perceptual = Told()
    update = recording()
    refined = method.step(batch, update)["refined"]
    torch.testing.assert_close(update.losses["R/reg"], 6 * l1(refined, batch.x))
    with pytest.raises(UserError, match="no weights"):
        method.require()
    tiny("simgan").require()


def test_the_gradient_is_the_difference_to_the_right_and_below() -> None:
    x = torch.tensor([[[[0.0, 1.0, 5.0], [2.0, 4.0, 7.0]]]], dtype=torch.bfloat16)
    assert torch.equal(gradient(x), torch.tensor([[[[1.0, 4.0]], [[2.0, 3.0]]]]))


def test_the_mean_colour_is_that_of_the_channels() -> None:
    assert torch.equal(mean_colour(torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]])), torch.tensor([[[[3.0]]]]))


def test_the_regularisation_carries_its_weight_and_every_loss_is_a_mean(tiny, pair, recording) -> None:
    batch, update, method = pair(batch=2), recording(step=PLAYING), tiny("simgan", lambda_reg=7)
    refined = method.step(batch, update)["refined"]
    torch.testing.assert_close(update.losses["R/reg"], 7 * l1(refined, batch.x))
    twice = recording(step=PLAYING)
    method.step(Batch(torch.cat([batch.x, batch.x]), torch.cat([batch.y, batch.y])), twice)
    for name, loss in update.losses.items():
        torch.testing.assert_close(twice.losses[name], loss)


def test_what_moved_is_logged_and_changes_nothing(tiny, pair) -> None:
    batch, a, b = pair(batch=2), tiny("simgan"), tiny("simgan")
    update = Updater(a)
    update.step = PLAYING
    refined = a.step(batch, update)["refined"]
    torch.testing.assert_close(update.terms["R/moved"], l1(refined, batch.x).detach())

    class Without(Updater):
        def __call__(self, *players, **losses):
            super().__call__(*players, **{name: loss for name, loss in losses.items() if name != "moved"})

    other = Without(b)
    other.step = PLAYING
    b.step(batch, other)
    assert all(torch.equal(p, q) for p, q in zip(a.R.parameters(), b.R.parameters(), strict=True))


def test_D_is_shown_half_a_batch_of_older_images(tiny, pair, recording) -> None:
    method, seen = tiny("simgan"), []
    method.D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    first, second = (method.step(pair(batch=4, seed=seed), recording(step=5))["refined"] for seed in (1, 2))
    fakes = seen[2]  # fake, real, then those of the second step
    assert torch.equal(fakes[:2], second[:2])
    assert {int((fakes[k] - first[n]).abs().sum() == 0) for k in (2, 3) for n in (0, 1)} == {0, 1}
    assert not (fakes[2:, None] == second[None]).flatten(2).all(2).any()


def test_the_loss_of_the_discriminator_does_not_reach_the_refiner(tiny, pair, recording) -> None:
    update, method = recording(step=5), tiny("simgan")
    sheet = method.step(pair(batch=2), update)
    assert not sheet["refined"].requires_grad
    assert update.losses["D/fake"].requires_grad


def test_one_batch_is_copied_by_heart(tiny, pair) -> None:
    method, batch = tiny("simgan", refiner={"width": 16}, refiner_first=1000), pair(batch=2)
    update = Updater(method, lr=5e-3)
    for _ in range(200):
        method.step(batch, update)
    assert update.terms["R/moved"] < 0.05


def test_a_weak_regularisation_lets_R_fool_D(tiny, pair) -> None:
    """Real images are darker than synthetic ones; the refiner finds out."""
    method = tiny("simgan", refiner_first=0, discriminator_first=20, lambda_reg=0.05, refiner={"residual": True})
    update = Updater(method, lr=3e-3)
    for step in range(120):
        batch = pair(batch=4, seed=step)
        update.step = step
        sheet = method.step(Batch(batch.x * 0.5 + 0.4, batch.y * 0.5 - 0.4), update)
    assert sheet["refined"].mean() < sheet["synthetic"].mean() - 0.2


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("gan", [*GANS, {"relativistic": True}])
def test_every_kind_of_game_can_be_played(gan, precision, spectral_norm, tiny, pair) -> None:
    method = tiny("simgan", gan=gan, discriminator={"spectral_norm": spectral_norm}, refiner_first=1, discriminator_first=1)
    before = {key: t.clone() for key, t in method.state_dict().items() if key[:2] in ("R.", "D.")}
    form = Precision(precision, torch.device("cpu"))
    update = Updater(method, precision=form)
    for step in range(5):
        update.step = step
        with form.autocast():
            method.step(pair(batch=2, seed=step), update)
    after = method.state_dict()
    assert all(torch.isfinite(t).all() for t in [*update.terms.values(), *after.values()])
    assert {key.split(".")[0] for key in before if not torch.equal(after[key], before[key])} == {"R", "D"}


@pytest.mark.parametrize("discriminator", [{"kind": "hands"}, {"kind": "patch", "layers": 1, "width": 4}])
@pytest.mark.parametrize("refiner", [{"kernel": 7}, {"residual": True}])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_networks_can_play(channels, refiner, discriminator, tiny, pair) -> None:
    method = tiny("simgan", x_channels=channels, y_channels=channels, refiner=refiner, discriminator=discriminator)
    update = Updater(method)
    for step in (0, 5, PLAYING):
        update.step = step
        sheet = method.step(pair(batch=3, x_channels=channels, y_channels=channels), update)
    assert sheet["refined"].shape == (3, channels, 16, 16)


def test_a_single_image_is_a_batch_too(tiny, pair) -> None:
    method = tiny("simgan")
    update = Updater(method)
    for step in range(PLAYING + 6):
        update.step = step
        method.step(pair(seed=step), update)
    assert len(method.history.images) == 5  # one each time that D plays


# Showing


def test_a_sheet_shows_synthetic_refined_and_real(tiny, pair, recording) -> None:
    batch, method = pair(batch=2), tiny("simgan").eval()
    sheet = method.sheet(batch)
    assert list(sheet) == list(method.step(batch, recording())) == ["synthetic", "refined", "real"]
    assert sheet["synthetic"] is batch.x
    assert sheet["real"] is batch.y
    assert torch.equal(sheet["refined"], method.translate(batch.x))


# Translation


def test_saved_weights_refine_the_same(tiny, pair, tmp_path) -> None:
    method, x = tiny("simgan").eval(), pair(seed=9).x
    torch.save(method.state_dict(), tmp_path / "weights.pt")
    other = tiny("simgan", seed=5).eval()
    with torch.no_grad():
        assert not torch.equal(other.translate(x), method.translate(x))
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(other.translate(x), method.translate(x))


def test_an_image_is_refined_as_if_it_were_alone(tiny, pair) -> None:
    method, x = tiny("simgan").eval(), pair(batch=4).x
    with torch.no_grad():
        torch.testing.assert_close(method.translate(x)[:1], method.translate(x[:1]), rtol=0, atol=1e-6)
    assert is_per_image(method.R)


@pytest.mark.parametrize("size", [(35, 55), (1, 1), (17, 3)])
def test_any_size_can_be_refined(size, tiny) -> None:
    method = tiny("simgan").eval()
    assert method.translate(torch.zeros(2, 3, *size)).shape == (2, 3, *size)
    assert (method.accepts().stride, method.accepts().smallest) == (1, 1)


def test_nothing_can_move(tiny) -> None:
    """Labels survive since an output pixel depends on its neighbourhood alone."""
    method = tiny("simgan", refiner={"blocks": 1}).eval()
    x = torch.zeros(1, 3, 21, 21)
    x[..., 10, 10] = 1
    changed = (method.translate(x) - method.translate(torch.zeros_like(x))).abs().sum((0, 1)) > 0
    halo = method.accepts().halo
    assert changed[10, 10]
    assert not changed[: 10 - halo].any()
    assert not changed[:, 11 + halo :].any()
    assert method.keeps_annotations


# Building


def test_the_sides_must_have_the_same_channels(tiny) -> None:
    with pytest.raises(UserError, match="x has 1 channels and y 3"):
        tiny("simgan", x_channels=1)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.refiner\.kernel must be odd"):
        configure("simgan", [from_assignments(["model.refiner.kernel=4"])])


def test_a_residual_refiner_starts_as_a_copy(tiny, pair) -> None:
    x = pair().x
    assert torch.equal(tiny("simgan", refiner={"residual": True}).R(x), x)


def test_the_published_defaults() -> None:
    grey = Domain.of(1).model_dump()
    config = configure("simgan", []).replaced("the test", data={"x": grey, "y": grey})
    with torch.device("meta"):
        method = build(config)
    counts = {name: sum(p.numel() for n in networks for p in n.parameters()) for name, networks in method.players().items()}
    assert counts == {"R": 296_129, "D": 75_906 - 33}
    model = config.model
    assert (model.gan.kind, model.psi, model.k_g, model.k_d) == ("vanilla", "identity", 2, 1)
    assert (model.refiner_first, model.discriminator_first) == (1000, 200)
    assert (config.data.flip, config.data.resize, config.train.schedule) == (False, "none", "constant")
    assert (method.accepts().halo, method.smallest_crop(), method.reversible) == (9, 2, False)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in method.modules())


def test_the_seed_decides_the_start(tiny) -> None:
    a, b, c = tiny("simgan", seed=1), tiny("simgan", seed=1), tiny("simgan", seed=2)
    assert torch.equal(a.R.first.weight, b.R.first.weight)
    assert not torch.equal(a.R.first.weight, c.R.first.weight)
