import pytest
import torch

from i2i.errors import UserError
from i2i.losses.matching import l1
from i2i.method import Batch
from i2i.models import build, configure
from i2i.training.precision import Precision
from i2i.training.update import Updater

GANS = ["vanilla", "lsgan", "hinge", "wgan-gp"]


def test_one_step_is_the_discriminator_then_the_generator(tiny, pair, recording) -> None:
    update = recording()
    tiny("pix2pix").step(pair(), update)
    assert update.calls == [(("D",), ["real", "fake"]), (("G",), ["gan", "l1"])]


def test_the_penalty_is_paid_where_it_belongs_and_only_with_a_weight(tiny, pair, recording) -> None:
    update = recording()
    tiny("pix2pix", gan="wgan-gp").step(pair(), update)
    assert update.calls[0] == (("D",), ["real", "fake", "gp"])
    update = recording()
    method = tiny("pix2pix", gan={"kind": "wgan-gp", "lambda_gp": 0})
    method.step(pair(), update)
    assert update.calls[0] == (("D",), ["real", "fake"])
    assert method.state_dict()["D.model.3.num_batches_tracked"] == 3  # fake, real, and fake again for G


def test_l1_carries_its_weight(tiny, pair, recording) -> None:
    x, y, *_ = pair()
    update, method = recording(), tiny("pix2pix", lambda_l1=7)
    sheet = method.step(Batch(x, y), update)
    torch.testing.assert_close(update.losses["G/l1"], 7 * l1(sheet["output"], y))


def test_the_discriminator_sees_the_input_beside_the_output(tiny, pair, recording) -> None:
    x, y, *_ = pair(batch=2, x_channels=1)
    method, seen = tiny("pix2pix", x_channels=1), []
    method.D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    fake = method.step(Batch(x, y), recording())["output"].detach()
    assert torch.equal(seen[0], torch.cat([x, fake], 1))
    assert torch.equal(seen[1], torch.cat([x, y], 1))
    assert torch.equal(seen[2], torch.cat([x, fake], 1))


def test_the_loss_of_the_discriminator_does_not_reach_the_generator(tiny, pair, recording) -> None:
    update, method = recording(), tiny("pix2pix")
    method.step(pair(), update)
    loss = update.losses["D/real"] + update.losses["D/fake"]
    assert all(g is None for g in torch.autograd.grad(loss, list(method.G.parameters()), allow_unused=True))


def test_one_pair_is_learned_by_heart(tiny, pair) -> None:
    method, batch = tiny("pix2pix", generator={"width": 16, "dropout": False}), pair(seed=3)
    update = Updater(method, lr=2e-3)
    method.step(batch, update)
    first = update.terms["G/l1"].item()
    for _ in range(120):
        method.step(batch, update)
    assert update.terms["G/l1"].item() < 0.3 * first


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("gan", GANS)
def test_every_kind_of_game_can_be_played(gan, precision, spectral_norm, tiny, pair) -> None:
    method = tiny("pix2pix", gan=gan, discriminator={"spectral_norm": spectral_norm, "norm": "instance"})
    before = {key: t.clone() for key, t in method.state_dict().items()}
    form = Precision(precision, torch.device("cpu"))
    update = Updater(method, precision=form)
    for seed in range(2):
        with form.autocast():
            method.step(pair(batch=2, seed=seed), update)
    after = method.state_dict()
    assert all(torch.isfinite(t).all() for t in [*update.terms.values(), *after.values()])
    moved = {key.split(".")[0] for key, t in after.items() if not torch.equal(t, before[key])}
    assert moved == {"G", "D"}


@pytest.mark.parametrize(
    "generator", [{"upsample": "resize"}, {"kind": "resnet", "blocks": 1}, {"norm": "instance"}, {"norm": "none"}]
)
@pytest.mark.parametrize("kind", ["patch", "pixel"])
def test_other_networks_can_play(generator, kind, tiny, pair) -> None:
    method = tiny("pix2pix", generator=generator, discriminator={"kind": kind})
    update = Updater(method)
    sheet = method.step(pair(batch=3), update)
    assert sheet["output"].shape == (3, 3, 16, 16)
    assert all(torch.isfinite(t) for t in update.terms.values())


@pytest.mark.parametrize(("x_channels", "y_channels"), [(1, 3), (3, 1), (4, 2)])
def test_the_sides_can_have_different_channels(x_channels, y_channels, tiny, pair) -> None:
    method = tiny("pix2pix", x_channels=x_channels, y_channels=y_channels)
    batch = pair(batch=2, x_channels=x_channels, y_channels=y_channels)
    sheet = method.step(batch, Updater(method))
    assert {name: t.shape[1] for name, t in sheet.items()} == {"input": x_channels, "output": y_channels, "target": y_channels}
    assert method.eval().translate(batch[0]).shape == batch[1].shape


def test_a_sheet_shows_input_output_and_target(tiny, pair, recording) -> None:
    x, y, *_ = pair(batch=2)
    method = tiny("pix2pix").eval()
    sheet = method.sheet(Batch(x, y))
    assert list(sheet) == list(method.train().step(Batch(x, y), recording())) == ["input", "output", "target"]
    assert sheet["input"] is x
    assert sheet["target"] is y
    assert torch.equal(sheet["output"], method.eval().translate(x))


# Translation


def taught(tiny, pair):
    method = tiny("pix2pix", generator={"depth": 4, "dropout": True})
    update = Updater(method, lr=1e-2)
    for seed in range(3):
        method.step(pair(batch=2, seed=seed), update)
    return method.eval()


def test_translation_is_repeatable_and_without_dropout(tiny, pair) -> None:
    method, x = taught(tiny, pair), pair(seed=9).x
    with torch.no_grad():
        torch.manual_seed(1)
        first = method.translate(x)
        torch.manual_seed(2)
        assert torch.equal(method.translate(x), first)


def test_an_image_is_translated_as_if_it_were_alone(tiny, pair) -> None:
    method, x = taught(tiny, pair), pair(batch=4, seed=9).x
    x[1:] *= 0.1
    with torch.no_grad():
        torch.testing.assert_close(method.translate(x)[:1], method.translate(x[:1]), rtol=0, atol=1e-6)


def test_translation_uses_the_statistics_of_the_image_not_the_running_ones(tiny, pair) -> None:
    method, x = taught(tiny, pair), pair(seed=9).x
    with torch.no_grad():
        before = method.translate(x)
        for name, buffer in method.named_buffers():
            if "running" in name:
                buffer.fill_(3)
        assert torch.equal(method.translate(x), before)


def test_saved_weights_translate_the_same(tiny, pair, tmp_path) -> None:
    method, x = taught(tiny, pair), pair(seed=9).x
    torch.save(method.state_dict(), tmp_path / "weights.pt")
    other = tiny("pix2pix", generator={"depth": 4, "dropout": True}, seed=5).eval()
    with torch.no_grad():
        assert not torch.equal(other.translate(x), method.translate(x))
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(other.translate(x), method.translate(x))


# Noise


NOISY = {"generator": {"kind": "unet", "depth": 3, "norm": "instance", "dropout": False}, "z": 4}


def test_with_noise_one_input_has_many_outputs_and_a_style_decides(tiny, pair) -> None:
    method, x = tiny("pix2pix", **NOISY).eval(), pair(seed=9).x
    a, b = method.draw_styles(2, seed=3)
    with torch.no_grad():
        first, second = method.samples(x, [a, b])
        assert not torch.equal(first, second)
        assert torch.equal(method.translate(x, style=a), first)
        assert torch.equal(method.translate(x), method.translate(x, style=torch.zeros(4)))
    assert [t.tolist() for t in method.draw_styles(2, seed=3)] == [a.tolist(), b.tolist()]
    torch.testing.assert_close(method.mix_styles(a, b, 0.0), a)


def test_every_step_draws_its_own_noise(tiny, pair, recording) -> None:
    method, batch = tiny("pix2pix", **NOISY), pair()
    torch.manual_seed(0)
    one, two = (method.step(batch, recording())["output"] for _ in range(2))
    torch.manual_seed(0)
    again = method.step(batch, recording())["output"]
    assert not torch.equal(one, two)
    assert torch.equal(one, again)


@pytest.mark.parametrize("form", ["inverse", "clipped"])
def test_mode_seeking_pulls_the_outputs_of_two_codes_apart(form, tiny, pair, recording) -> None:
    update = recording()
    weighted = {"weight": 0.5, "form": form}
    method = tiny("pix2pix", **NOISY, mode_seeking=weighted)
    method.step(pair(), update)
    assert update.calls[1] == (("G",), ["gan", "l1", "ms"])
    (gradient,) = torch.autograd.grad(update.losses["G/ms"], method.G.model.down[0].weight)
    assert gradient.abs().sum() > 0


def test_without_noise_styles_and_mode_seeking_are_refused(tiny) -> None:
    with pytest.raises(UserError, match="it has no styles"):
        tiny("pix2pix").draw_styles(2, 0)
    with pytest.raises(UserError, match="have no between"):
        tiny("pix2pix").mix_styles(torch.zeros(1), torch.zeros(1), 0.5)
    with pytest.raises(UserError, match=r"model\.z is 0"):
        tiny("pix2pix", mode_seeking={"weight": 1})
    with pytest.raises(UserError, match="a ResNet takes no noise"):
        tiny("pix2pix", z=2, generator={"kind": "resnet", "blocks": 1})


# Other terms


def test_without_a_game_there_is_no_discriminator(tiny, pair, recording) -> None:
    method, update = tiny("pix2pix", gan=None, lambda_tv=0.1), recording()
    assert list(method.players()) == ["G"]
    assert {key.partition(".")[0] for key in method.state_dict()} == {"G"}
    method.step(pair(), update)
    assert update.calls == [(("G",), ["l1", "tv"])]
    with pytest.raises(UserError, match="feature matching compares what a discriminator sees"):
        tiny("pix2pix", gan=None, lambda_feat=1)


def test_feature_matching_and_relativistic_games_look_at_the_real_pair_too(tiny, pair, recording) -> None:
    for settings, passes in (({}, 3), ({"lambda_feat": 1.0}, 4), ({"gan": {"relativistic": True}}, 4)):
        method, update, seen = tiny("pix2pix", **settings), recording(), []
        method.D.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        method.step(pair(), update)
        assert len(seen) == passes
        assert ("feat" in update.calls[1][1]) == ("lambda_feat" in settings)


def test_the_l1_of_a_region_reaches_the_loss(tiny, pair, recording) -> None:
    batch, update, plain = pair(), recording(), recording()
    region = torch.ones(1, 1, 16, 16)
    torch.manual_seed(0)
    tiny("pix2pix", lambda_region=2).step(batch._replace(region=region), update)
    torch.manual_seed(0)
    tiny("pix2pix", lambda_region=2).step(batch, plain)
    torch.testing.assert_close(update.losses["G/l1"], 3 * plain.losses["G/l1"])


# Building


def test_the_published_defaults() -> None:
    config = configure("pix2pix", []).replaced("the test", data={"x": {"channels": 3}, "y": {"channels": 3}})
    with torch.device("meta"):
        method = build(config)
    counts = {name: sum(p.numel() for n in networks for p in n.parameters()) for name, networks in method.players().items()}
    assert counts == {"G": 54_413_955, "D": 2_768_705}
    assert (config.model.gan.kind, config.model.lambda_l1) == ("vanilla", 100)
    assert (method.accepts().stride, method.smallest_crop(), method.reversible) == (256, 256, False)
    assert all(t.is_meta for t in method.state_dict().values())


def test_the_seed_decides_the_start(tiny) -> None:
    a, b, c = tiny("pix2pix", seed=1), tiny("pix2pix", seed=1), tiny("pix2pix", seed=2)
    assert torch.equal(a.G.model.model[0].weight, b.G.model.model[0].weight)
    assert not torch.equal(a.G.model.model[0].weight, c.G.model.model[0].weight)
