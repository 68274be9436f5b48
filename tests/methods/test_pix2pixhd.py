from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from i2i.config import Layer
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses.matching import feature_matching
from i2i.method import Batch
from i2i.methods.pix2pixhd import Pix2PixHD
from i2i.models import configure
from i2i.networks.coarse_to_fine import GlobalGenerator, LocalEnhancer
from i2i.networks.instances import FeatureMemory, boundaries, instance_mean
from i2i.training.precision import Precision
from i2i.training.update import Updater

TINY = {
    "generator": {"width": 4, "halvings": 2, "blocks": 1},
    "discriminator": {"layers": 1, "width": 4},
    "encoder": {"width": 2, "halvings": 2},
    "lambda_perceptual": 0,
}
LOCAL = {"generator": {"width": 2, "enhancers": 1, "local_blocks": 1}}
CLASSES = 5


def made(*, instances: bool = True, seed: int = 0, y_channels: int = 3, **model) -> Pix2PixHD:
    """A very small method for label maps of 5 classes, the last of them void."""
    config = configure("pix2pixhd", [Layer("tiny", {"model": TINY}), Layer("the test", {"model": model})])
    torch.manual_seed(seed)
    x = Domain(channels=CLASSES, labels=True, void=(255,), instances=instances)
    return Pix2PixHD(config.model, x, Domain.of(y_channels))


def scene(*, batch: int = 1, height: int = 16, width: int = 16, seed: int = 1, instances: bool = True) -> Batch:
    """Blocks of 4x4 pixels with random labels, each block a thing; a photo whose colours depend on the labels."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, CLASSES, (batch, 1, -(-height // 4), -(-width // 4)), generator=generator)
    number = torch.arange(blocks[0].numel()).view_as(blocks[:1]) + 1000 * blocks

    def grown(ids: Tensor) -> Tensor:
        return ids.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :height, :width]

    labels = grown(blocks)
    x = torch.zeros(batch, CLASSES, height, width).scatter_(1, labels, 1)
    colours = torch.rand(CLASSES, 3, generator=generator) * 2 - 1
    y = colours[labels[:, 0]].movedim(-1, 1) + 0.1 * torch.randn(batch, 3, height, width, generator=generator)
    return Batch(x, y.clamp(-1, 1), grown(number) if instances else None)


def weights(networks: list[nn.Module]) -> list[Tensor]:
    return [p.detach().clone() for network in networks for p in network.parameters()]


def differ(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def moved(method: Pix2PixHD, batch: Batch) -> set[str]:
    """The players of whom one step moved a weight."""
    before = {name: weights(networks) for name, networks in method.players().items()}
    method.step(batch, Updater(method))
    return {name for name, networks in method.players().items() if differ(before[name], weights(networks))}


# A step


def test_one_step_is_the_generator_then_the_discriminator(recording) -> None:
    update = recording()
    made().step(scene(), update)
    assert update.calls == [(("G",), ["gan", "feat"]), (("D",), ["real", "fake"])]


def test_both_players_judge_with_the_weights_that_d_had_before(recording) -> None:
    """As published, one forward pass computes every loss: what D pays is no answer to what G learned in this step."""
    batch, method, update = scene(), made(), recording()
    method.step(batch, update)
    other = made()
    trained = Updater(other)
    other.step(batch, trained)
    for name, loss in update.losses.items():
        torch.testing.assert_close(trained.terms[name], loss.detach())


def test_the_losses_are_sums_over_scales_and_those_of_d_are_halved(recording) -> None:
    batch, method, update = scene(batch=2), made(discriminator={"scales": 3}), recording()
    output = method.step(batch, update)["output"]
    seen = torch.cat([batch.x, boundaries(batch.instances)], 1)
    fake, real = method.D(torch.cat([seen, output], 1)), method.D(torch.cat([seen, batch.y], 1))
    assert len(fake) == 3
    for name, expected in {
        "G/gan": sum((maps[-1] - 1).square().mean() for maps in fake),
        "D/fake": 0.5 * sum(maps[-1].square().mean() for maps in fake),
        "D/real": 0.5 * sum((maps[-1] - 1).square().mean() for maps in real),
        "G/feat": 10 * feature_matching(fake, real),
    }.items():
        torch.testing.assert_close(update.losses[name], expected)


def test_feature_matching_has_the_published_factor(recording) -> None:
    """lambda / scales * 4 / (layers + 1) for each layer but the logits."""
    batch, update = scene(), recording()
    method = made(discriminator={"layers": 2}, lambda_feat=7)
    output = method.step(batch, update)["output"]
    seen = torch.cat([batch.x, boundaries(batch.instances)], 1)
    pairs = zip(method.D(torch.cat([seen, output], 1)), method.D(torch.cat([seen, batch.y], 1)), strict=True)
    layers = [(f - r).abs().mean() for fake, real in pairs for f, r in zip(fake[:-1], real[:-1], strict=True)]
    assert len(layers) == 2 * 3
    torch.testing.assert_close(update.losses["G/feat"], 7 * sum(layers) / 2 * 4 / 3)


def test_the_discriminator_sees_labels_boundaries_and_the_image_and_no_features(recording) -> None:
    batch, method, seen = scene(), made(features=3), []
    method.D.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    output = method.step(batch, recording())["output"].detach()
    condition = torch.cat([batch.x, boundaries(batch.instances)], 1)
    fake, real = torch.cat([condition, output], 1), torch.cat([condition, batch.y], 1)
    assert all(torch.equal(given, fake) or torch.equal(given, real) for given in seen)
    assert {torch.equal(given, real) for given in seen} == {True, False}


def test_the_generator_sees_labels_then_boundaries_then_features(recording) -> None:
    batch, method, seen = scene(), made(features=2), []
    method.G.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    method.step(batch, recording())
    features = instance_mean(method.E(batch.y), batch.instances)
    torch.testing.assert_close(seen[0], torch.cat([batch.x, boundaries(batch.instances), features], 1))


def test_the_losses_of_the_discriminator_reach_nobody_else(recording) -> None:
    update, method = recording(), made(features=2)
    method.step(scene(), update)
    loss = update.losses["D/real"] + update.losses["D/fake"]
    others = [*method.G.parameters(), *method.E.parameters()]
    assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True))


def test_d_is_shown_pairs_again_from_a_history(recording) -> None:
    method, batch = made(history=2), scene()
    for _ in range(3):
        method.step(batch, recording())
    assert method.history.images.shape == (2, CLASSES + 1 + 3, 16, 16)
    assert torch.equal(method.history.images[0, :CLASSES], batch.x[0])
    assert made().history.images.numel() == 0


def test_one_pair_is_learned_by_heart() -> None:
    method, batch = made(lambda_l1=10, generator={"width": 8}), scene(seed=3)
    update = Updater(method, lr=2e-3)
    method.step(batch, update)
    first = update.terms["G/l1"].item()
    for _ in range(60):
        method.step(batch, update)
    assert update.terms["G/l1"].item() < 0.3 * first


@pytest.mark.parametrize("gan", ["vanilla", "lsgan", "hinge", "wgan-gp", {"kind": "lsgan", "relativistic": True}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_kind_of_game_can_be_played(gan, precision) -> None:
    method = made(gan=gan, features=2, discriminator={"spectral_norm": True}, **LOCAL)
    form = Precision(precision, torch.device("cpu"))
    update = Updater(method, precision=form)
    for seed in range(2):
        with form.autocast():
            method.step(scene(batch=2, seed=seed), update)
    assert all(torch.isfinite(t).all() for t in [*update.terms.values(), *method.state_dict().values()])
    assert method.memory.features.dtype == torch.float32


@pytest.mark.parametrize("generator", [{"upsample": "resize"}, {"norm": "batch"}, {"enhancers": 2}, {"blocks": 0}])
def test_other_networks_can_play(generator) -> None:
    method = made(generator=generator, discriminator={"norm": "batch", "scales": 1})
    update = Updater(method)
    sheet = method.step(scene(batch=2, height=32, width=32), update)
    assert sheet["output"].shape == (2, 3, 32, 32)
    assert all(torch.isfinite(t) for t in update.terms.values())


# Coarse to fine


def test_the_coarse_part_waits_and_then_learns() -> None:
    """In one run: what is released must be known to the optimizer that goes on."""
    method, batch = made(fix_epochs=2, **LOCAL), scene()
    update, found = Updater(method), []
    for update.epoch in (0.0, 1.0, 1.99, 2.0, 3.0):
        before = {name: weights(networks) for name, networks in method.players().items()}
        method.step(batch, update)
        found.append({name for name, networks in method.players().items() if differ(before[name], weights(networks))})
    assert found == 3 * [{"G", "D"}] + 2 * [{"G", "coarse", "D"}]


def test_every_coarse_weight_learns_after_the_switch() -> None:
    method, batch = made(fix_epochs=1, **LOCAL), scene()
    update, start = Updater(method), weights([method.G.model])
    method.step(batch, update)
    assert not differ(start, weights([method.G.model]))
    update.epoch = 1.0
    method.step(batch, update)
    changed = [not torch.equal(a, b) for a, b in zip(start, weights([method.G.model]), strict=True)]
    kernels = [p.ndim == 4 for p in start]  # a bias in front of instance norm has no effect
    assert all(c for c, kernel in zip(changed, kernels, strict=True) if kernel)


def test_nobody_waits_unless_asked(recording) -> None:
    update = recording()
    made(**LOCAL).step(scene(), update)
    assert update.calls[0][0] == ("G", "coarse")


def test_the_encoder_does_not_wait(recording) -> None:
    update = recording()
    made(fix_epochs=2, features=2, **LOCAL).step(scene(), update)
    assert update.calls[0][0] == ("G", "E")


@pytest.mark.parametrize("enhancers", [0, 1, 2])
def test_every_weight_of_g_belongs_to_one_player(enhancers) -> None:
    method = made(generator={"enhancers": enhancers})
    owned = [p for name in ("G", "coarse") for part in method.players().get(name, []) for p in part.parameters()]
    assert len(owned) == len(set(owned))
    assert set(owned) == set(method.G.parameters())


def test_what_cannot_wait_is_said() -> None:
    with pytest.raises(UserError, match="fix_epochs holds what is inside of the enhancers"):
        made(fix_epochs=3)


def test_the_kind_of_generator_follows_from_the_enhancers() -> None:
    assert isinstance(made().G, GlobalGenerator)
    assert isinstance(made(**LOCAL).G, LocalEnhancer)


# What comes in


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (19, 30), (31, 23)])
def test_any_size_from_the_smallest_on_can_be_trained_on(height, width) -> None:
    for more in ({}, LOCAL, {"features": 2}):
        method = made(**more)
        assert method.crop_stride() == 1
        assert min(height, width) >= method.smallest_crop()
        sheet = method.step(scene(height=height, width=width), Updater(method))
        assert {tuple(t.shape[-2:]) for t in sheet.values()} == {(height, width)}


def test_the_smallest_crop_can_be_trained_on() -> None:
    for more in ({}, LOCAL, {"features": 2, "encoder": {"halvings": 5}}, {"discriminator": {"scales": 5}}):
        method = made(**more)
        side = method.smallest_crop()
        method.step(scene(height=side, width=side), Updater(method))


def test_what_is_unlabelled_is_a_class_of_its_own_and_can_fill_an_image() -> None:
    void = Batch(torch.zeros(1, CLASSES, 16, 16), scene().y, torch.zeros(1, 1, 16, 16, dtype=torch.int64))
    void.x[:, -1] = 1
    method = made(features=2)
    update = Updater(method)
    method.step(void, update)
    assert all(torch.isfinite(t) for t in update.terms.values())
    assert method.memory.written.tolist() == [0, 0, 0, 0, 1]


def test_photos_need_no_labels(pair) -> None:
    config = configure("pix2pixhd", [Layer("tiny", {"model": TINY})])
    method = Pix2PixHD(config.model, Domain.of(1), Domain.of(3))
    x, y, *_ = pair(x_channels=1, size=17)
    assert method.G.model[1].in_channels == 1
    assert moved(method, Batch(x, y)) == {"G", "D"}
    assert method.eval().translate(x).shape == (1, 3, 17, 17)
    assert list(method.sheet(Batch(x, y))) == ["input", "output", "target"]


def test_without_labels_the_whole_image_is_one_thing(pair) -> None:
    config = configure("pix2pixhd", [Layer("tiny", {"model": TINY | {"features": 2}})])
    method = Pix2PixHD(config.model, Domain.of(3), Domain.of(3))
    batch = pair(batch=2)
    method.step(batch, Updater(method))
    assert method.memory.shares[0, :3].tolist() == [1, 1, 0]
    assert method.eval().translate(batch.x).shape == batch.y.shape


def test_label_maps_without_instances_have_no_boundaries(recording) -> None:
    method, batch = made(instances=False, features=2), scene(instances=False)
    assert method.G.model[1].in_channels == CLASSES + 2
    assert "boundaries" not in method.step(batch, recording())
    assert method.memory.written.sum() == len(batch.x.argmax(1).unique())  # all of a label is one thing


def test_a_model_that_sees_boundaries_asks_for_instances() -> None:
    with pytest.raises(UserError, match="sees the boundaries of things"):
        made().eval().translate(scene().x)


def test_a_sheet_shows_input_boundaries_output_and_target(recording) -> None:
    batch, method = scene(), made().eval()
    sheet = method.sheet(batch)
    assert list(sheet) == list(method.step(batch, recording())) == ["input", "boundaries", "output", "target"]
    assert torch.equal(sheet["boundaries"] > 0, boundaries(batch.instances))
    assert torch.equal(sheet["output"], method.translate(batch.x, instances=batch.instances))


# Features


def taught(**model) -> Pix2PixHD:
    method = made(**{"features": 2, **model})
    update = Updater(method, lr=1e-2)
    for seed in range(3):
        method.step(scene(batch=2, seed=seed), update)
    return method.eval()


def test_the_encoder_learns_with_the_generator(recording) -> None:
    update, method = recording(), made(features=2)
    method.step(scene(), update)
    loss = update.losses["G/gan"] + update.losses["G/feat"]
    gradients = torch.autograd.grad(loss, [p for p in method.E.parameters() if p.ndim == 4])
    assert all(g.abs().sum() > 0 for g in gradients)
    assert moved(made(features=2), scene()) == {"G", "E", "D"}


def test_features_are_remembered_by_label_with_the_share_of_the_image(recording) -> None:
    batch, method = scene(batch=2), made(features=2)
    method.step(batch, recording())
    features = instance_mean(method.E(batch.y), batch.instances).detach()
    labels = batch.x.argmax(1)
    for label in range(CLASSES):
        vectors = {tuple(v.tolist()) for v in features.movedim(1, -1)[labels == label]}
        kept = method.memory.shares[label] > 0
        assert {tuple(v.tolist()) for v in method.memory.features[label][kept]} == vectors
        assert method.memory.shares[label].sum() == pytest.approx((labels == label).float().mean().item() * 2, abs=1e-6)


def test_looking_learns_and_remembers_nothing() -> None:
    method = taught()
    before = {key: t.clone() for key, t in method.state_dict().items()}
    method.sheet(scene(seed=9))
    assert all(torch.equal(t, before[key]) for key, t in method.state_dict().items())


def test_without_a_style_every_label_looks_like_its_most_common_kind() -> None:
    method, batch, seen = taught(), scene(seed=9), []
    method.G.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -2:]))
    method.translate(batch.x, instances=batch.instances)
    kinds = method.memory.kinds(10)
    for label in range(CLASSES):
        shown = seen[0].movedim(1, -1)[batch.x.argmax(1) == label].unique(dim=0)
        torch.testing.assert_close(shown, kinds[label][:1])


def test_a_style_can_be_chosen_label_by_label() -> None:
    method = taught()
    kinds = method.memory.kinds(10)
    label = next(n for n, found in enumerate(kinds) if len(found) > 1)
    style = method.choose_style({label: 1})
    assert torch.equal(style[label], kinds[label][1])
    assert all(torch.equal(style[n], kinds[n][0]) for n in range(CLASSES) if n != label)
    with pytest.raises(UserError, match="there is no label 99"):
        method.choose_style({99: 0})
    with pytest.raises(UserError, match=f"label {label} has no kind 50"):
        method.choose_style({label: 50})
    with pytest.raises(UserError, match="no kinds to choose from"):
        made().choose_style({0: 0})


def test_styles_are_drawn_from_the_kinds_of_each_label_and_change_the_output() -> None:
    method, batch = taught(), scene(seed=9)
    a, b, *_ = styles = method.draw_styles(6, seed=1)
    assert torch.equal(a, method.draw_styles(1, seed=1)[0])
    assert not torch.equal(a, b)
    kinds = method.memory.kinds(10)
    assert all(any(torch.equal(style[n], k) for k in kinds[n]) for style in styles for n in range(CLASSES))
    outputs = method.samples(batch.x, [a, b], instances=batch.instances)
    assert not torch.allclose(*outputs, atol=1e-5)


def test_a_style_can_come_from_a_photo_and_is_averaged_over_the_things_of_the_input() -> None:
    method, batch, seen = taught(), scene(seed=9), []
    photo = scene(seed=8, height=24, width=20).y
    method.G.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -2:]))
    style = method.encode_style(photo)
    assert style.shape == (1, 2, 24, 20)
    method.translate(batch.x, instances=batch.instances, style=style)
    for thing in batch.instances.unique():
        shown = seen[0].movedim(1, -1)[batch.instances[:, 0] == thing]
        assert torch.allclose(shown, shown[:1])
    method.translate(batch.x, instances=batch.instances, style=method.encode_style(batch.y))
    torch.testing.assert_close(seen[1], instance_mean(method.E(batch.y), batch.instances))


def test_many_images_can_share_the_style_of_one_photo() -> None:
    method, batch = taught(), scene(batch=2, seed=9)
    style = method.encode_style(scene(seed=8).y)
    assert method.translate(batch.x, instances=batch.instances, style=style).shape == batch.y.shape


def test_without_features_one_input_has_one_output() -> None:
    method = made()
    assert list(method.generators()) == ["G"]
    for ask in (lambda: method.draw_styles(1, 0), lambda: method.encode_style(scene().y)):
        with pytest.raises(UserError, match="this model"):
            ask()


# The memory


def remembered(*things: tuple[int, float, float], labels: int = 3) -> FeatureMemory:
    """A memory with a (label, feature, share) for each thing."""
    memory = FeatureMemory(labels, 1, size=4)
    for label, feature, share in things:
        slot = int(memory.written[label])
        memory.features[label, slot], memory.shares[label, slot] = feature, share
        memory.written[label] += 1
    return memory


def test_large_things_decide_then_all_of_a_label_then_everything() -> None:
    memory = remembered((0, 5, 0.5), (0, 1, 0.01), (1, 2, 1 / 64), (1, 4, 0.001))
    assert [kinds.tolist() for kinds in memory.kinds(1)] == [[[5]], [[3]], [[3]]]


def test_a_memory_of_nothing_is_zero() -> None:
    assert [kinds.tolist() for kinds in FeatureMemory(2, 3).kinds(10)] == [[[0, 0, 0]]] * 2


def test_the_oldest_features_give_way() -> None:
    memory = FeatureMemory(2, 1, size=3)
    for value in range(5):
        memory.remember(torch.full((1, 1, 2, 2), float(value)), *[torch.ones(1, 1, 2, 2, dtype=torch.int64)] * 2)
    assert memory.features[1, :, 0].tolist() == [3, 4, 2]
    assert memory.shares.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_more_things_than_fit_fill_the_memory_once() -> None:
    memory = FeatureMemory(1, 1, size=3)
    things = torch.arange(4).view(1, 1, 2, 2)
    memory.remember(things.float() + 1, things, torch.zeros_like(things))
    assert memory.features.flatten().tolist() == [1, 2, 3]
    assert memory.written.tolist() == [3]


# Translation


def test_an_image_is_translated_as_if_it_were_alone() -> None:
    method, batch = taught(generator={"norm": "batch"}), scene(batch=3, seed=9)
    with torch.no_grad():
        together = method.translate(batch.x, instances=batch.instances)[:1]
        alone = method.translate(batch.x[:1], instances=batch.instances[:1])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("features", [0, 2])
def test_saved_generators_translate_the_same(features, tmp_path) -> None:
    method, batch = taught(features=features, **LOCAL), scene(seed=9)
    torch.save(method.generator_weights(), tmp_path / "weights.pt")
    other = made(features=features, seed=5, **LOCAL).eval()
    with torch.no_grad():
        expected = method.translate(batch.x, instances=batch.instances)
        assert not torch.equal(other.translate(batch.x, instances=batch.instances), expected)
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=False)
        assert torch.equal(other.translate(batch.x, instances=batch.instances), expected)
        if features:
            assert torch.equal(other.draw_styles(1, 7)[0], method.draw_styles(1, 7)[0])


def test_what_is_accepted() -> None:
    plain, local, things = made(instances=False).accepts(), made(instances=False, **LOCAL).accepts(), made().accepts()
    assert (plain.stride, plain.smallest, plain.halo) == (4, 8, GlobalGenerator.halo(2, 1))
    assert (local.stride, local.smallest, local.halo) == (8, 16, LocalEnhancer.halo(2, 1, 1, 1))
    assert things.halo == plain.halo + 1  # a boundary looks at a neighbour
    assert made(features=2).accepts().halo is None


# Building


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        ({}, {"G": 182_546_755, "D": 5_603_202}),
        ({"features": 3}, {"G": 182_556_163, "E": 788_803, "D": 5_603_202}),
        (
            {"generator": {"width": 32, "enhancers": 1}, "discriminator": {"scales": 3}},
            {"G": 319_715, "coarse": 182_546_755 - (64 * 49 * 3 + 3), "D": 8_404_803},
        ),
    ],
)
def test_the_published_networks(model, counts) -> None:
    config = configure("pix2pixhd", [Layer("the test", {"model": model})]).model
    with torch.device("meta"):
        method = Pix2PixHD(config, Domain(channels=35, labels=True, instances=True), Domain.of(3))
    found = {name: sum(p.numel() for n in networks for p in n.parameters()) for name, networks in method.players().items()}
    assert found == counts
    assert found["G"] + found.get("coarse", 0) == sum(p.numel() for p in method.G.parameters())


def test_the_published_defaults() -> None:
    config = configure("pix2pixhd", []).model
    assert (config.gan.kind, config.lambda_feat, config.lambda_perceptual, config.lambda_l1) == ("lsgan", 10, 10, 0)
    assert (config.features, config.clusters, config.fix_epochs, config.history) == (0, 10, 0, 0)
    perceptual = config.perceptual
    assert (perceptual.network, perceptual.normalize, perceptual.distance) == ("vgg19", "none", "l1")
    assert list(perceptual.taps.values()) == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
    assert (Pix2PixHD.data, Pix2PixHD.scenes, Pix2PixHD.reads) == ("paired", "labels", {"instances", "region"})


def test_the_perceptual_loss_is_looked_for_before_training(monkeypatch) -> None:
    method = made(lambda_perceptual=1)
    asked = []
    monkeypatch.setattr(method, "matching", SimpleNamespace(require=asked.append))
    method.require()
    assert asked == [3]
