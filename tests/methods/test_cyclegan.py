import pytest
import torch

from i2i.errors import UserError
from i2i.losses.matching import l1
from i2i.method import Batch
from i2i.models import build, configure
from i2i.training.precision import Precision
from i2i.training.update import Updater

GANS = ["vanilla", "lsgan", "hinge", "wgan-gp"]
G_TERMS = ["gan_x", "gan_y", "cycle_x", "cycle_y"]
D_TERMS = ["real_x", "fake_x", "real_y", "fake_y"]


def logits(maps):
    return maps[0][-1]


SHEET = ["x", "G(x)", "F(G(x))", "y", "F(y)", "G(F(y))"]


def test_one_step_is_both_generators_then_both_discriminators(tiny, pair, recording) -> None:
    update = recording()
    tiny("cyclegan").step(pair(), update)
    assert update.calls == [(("G",), [*G_TERMS, "identity_x", "identity_y"]), (("D",), D_TERMS)]


def test_without_its_weight_the_identity_is_not_computed(tiny, pair, recording) -> None:
    update, method = recording(), tiny("cyclegan", lambda_identity=0)
    passes: list[str] = []
    method.G.register_forward_hook(lambda *_: passes.append("G"))
    sheet = method.step(pair(), update)
    assert update.calls[0] == (("G",), G_TERMS)
    assert list(sheet) == SHEET
    assert len(passes) == 2


def test_the_penalty_is_paid_once_a_side_and_only_with_a_weight(tiny, pair, recording) -> None:
    for weight, names in ((10, ["real_x", "fake_x", "gp_x", "real_y", "fake_y", "gp_y"]), (0, D_TERMS)):
        update = recording()
        tiny("cyclegan", gan={"kind": "wgan-gp", "lambda_gp": weight}).step(pair(), update)
        assert update.calls[1] == (("D",), names)


def test_every_term_has_its_weight_and_its_images(tiny, pair, recording) -> None:
    x, y, *_ = pair(batch=2)
    update, method = recording(), tiny("cyclegan", lambda_cycle_x=3, lambda_cycle_y=5, lambda_identity=0.5)
    s = method.step(Batch(x, y), update)
    expected = {
        "G/cycle_x": 3 * l1(s["F(G(x))"], x),
        "G/cycle_y": 5 * l1(s["G(F(y))"], y),
        "G/identity_x": 1.5 * l1(s["F(x)"], x),
        "G/identity_y": 2.5 * l1(s["G(y)"], y),
        "G/gan_x": (logits(method.D_X(s["F(y)"])) - 1).square().mean(),
        "G/gan_y": (logits(method.D_Y(s["G(x)"])) - 1).square().mean(),
        "D/real_x": 0.5 * (logits(method.D_X(x)) - 1).square().mean(),
        "D/fake_y": 0.5 * logits(method.D_Y(s["G(x)"])).square().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(update.losses[name], value, rtol=1e-5, atol=1e-7)


def test_the_sheet_of_a_step_shows_what_each_generator_made(tiny, pair, recording) -> None:
    x, y, *_ = pair()
    method = tiny("cyclegan")
    s = method.step(Batch(x, y), recording())
    assert list(s) == [*SHEET, "F(x)", "G(y)"]
    made = {"G(x)": method.G(x), "F(y)": method.F(y), "F(G(x))": method.F(method.G(x)), "G(F(y))": method.G(method.F(y))}
    for name, picture in (made | {"F(x)": method.F(x), "G(y)": method.G(y)}).items():
        torch.testing.assert_close(s[name], picture, rtol=0, atol=1e-5)
    shown = method.eval().sheet(Batch(x, y))
    assert list(shown) == SHEET
    for name, picture in made.items():
        torch.testing.assert_close(shown[name], picture, rtol=0, atol=1e-5)


def test_the_losses_of_the_discriminators_do_not_reach_the_generators(tiny, pair, recording) -> None:
    update, method = recording(), tiny("cyclegan")
    method.step(pair(), update)
    loss = sum(update.losses[f"D/{name}"] for name in D_TERMS)
    parameters = [*method.G.parameters(), *method.F.parameters()]
    assert all(g is None for g in torch.autograd.grad(loss, parameters, allow_unused=True))


def test_the_discriminators_are_shown_old_fakes_too(tiny, pair, recording) -> None:
    method = tiny("cyclegan", history=2)
    torch.manual_seed(0)
    seen, fakes = [], []
    method.D_Y.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for seed in range(12):
        fakes.append(method.step(pair(seed=seed), recording())["G(x)"].detach())
    assert len(method.history_y.images) == 2
    judged = seen[2::3]  # each step shows it the fake for G, then the real one and a fake for itself
    current = [torch.equal(a, b) for a, b in zip(judged, fakes, strict=True)]
    assert all(current[:2])
    assert 2 < current.count(True) < 12


def test_the_history_travels_with_the_weights(tiny, pair, recording) -> None:
    old, new = tiny("cyclegan"), tiny("cyclegan", seed=1)
    old.step(pair(batch=2), recording())
    new.load_state_dict(old.state_dict())
    assert torch.equal(new.history_x.images, old.history_x.images)
    assert len(new.history_y.images) == 2


def test_one_pair_of_images_learns_to_go_there_and_back(tiny, pair) -> None:
    method, batch = tiny("cyclegan", generator={"width": 8}), pair(seed=3)
    update = Updater(method, lr=2e-3)

    def cycle() -> float:
        return (update.terms["G/cycle_x"] + update.terms["G/cycle_y"]).item()

    method.step(batch, update)
    first = cycle()
    for _ in range(50):
        method.step(batch, update)
    assert cycle() < 0.7 * first


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("gan", GANS)
def test_every_kind_of_game_can_be_played(gan, precision, spectral_norm, tiny, pair) -> None:
    method = tiny("cyclegan", gan=gan, discriminator={"spectral_norm": spectral_norm})
    before = {key: t.clone() for key, t in method.state_dict().items() if "history" not in key}
    form = Precision(precision, torch.device("cpu"))
    update = Updater(method, precision=form)
    for seed in range(2):
        with form.autocast():
            method.step(pair(batch=2, seed=seed), update)
    after = method.state_dict()
    assert all(torch.isfinite(t).all() for t in [*update.terms.values(), *after.values()])
    moved = {key.split(".")[0] for key, t in before.items() if not torch.equal(t, after[key])}
    assert moved == {"G", "F", "D_X", "D_Y"}


@pytest.mark.parametrize(
    "generator", [{"upsample": "resize"}, {"kind": "unet", "depth": 3}, {"norm": "batch", "dropout": True}]
)
@pytest.mark.parametrize("kind", ["patch", "pixel"])
def test_other_networks_can_play(generator, kind, tiny, pair) -> None:
    method = tiny("cyclegan", generator=generator, discriminator={"kind": kind, "norm": "batch"})
    update = Updater(method)
    sheet = method.step(pair(batch=2), update)
    assert all(picture.shape == (2, 3, 16, 16) for picture in sheet.values())
    assert all(torch.isfinite(t) for t in update.terms.values())


def test_the_identity_between_different_channels_is_refused_with_a_way_out(tiny) -> None:
    with pytest.raises(UserError, match="one side has 1 channels and the other 3") as caught:
        tiny("cyclegan", x_channels=1)
    assert caught.value.hint == "train without it: --set model.lambda_identity=0"


def test_grey_and_colour_can_be_translated_into_each_other(tiny, pair) -> None:
    method = tiny("cyclegan", x_channels=1, lambda_identity=0)
    x, y, *_ = pair(x_channels=1)
    sheet = method.step(Batch(x, y), Updater(method))
    assert [picture.shape[1] for picture in sheet.values()] == [1, 3, 1, 3, 1, 3]
    assert method.translate(x).shape == y.shape
    assert method.translate(y, reverse=True).shape == x.shape


def test_the_sides_of_a_batch_may_differ_in_size(tiny, pair) -> None:
    method = tiny("cyclegan", lambda_identity=0.5)
    sheet = method.step(Batch(pair(size=16).x, pair(size=24).y), Updater(method))
    assert (sheet["G(x)"].shape[-1], sheet["F(y)"].shape[-1]) == (16, 24)


# Translation


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_an_image_is_translated_as_if_it_were_alone_in_both_directions(norm, tiny, pair) -> None:
    method = tiny("cyclegan", generator={"norm": norm, "dropout": True}).eval()
    x = pair(batch=4).x
    x[1:] *= 0.1
    with torch.no_grad():
        for reverse in (False, True):
            alone = method.translate(x[:1], reverse=reverse)
            torch.testing.assert_close(method.translate(x, reverse=reverse)[:1], alone, rtol=0, atol=1e-6)
            assert torch.equal(method.translate(x[:1], reverse=reverse), alone)


def test_saved_weights_translate_the_same_in_both_directions(tiny, pair, tmp_path) -> None:
    method, other, (x, y, *_) = tiny("cyclegan"), tiny("cyclegan", seed=5), pair()
    update = Updater(method, lr=1e-2)
    method.step(Batch(x, y), update)
    torch.save(method.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    method.eval()
    other.eval()
    with torch.no_grad():
        assert torch.equal(other.translate(x), method.translate(x))
        assert torch.equal(other.translate(y, reverse=True), method.translate(y, reverse=True))
        assert not torch.equal(method.translate(x), method.translate(x, reverse=True))


# Building


def test_the_published_defaults() -> None:
    config = configure("cyclegan", []).replaced("the test", data={"x": {"channels": 3}, "y": {"channels": 3}})
    with torch.device("meta"):
        method = build(config)
    counts = {name: [sum(p.numel() for p in n.parameters()) for n in networks] for name, networks in method.players().items()}
    assert counts == {"G": [11_378_179] * 2, "D": [2_764_737] * 2}
    m = config.model
    assert (m.gan.kind, m.lambda_cycle_x, m.lambda_cycle_y, m.lambda_identity, m.history) == ("lsgan", 10, 10, 0.5, 50)
    assert (method.accepts().stride, method.accepts().halo, method.smallest_crop(), method.reversible) == (4, 84, 24, True)
    assert set(method.generators()) == {"G", "F"}
