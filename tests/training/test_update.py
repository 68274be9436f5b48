from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import Diverged, UserError
from i2i.losses.adversarial import discriminator_losses, generator_loss
from i2i.losses.matching import l1
from i2i.method import Batch, Method
from i2i.networks.layers import together
from i2i.networks.patchgan import Maps
from i2i.settings import Settings
from i2i.training.precision import Precision
from i2i.training.update import Updater, require_finite


class Three(Method):
    """Three players with one small network each, two of them on top of the first."""

    def __init__(self) -> None:
        super().__init__(Settings(), Domain.of(1), Domain.of(1))
        torch.manual_seed(0)
        self.G, self.E, self.D = (nn.Linear(4, 4) for _ in range(3))

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G], "E": [self.E], "D": [self.D]}


X = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def weights(network: nn.Module) -> Tensor:
    return torch.cat([t.detach().flatten().double() for t in network.state_dict().values()])


def watch(method: nn.Module, optimizers: dict[str, torch.optim.Optimizer]) -> list[dict[str, Tensor]]:
    """Filled with the gradients by parameter name that each optimizer step uses, in the order of the steps."""
    names, seen = {p: name for name, p in method.named_parameters()}, []

    def look(optimizer: torch.optim.Optimizer, *_) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        seen.append({names[p]: p.grad.clone() for p in parameters})

    for optimizer in optimizers.values():
        optimizer.register_step_pre_hook(look)
    return seen


# Who moves


def test_update_moves_only_the_named_players() -> None:
    method = Three()
    update = Updater(method)
    before = {name: weights(getattr(method, name)) for name in "GED"}
    update("D", judged=method.D(method.E(method.G(X))).square().mean())
    moved = {name for name in "GED" if not torch.equal(weights(getattr(method, name)), before[name])}
    assert moved == {"D"}


def test_two_players_can_move_together() -> None:
    method = Three()
    update = Updater(method)
    before = {name: weights(getattr(method, name)) for name in "GED"}
    update("G", "E", cycle=method.D(method.E(method.G(X))).square().mean())
    moved = {name for name in "GED" if not torch.equal(weights(getattr(method, name)), before[name])}
    assert moved == {"G", "E"}
    assert list(update.terms) == ["G/cycle"]


def test_no_gradient_stays_behind() -> None:
    method = Three()
    update = Updater(method)
    y = method.D(method.G(X))
    update("D", a=y.square().mean())
    assert all(p.grad is None for p in method.parameters())


def test_the_losses_are_summed_and_told_by_name() -> None:
    method = Three()
    update = Updater(method)
    seen = watch(method, update.optimizers)
    y = method.G(X)
    a, b = y.square().mean(), 3 * y.abs().mean()
    expected = torch.autograd.grad(a + b, list(method.G.parameters()), retain_graph=True)
    update("G", a=a, b=b)
    assert all(torch.equal(g, e) for g, e in zip(seen[0].values(), expected, strict=True))
    assert update.terms == {"G/a": a, "G/b": b}
    assert not any(t.requires_grad for t in update.terms.values())


def test_the_terms_are_those_of_the_last_step_of_every_player() -> None:
    method = Three()
    update = Updater(method)
    for k in (1, 2):
        update("D", real=k * method.D(X).square().mean())
        update("G", gan=method.G(X).square().mean())
    assert list(update.terms) == ["D/real", "G/gan"]


def test_a_parameter_that_no_loss_reaches_is_reported() -> None:
    method = Three()
    update = Updater(method)
    with pytest.raises(RuntimeError, match=r"gan do not reach weight and 1 more of E"):
        update("G", "E", gan=method.G(X).mean())


def test_a_learning_rate_for_an_unknown_player_is_refused() -> None:
    with pytest.raises(UserError, match="names 'Q', but the players are G, E, D"):
        Updater(Three(), player_lr={"Q": 1e-4})


# The gradients are those of the classic code


def freeze(*networks: nn.Module, frozen: bool = True) -> None:
    for network in networks:
        network.requires_grad_(not frozen)


def logits(maps: Maps) -> Tensor:
    return maps[0][-1]


def classic_step(optimizer: torch.optim.Optimizer, *losses: Tensor) -> None:
    optimizer.zero_grad()
    sum(losses).backward()
    optimizer.step()


def classic_pix2pix(m: Method, batch: Batch, optimizers: dict[str, torch.optim.Optimizer]) -> None:
    x, y, kind = batch.x, batch.y, m.config.gan.kind
    fake = m.G(x)
    freeze(m.D, frozen=False)
    fake_logits = logits(m.D(torch.cat([x, fake], 1).detach()))
    real_logits = logits(m.D(torch.cat([x, y], 1)))
    classic_step(optimizers["D"], *(0.5 * loss for loss in discriminator_losses(kind, real_logits, fake_logits)))
    freeze(m.D)
    judged = logits(m.D(torch.cat([x, fake], 1)))
    classic_step(optimizers["G"], generator_loss(kind, judged), m.config.lambda_l1 * l1(fake, y))


def classic_cyclegan(m: Method, batch: Batch, optimizers: dict[str, torch.optim.Optimizer]) -> None:
    c, x, y, kind = m.config, batch.x, batch.y, m.config.gan.kind
    fake_y = m.G(x)
    back_x = m.F(fake_y)
    fake_x, same_x = together(m.F, y, x)
    back_y, same_y = together(m.G, fake_x, y)
    freeze(m.D_X, m.D_Y)
    classic_step(
        optimizers["G"],
        generator_loss(kind, logits(m.D_X(fake_x))),
        generator_loss(kind, logits(m.D_Y(fake_y))),
        c.lambda_cycle_x * l1(back_x, x),
        c.lambda_cycle_y * l1(back_y, y),
        c.lambda_cycle_x * c.lambda_identity * l1(same_x, x),
        c.lambda_cycle_y * c.lambda_identity * l1(same_y, y),
    )
    freeze(m.D_X, m.D_Y, frozen=False)
    losses: list[Tensor] = []
    for D, real, fake in ((m.D_X, x, m.history_x.query(fake_x)), (m.D_Y, y, m.history_y.query(fake_y))):
        fake_logits, real_logits = map(logits, together(D, fake, real))
        losses += [0.5 * loss for loss in discriminator_losses(kind, real_logits, fake_logits)]
    classic_step(optimizers["D"], *losses)


@pytest.mark.parametrize(
    ("name", "classic", "settings"),
    [
        ("pix2pix", classic_pix2pix, {}),
        ("pix2pix", classic_pix2pix, {"gan": "lsgan", "generator": {"dropout": False, "norm": "instance"}}),
        ("cyclegan", classic_cyclegan, {}),
        ("cyclegan", classic_cyclegan, {"generator": {"norm": "batch"}, "gan": "vanilla"}),
    ],
)
def test_gradients_and_weights_are_bit_for_bit_those_of_freezing_and_unfreezing(
    name, classic: Callable, settings, tiny, pair
) -> None:
    ours, theirs = tiny(name, **settings), tiny(name, **settings)
    update = Updater(ours)
    optimizers = {
        player: torch.optim.Adam([p for n in networks for p in n.parameters()], lr=2e-4, betas=(0.5, 0.999), fused=True)
        for player, networks in theirs.players().items()
    }
    seen, expected = watch(ours, update.optimizers), watch(theirs, optimizers)
    for step in range(3):
        batch = pair(batch=2, seed=step)
        torch.manual_seed(step)
        ours.train().step(batch, update)
        torch.manual_seed(step)
        classic(theirs.train(), batch, optimizers)
    assert len(seen) == len(expected) == 6
    for new, ref in zip(seen, expected, strict=True):
        assert list(new) == list(ref)
        assert all(torch.equal(new[key], ref[key]) for key in ref)
    state = theirs.state_dict()
    assert all(torch.equal(t, state[key]) for key, t in ours.state_dict().items())


class Noting(Updater):
    """Knows who plays."""

    playing = ""

    def __call__(self, *players: str, **losses: Tensor) -> None:
        self.playing = " ".join(players)
        super().__call__(*players, **losses)


def computed(method: Method, batch: Batch, *, step: int = 0, epoch: float = 0.0) -> set[tuple[str, str]]:
    """What one step computes gradients for: who plays, such as "G E", and whose weight it is, "" where it is nobody's."""
    update, found = Noting(method), set()
    update.step, update.epoch = step, epoch
    owner = {p: player for player, networks in method.players().items() for n in networks for p in n.parameters()}
    for p in method.parameters():
        p.register_hook(lambda _, p=p: found.add((update.playing, owner.get(p, ""))))
    method.train().step(batch, update)
    return found


LOCAL = {"generator": {"enhancers": 1, "width": 2}, "fix_epochs": 1}


@pytest.mark.parametrize(
    ("name", "settings", "clock", "pairs"),
    [
        ("pix2pix", {}, {}, {("D", "D"), ("G", "G")}),
        ("pix2pix", {"gan": {"r1": 1, "relativistic": True, "margin": 9}, "lambda_feat": 1}, {}, {("D", "D"), ("G", "G")}),
        ("cyclegan", {}, {}, {("D", "D"), ("G", "G")}),
        ("bicyclegan", {}, {}, {("G E", "G"), ("G E", "E"), ("D", "D"), ("D2", "D2")}),
        ("pix2pixhd", {"features": 2}, {}, {("G E", "G"), ("G E", "E"), ("D", "D")}),
        ("pix2pixhd", LOCAL, {"epoch": 0.9}, {("G", "G"), ("D", "D")}),
        ("pix2pixhd", LOCAL, {"epoch": 1.0}, {("G coarse", "G"), ("G coarse", "coarse"), ("D", "D")}),
        ("simgan", {}, {"step": 0}, {("R", "R")}),
        ("simgan", {}, {"step": 5}, {("D", "D")}),
        ("simgan", {}, {"step": 8}, {("R", "R")}),
        ("crn", {"train_from": 2}, {}, {("G", "G")}),
    ],
)
def test_an_update_computes_no_gradient_for_the_other_players(name, settings, clock, pairs, tiny, pair) -> None:
    assert computed(tiny(name, **settings), pair(batch=2), **clock) == pairs


# What is not finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_training_before_any_weight_changes(bad) -> None:
    method = Three()
    update = Updater(method)
    before = weights(method)
    with pytest.raises(Diverged, match=r"the loss G/l1 is -?(nan|inf)"):
        update("G", gan=method.G(X).mean(), l1=method.G(X).mean() * bad)
    assert torch.equal(weights(method), before)
    assert all(p.grad is None for p in method.parameters())


def test_require_finite_passes_over_numbers_and_names_the_first_bad_one() -> None:
    require_finite({"a": 1.0, "b": torch.tensor(-2.0)})
    with pytest.raises(Diverged, match="the loss b is inf"):
        require_finite({"a": 1.0, "b": float("inf"), "c": float("nan")})


# Rates, clipping, Adam


def test_each_player_can_have_its_own_learning_rate_under_one_schedule() -> None:
    update = Updater(Three(), lr=2e-4, player_lr={"D": 4e-4})
    update.set_rate(0.5)
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in update.optimizers.items()}
    assert rates == {"G": 1e-4, "E": 1e-4, "D": 2e-4}
    update.set_rate(1)
    assert update.optimizers["D"].param_groups[0]["lr"] == 4e-4


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate() -> None:
    method = Three()
    before = weights(method.G)
    Updater(method, lr=0.01)("G", a=method.G(X).square().mean())
    torch.testing.assert_close((weights(method.G) - before).abs(), torch.full((20,), 0.01).double(), rtol=1e-3, atol=0)


def test_gradients_are_clipped_to_the_norm_asked_for_by_player() -> None:
    method = Three()
    update = Updater(method, clip=0.1)
    seen = watch(method, update.optimizers)
    update("G", "E", a=1000 * method.G(X).square().mean() + 1e-3 * method.E(X).square().mean())
    large, small = (torch.cat([g.flatten() for g in grads.values()]).norm().item() for grads in seen)
    assert large == pytest.approx(0.1, rel=1e-4)
    assert small < 0.05


def test_fused_adam_takes_the_step_of_plain_adam() -> None:
    fused, plain = Three(), Three()
    update = Updater(fused, lr=1e-2)
    assert update.optimizers["G"].defaults["fused"]
    optimizer = torch.optim.Adam(plain.G.parameters(), lr=1e-2, betas=(0.5, 0.999))
    for _ in range(3):
        update("G", a=fused.G(X).square().mean())
        classic_step(optimizer, plain.G(X).square().mean())
        torch.testing.assert_close(weights(fused.G), weights(plain.G), rtol=0, atol=1e-6)


def test_the_state_goes_on_exactly_where_it_stood(tmp_path) -> None:
    def train(method: Method, update: Updater, steps: int) -> None:
        for _ in range(steps):
            update("D", a=method.D(X).square().mean())
            update("G", "E", a=method.D(method.E(method.G(X))).square().mean())

    method = Three()
    update = Updater(method, lr=1e-2)
    train(method, update, 3)
    torch.save({"update": update.state_dict(), "method": method.state_dict()}, tmp_path / "state.pt")
    train(method, update, 3)

    resumed = Three()
    again = Updater(resumed, lr=1e-2)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(state["method"])
    again.load_state_dict(state["update"])
    train(resumed, again, 3)
    assert torch.equal(weights(resumed), weights(method))


# Autocast


def forward_after_update() -> tuple[Tensor, Tensor, Tensor]:
    """In one autocast region: what a network says before an update and after it; and in a fresh region, after it."""
    method = Three()
    precision = Precision("bf16", torch.device("cpu"))
    update = Updater(method, lr=0.1, precision=precision)
    with precision.autocast():
        before = method.G(X)
        update("G", a=before.square().mean())
        after = method.G(X)
    with precision.autocast():
        fresh = method.G(X)
    return before.detach(), after.detach(), fresh.detach()


def test_a_forward_after_an_update_in_the_same_autocast_region_uses_the_new_weights() -> None:
    before, after, fresh = forward_after_update()
    assert torch.equal(after, fresh)
    assert not torch.equal(after, before)


def test_without_clearing_the_autocast_cache_it_would_use_the_old_ones(monkeypatch) -> None:
    """Shows that the test above looks at the right thing."""
    clear = torch.clear_autocast_cache
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: None)
    before, after, _ = forward_after_update()
    clear()
    assert torch.equal(after, before)


def test_under_bfloat16_weights_gradients_and_losses_stay_in_float32(tiny, pair) -> None:
    method = tiny("pix2pix")
    precision = Precision("bf16", torch.device("cpu"))
    update = Updater(method, precision=precision)
    seen = watch(method, update.optimizers)
    with precision.autocast():
        sheet = method.step(pair(), update)
    assert sheet["output"].dtype == torch.bfloat16
    assert all(t.dtype == torch.float32 for t in update.terms.values())
    assert all(g.dtype == torch.float32 for gradients in seen for g in gradients.values())
    assert all(p.dtype == torch.float32 for p in method.parameters())
