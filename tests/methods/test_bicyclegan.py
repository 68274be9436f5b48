import pytest
import torch
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses.matching import l1
from i2i.method import Batch
from i2i.methods.bicyclegan import BicycleGAN
from i2i.models import build, configure
from i2i.training.precision import Precision
from i2i.training.update import Updater


def judged(network: nn.Module) -> list[Tensor]:
    """What the network is shown from now on."""
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    return seen


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, retain_graph=True))


# One step


def test_one_step_is_G_and_E_together_then_each_discriminator(tiny, pair, recording) -> None:
    update = recording()
    tiny("bicyclegan").step(pair(batch=2), update)
    assert update.calls == [
        (("G", "E"), ["gan", "gan2", "l1", "kl", "z"]),
        (("D",), ["real", "fake"]),
        (("D2",), ["real", "fake"]),
    ]


def test_the_first_half_is_encoded_and_the_second_is_what_D2_takes_for_real(tiny, pair, recording) -> None:
    method, batch = tiny("bicyclegan"), pair(batch=4)
    generator, encoder, d, d2 = (judged(network) for network in (method.G, method.E, method.D, method.D2))
    sheet = method.step(batch, recording())
    assert all(torch.equal(x, batch.x[:2]) for x in generator)
    assert len(generator) == 2
    assert torch.equal(sheet["input"], batch.x[:2])
    assert torch.equal(encoder[0], batch.y[:2])
    assert torch.equal(encoder[1], sheet["random"])  # whose code is looked for
    for seen, name, real in ((d, "encoded", batch.y[:2]), (d2, "random", batch.y[2:])):
        assert [torch.equal(image, sheet[name]) for image in seen] == [True, True, False]
        assert torch.equal(seen[2], real)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_the_halves_of_an_odd_batch_share_a_pair(batch, tiny, pair, recording) -> None:
    method, images = tiny("bicyclegan"), pair(batch=batch)
    d2 = judged(method.D2)
    sheet = method.step(images, recording())
    half = (batch + 1) // 2
    assert len(sheet["encoded"]) == half
    assert torch.equal(d2[2], images.y[batch - half :])


def test_conditional_discriminators_see_the_input_of_their_own_half(tiny, pair, recording) -> None:
    method, batch = tiny("bicyclegan", conditional=True, x_channels=1), pair(batch=2, x_channels=1)
    d, d2 = judged(method.D), judged(method.D2)
    sheet = method.step(batch, recording())
    x, other = batch.x[:1], batch.x[1:]
    assert torch.equal(d[0], torch.cat([x, sheet["encoded"]], 1))
    assert torch.equal(d[2], torch.cat([x, batch.y[:1]], 1))
    assert torch.equal(d2[0], torch.cat([x, sheet["random"]], 1))
    assert torch.equal(d2[2], torch.cat([other, batch.y[1:]], 1))


def test_augmentation_leaves_the_colours_of_the_condition_alone(tiny, pair, recording) -> None:
    method = tiny("bicyclegan", conditional=True, gan={"augment": ["color"]}, x_channels=1)
    batch, d, d2 = pair(batch=2, x_channels=1), judged(method.D), judged(method.D2)
    sheet = method.step(batch, recording())
    for seen, name in ((d, "encoded"), (d2, "random")):
        assert all(torch.equal(image[:, :1], batch.x[:1]) for image in seen[:2])
        assert not torch.equal(seen[0][:, 1:], sheet[name])


def test_the_latent_loss_reaches_G_only(tiny, pair, recording) -> None:
    update, method = recording(), tiny("bicyclegan")
    method.step(pair(batch=2), update)
    assert all(g is None for g in gradients(update.losses["G/z"], method.E))
    assert any(g is not None and g.abs().sum() > 0 for g in gradients(update.losses["G/z"], method.G))
    assert any(g is not None and g.abs().sum() > 0 for g in gradients(update.losses["G/l1"], method.E))


def test_the_encoder_finds_codes_by_its_mean_alone(tiny, pair, recording) -> None:
    update, method = recording(), tiny("bicyclegan", lambda_z=2)
    codes = []
    method.noise = lambda x: codes.append(torch.randn(len(x), 3)) or codes[-1]
    sheet = method.step(pair(batch=2), update)
    torch.testing.assert_close(update.losses["G/z"], 2 * l1(method.E(sheet["random"])[0], codes[1]))


def test_the_kl_is_a_sum_over_batch_and_code(tiny, pair, recording) -> None:
    method, batch = tiny("bicyclegan", lambda_kl=1), pair(batch=2)
    with torch.no_grad():
        for head in (method.E.fc, method.E.fcVar):
            nn.init.zeros_(head[0].weight)
        method.E.fc[0].bias.fill_(2)  # KL(N(2, 1) | N(0, 1)) = 2 for each of 3 numbers
    update = recording()
    method.step(batch, update)
    assert update.losses["G/kl"].item() == pytest.approx(3 * 2)
    method.step(Batch(batch.x.repeat(2, 1, 1, 1), batch.y.repeat(2, 1, 1, 1)), update)
    assert update.losses["G/kl"].item() == pytest.approx(2 * 3 * 2)


@pytest.mark.parametrize(
    ("name", "setting"),
    [("gan", "lambda_gan"), ("gan2", "lambda_gan2"), ("kl", "lambda_kl"), ("z", "lambda_z"), ("l1", "lambda_l1")],
)
def test_each_weight_weighs_its_own_term(name, setting, tiny, pair, recording) -> None:
    losses = []
    for weight in (1.0, 3.0):
        update, method = recording(), tiny("bicyclegan", **{setting: weight})
        torch.manual_seed(0)
        method.step(pair(batch=2), update)
        losses.append(update.losses)
    for term in losses[0]:
        torch.testing.assert_close(losses[1][term], losses[0][term] * (3 if term == f"G/{name}" else 1))


def test_the_discriminators_pay_in_full_and_reach_no_generator(tiny, pair, recording) -> None:
    update, method, batch = recording(), tiny("bicyclegan"), pair(batch=2)
    sheet = method.step(batch, update)
    expected = sum(maps[-1].square().mean() for maps in method.D(sheet["encoded"]))  # lsgan, target 0, two scales
    torch.testing.assert_close(update.losses["D/fake"], expected)
    loss = sum(update.losses[f"{d}/{side}"] for d in ("D", "D2") for side in ("real", "fake"))
    assert all(g is None for network in (method.G, method.E) for g in gradients(loss, network))


def test_the_random_draws_follow_the_seed(tiny, pair, recording) -> None:
    method, batch = tiny("bicyclegan"), pair(batch=2)
    sheets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        sheets.append(method.step(batch, recording()))
    for name in ("encoded", "random"):
        assert torch.equal(sheets[0][name], sheets[1][name])
        assert not torch.equal(sheets[0][name], sheets[2][name])


@pytest.mark.parametrize("form", ["inverse", "clipped"])
def test_mode_seeking_compares_two_random_codes(form, tiny, pair, recording) -> None:
    update, method = recording(), tiny("bicyclegan", mode_seeking={"weight": 2, "form": form, "tau": 1e6})
    codes, batch = [], pair(batch=2)
    method.G.register_forward_pre_hook(lambda _, inputs: codes.append(inputs[1]))
    sheet = method.step(batch, update)
    (_, drawn, other) = codes[:3]
    ratio = l1(sheet["random"], method.G(sheet["input"], other)) / l1(drawn, other)
    expected = 1 / (ratio + 1e-5) if form == "inverse" else -ratio
    torch.testing.assert_close(update.losses["G/ms"], 2 * expected, rtol=1e-3, atol=1e-6)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients(update.losses["G/ms"], method.G))


def test_other_matching_terms_can_join(tiny, pair, recording) -> None:
    update = recording()
    tiny("bicyclegan", lambda_feat=1, lambda_tv=0.1, lambda_l1=0).step(pair(batch=2), update)
    assert update.calls[0] == (("G", "E"), ["gan", "gan2", "feat", "tv", "kl", "z"])


def test_a_region_weighs_on_the_encoded_half(tiny, pair, recording) -> None:
    losses, batch = [], pair(batch=4)
    for weight in (0.0, 1.0):
        update, region = recording(), torch.zeros(4, 1, 16, 16)
        region[:2] = 1
        torch.manual_seed(0)
        tiny("bicyclegan", lambda_region=weight).step(batch._replace(region=region), update)
        losses.append(update.losses["G/l1"])
    torch.testing.assert_close(losses[1], 2 * losses[0])


@pytest.mark.parametrize("gan", ["vanilla", "lsgan", "hinge", "wgan-gp", {"kind": "hinge", "relativistic": True, "r1": 1.0}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_kind_of_game_can_be_played(gan, precision, tiny, pair) -> None:
    method = tiny("bicyclegan", gan=gan, discriminator={"spectral_norm": True}, mode_seeking={"weight": 1})
    before = {key: t.clone() for key, t in method.state_dict().items()}
    form = Precision(precision, torch.device("cpu"))
    update = Updater(method, precision=form)
    for seed in range(2):
        with form.autocast():
            method.step(pair(batch=3, seed=seed), update)
    after = method.state_dict()
    assert all(torch.isfinite(t).all() for t in [*update.terms.values(), *after.values()])
    assert {key.split(".")[0] for key, t in after.items() if not torch.equal(t, before[key])} == {"G", "E", "D", "D2"}


@pytest.mark.parametrize(
    "settings",
    [
        {"generator": {"where": "input", "upsample": "bilinear"}},
        {"generator": {"upsample": "resize", "norm": "batch"}},
        {"encoder": {"kind": "conv"}},
        {"encoder": {"norm": "batch"}, "discriminator": {"scales": 1, "norm": "none"}},
    ],
)
def test_other_networks_can_play(settings, tiny, pair) -> None:
    method = tiny("bicyclegan", **settings)
    update = Updater(method)
    assert method.step(pair(batch=4), update)["encoded"].shape == (2, 3, 16, 16)
    assert all(torch.isfinite(t) for t in update.terms.values())


@pytest.mark.parametrize(("x_channels", "y_channels"), [(1, 3), (3, 1), (1, 1)])
def test_the_sides_can_have_one_channel(x_channels, y_channels, tiny, pair) -> None:
    method = tiny("bicyclegan", x_channels=x_channels, y_channels=y_channels)
    batch = pair(batch=2, x_channels=x_channels, y_channels=y_channels)
    method.step(batch, Updater(method))
    assert method.eval().translate(batch.x).shape == batch.y.shape


def test_one_pair_is_learned_by_heart(tiny, pair) -> None:
    method, batch = tiny("bicyclegan", generator={"width": 16, "dropout": False}, lambda_gan=0, lambda_gan2=0), pair(seed=3)
    update = Updater(method, lr=5e-3)
    method.step(batch, update)
    first = update.terms["G/l1"].item()
    for _ in range(50):
        method.step(batch, update)
    assert update.terms["G/l1"].item() < 0.3 * first


# Styles and translation


def taught(tiny, pair, **model) -> BicycleGAN:
    method = tiny("bicyclegan", **model)
    update = Updater(method, lr=1e-2)
    for seed in range(3):
        method.step(pair(batch=2, seed=seed), update)
    return method.eval()


def test_the_code_decides_the_output_and_without_one_it_is_zero(tiny, pair) -> None:
    method, x = taught(tiny, pair), pair(batch=2, seed=9).x
    a, b = method.draw_styles(2, seed=0)
    with torch.no_grad():
        typical = method.translate(x)
        assert torch.equal(typical, method.translate(x, style=torch.zeros(3)))
        outputs = [typical, *method.samples(x, [a, b])]
    assert all(not torch.allclose(outputs[i], outputs[j], atol=1e-3) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_an_image_is_translated_as_if_it_were_alone(norm, tiny, pair) -> None:
    method, x = taught(tiny, pair, generator={"norm": norm}), pair(batch=4, seed=9).x
    x[1:] *= 0.1
    (style,) = method.draw_styles(1, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(
            method.translate(x, style=style)[:1], method.translate(x[:1], style=style), rtol=0, atol=1e-5
        )


def test_batch_norm_uses_the_statistics_of_the_image_not_the_running_ones(tiny, pair) -> None:
    method, batch = taught(tiny, pair, generator={"norm": "batch"}, encoder={"norm": "batch"}), pair(seed=9)
    with torch.no_grad():
        before, style = method.translate(batch.x), method.encode_style(batch.y)
        for name, buffer in method.named_buffers():
            if "running" in name:
                buffer.fill_(3)
        assert torch.equal(method.translate(batch.x), before)
        assert torch.equal(method.encode_style(batch.y), style)


def test_translation_is_without_dropout(tiny, pair) -> None:
    method = tiny("bicyclegan", generator={"depth": 6, "dropout": True}, encoder={"blocks": 3}).eval()
    x = pair(size=64).x
    assert any(isinstance(layer, nn.Dropout) for layer in method.G.modules())
    assert torch.equal(method.translate(x), method.translate(x))


def test_styles_are_drawn_by_their_own_seed(tiny) -> None:
    method = tiny("bicyclegan")
    state = torch.get_rng_state()
    first, again, other = (torch.stack(method.draw_styles(4, seed)) for seed in (1, 1, 2))
    assert first.shape == (4, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [(16, 16), (9, 21), (5, 4)])
def test_the_style_of_an_image_of_any_size_is_the_mean_of_its_code(size, tiny, pair) -> None:
    method = taught(tiny, pair)
    y = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        style = method.encode_style(y)
        torch.testing.assert_close(style, method.E(y)[0][0])
    assert style.shape == (3,)


def test_an_image_too_small_for_a_style_is_refused(tiny) -> None:
    with pytest.raises(UserError, match="an image of 5x3 is too small"):
        tiny("bicyclegan").encode_style(torch.zeros(1, 3, 3, 5))


def test_mixed_styles_lie_between(tiny) -> None:
    method, (a, b) = tiny("bicyclegan"), (torch.tensor([2.0, 0, 0]), torch.tensor([0.0, 2, 0]))
    torch.testing.assert_close(method.mix_styles(a, b, 0.0), a)
    torch.testing.assert_close(method.mix_styles(a, b, 1.0), b)
    torch.testing.assert_close(method.mix_styles(a, b, 0.5), torch.tensor([2**0.5, 2**0.5, 0]))


def test_a_sheet_shows_the_targets_own_style_and_the_same_random_ones_every_time(tiny, pair) -> None:
    method, batch = taught(tiny, pair), pair(batch=2, seed=9)
    with torch.no_grad():
        sheet, again = method.sheet(batch), method.sheet(batch)
        assert list(sheet) == ["input", "target", "encoded", "random 1", "random 2", "random 3", "random 4"]
        assert all(torch.equal(sheet[name], again[name]) for name in sheet)
        torch.testing.assert_close(sheet["encoded"], method.G(batch.x, method.E(batch.y)[0]))
        torch.testing.assert_close(sheet["random 2"], method.translate(batch.x, style=method.draw_styles(4, seed=0)[1]))


def test_saved_weights_translate_the_same(tiny, pair, tmp_path) -> None:
    method, x = taught(tiny, pair), pair(seed=9).x
    torch.save(method.generator_weights(), tmp_path / "weights.pt")
    other = tiny("bicyclegan", seed=5).eval()
    (style,) = method.draw_styles(1, seed=0)
    with torch.no_grad():
        assert not torch.equal(other.translate(x, style=style), method.translate(x, style=style))
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=False)
        assert torch.equal(other.translate(x, style=style), method.translate(x, style=style))
        assert torch.equal(other.encode_style(x), method.encode_style(x))


# Building


def test_the_published_defaults() -> None:
    config = configure("bicyclegan", []).replaced("the test", data={"x": {"channels": 3}, "y": {"channels": 3}})
    with torch.device("meta"):
        method = build(config)
    counts = {name: sum(p.numel() for n in networks for p in n.parameters()) for name, networks in method.players().items()}
    assert counts == {"G": 54_794_627, "E": 2_590_032, "D": 3_458_978, "D2": 3_458_978}
    assert config.train.batch == 2
    assert (method.accepts().stride, method.smallest_crop(), method.reversible) == (256, 256, False)
    assert list(method.generators()) == ["G", "E"]


def test_the_crop_suits_every_network(tiny) -> None:
    assert tiny("bicyclegan").smallest_crop() == 11  # two scales of one layer
    assert tiny("bicyclegan", encoder={"blocks": 5}).smallest_crop() == 32
    assert tiny("bicyclegan", generator={"depth": 6}).smallest_crop() == 64


def test_starting_weights_are_xavier_with_the_published_gain() -> None:
    torch.manual_seed(0)
    config = configure("bicyclegan", []).model
    small = config.model_copy(update={"generator": config.generator.model_copy(update={"depth": 4, "width": 16})})
    weight = BicycleGAN(small, Domain.of(3), Domain.of(3)).G.model.submodule.down[1].weight
    fan_in, fan_out = (16 + 8) * 16, 32 * 16
    assert weight.std().item() == pytest.approx(0.02 * (2 / (fan_in + fan_out)) ** 0.5, rel=0.05)
