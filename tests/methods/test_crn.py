import pytest
import torch
from torch.nn import functional

from i2i.errors import UserError
from i2i.losses.matching import l1, total_variation
from i2i.losses.perceptual import CRN_TAPS
from i2i.method import Batch
from i2i.models import build, configure
from i2i.training.precision import Precision
from i2i.training.update import Updater


class Stub:
    """Features of three sizes from random convolutions, in place of those of a network for photographs."""

    distance = staticmethod(functional.l1_loss)

    def __init__(self, lambdas) -> None:
        self.lambdas = lambdas
        generator = torch.Generator().manual_seed(0)
        self.kernels = {f"relu{n}_2": torch.randn(4, 3, 3, 3, generator=generator) * n for n in range(1, 6)}

    def taps(self, image):
        found = {"input": 100 * image}
        for n, (tap, kernel) in enumerate(self.kernels.items()):
            found[tap] = functional.relu(functional.conv2d(functional.avg_pool2d(image, 2**n), kernel.to(image), padding=1))
        return {tap: found[tap] for tap in self.lambdas}

    def terms(self, fake, real):
        """The mean distance at each tap."""
        with torch.no_grad():
            return {tap: l1(a, b) for (tap, a), b in zip(self.taps(fake).items(), self.taps(real).values(), strict=True)}

    smallest = 16

    def require(self, channels) -> None:
        raise UserError("there are no weights here")


@pytest.fixture
def seeing(tiny):
    """`seeing(images=3)`: a tiny method with the perceptual loss on the stub, for label maps of 5 classes."""

    def made(*, labels: bool = True, **model):
        method = tiny("crn", x_channels=5, **{"lambda_l1": 0, "lambda_perceptual": 1, **model})
        method.perceptual = Stub({tap: w for tap, w in method.perceptual.lambdas.items() if w})
        method.x = method.x.model_copy(update={"labels": labels})
        return method

    return made


@pytest.fixture
def scene(pair):
    """`scene(seed=1)`: a one-hot label map of 5 classes in upright stripes, and the same stripes in noisy colours."""

    def drawn(*, batch: int = 1, seed: int = 1, height: int = 16, width: int = 16):
        generator = torch.Generator().manual_seed(seed)
        stripes = torch.randint(5, (batch, 1, width // 4), generator=generator).repeat_interleave(4, 2)
        x = functional.one_hot(stripes.expand(batch, height, width), 5).permute(0, 3, 1, 2).float()
        colours = torch.einsum("bphw,pc->bchw", x, torch.rand(5, 3, generator=generator) * 1.8 - 0.9)
        return Batch(x, colours + 0.1 * torch.rand(batch, 3, height, width, generator=generator))

    return drawn


def plain(method, fake, real):
    """The published loss of one image."""
    return sum(CRN_TAPS[tap] * distance for tap, distance in method.perceptual.terms(fake, real).items())


# One step


def test_one_step_is_the_generator_alone(tiny, seeing, pair, scene, recording) -> None:
    update = recording()
    seeing().step(scene(), update)
    assert update.calls == [(("G",), ["perceptual"])]
    update = recording()
    tiny("crn").step(pair(), update)
    assert update.calls == [(("G",), ["l1"])]
    update = recording()
    seeing(lambda_l1=1, lambda_tv=1).step(scene(), update)
    assert update.calls == [(("G",), ["perceptual", "l1", "tv"])]


def test_one_image_pays_the_plain_sum_of_its_taps(seeing, scene, recording) -> None:
    update, method, batch = recording(), seeing(balance=0, lambda_perceptual=2), scene(batch=2)
    output = method.step(batch, update)["output"]
    torch.testing.assert_close(update.losses["G/perceptual"], 2 * plain(method, output, batch.y))


def test_of_many_images_the_best_in_each_class_counts(seeing, scene, recording) -> None:
    """With one tap that sees single pixels the loss can be told by hand."""
    only_pixels = {"taps": dict.fromkeys(CRN_TAPS, 0) | {"input": 1}}
    update, method, batch = recording(), seeing(images=3, balance=0, perceptual=only_pixels), scene()
    images = method.G(batch.x)
    distances = 100 * (images - batch.y[:, None]).abs().mean(2)
    errors = torch.stack([(distances * batch.x[:, [p]]).mean((2, 3)) for p in range(5)], 2)
    method.step(batch, update)
    wanted = (0.999 * errors.amin(1) + 0.001 * errors.mean(1)).sum()
    torch.testing.assert_close(update.losses["G/perceptual"], wanted)


def test_without_a_label_map_the_best_whole_image_counts(seeing, scene, recording) -> None:
    update, method, (x, y, *_) = recording(), seeing(labels=False, images=3, balance=0), scene(batch=2)
    each = [[plain(method, image[None], y[[b]]) for image in method.G(x)[b]] for b in range(2)]
    method.step(Batch(x, y), update)
    wanted = sum(0.999 * min(errors) + 0.001 * sum(errors) / 3 for errors in each) / 2
    torch.testing.assert_close(update.losses["G/perceptual"], wanted)


def test_l1_is_paid_in_hindsight_too(seeing, scene, recording) -> None:
    update, method, batch = recording(), seeing(images=3, lambda_perceptual=0, lambda_l1=3), scene()
    images = method.G(batch.x)
    distances = (images - batch.y[:, None]).abs().mean(2)
    errors = torch.stack([(distances * batch.x[:, [p]]).mean((2, 3)) for p in range(5)], 2)
    method.step(batch, update)
    torch.testing.assert_close(update.losses["G/l1"], 3 * (0.999 * errors.amin(1) + 0.001 * errors.mean(1)).sum())


def test_other_terms_count_for_all_images_alike(tiny, pair, recording) -> None:
    update, method, batch = recording(), tiny("crn", images=2, lambda_tv=3), pair(batch=2)
    method.step(batch, update)
    images = method.G(batch.x)
    torch.testing.assert_close(update.losses["G/tv"], 3 * total_variation(images.flatten(0, 1)))


def test_the_loss_sees_values_outside_of_the_range_and_translation_does_not_give_them(tiny, pair, recording) -> None:
    update, method, (x, *_) = recording(), tiny("crn").eval(), pair()
    with torch.no_grad():
        method.G.head["3"].bias.fill_(9)
    sheet = method.step(Batch(x, torch.ones(1, 3, 16, 16)), update)
    assert update.losses["G/l1"] > 5
    assert sheet["output"].max() > 5
    assert method.translate(x).max() == 1


def test_a_partly_trained_cascade_moves_from_there_on_only(tiny, pair) -> None:
    method = tiny("crn", train_from=2)
    before = {key: t.clone() for key, t in method.state_dict().items()}
    method.step(pair(), Updater(method, lr=1e-2))
    moved = {".".join(key.split(".")[:3]) for key, t in method.state_dict().items() if not torch.equal(t, before[key])}
    assert moved == {"G.M.2", "G.head.3"}


@pytest.mark.parametrize("images", [1, 3])
def test_one_pair_is_learned_by_heart(images, seeing, scene) -> None:
    method, batch = seeing(images=images, width=1 / 64, balance=20), scene(seed=3)
    update = Updater(method, lr=3e-3)

    def distance() -> float:
        with torch.no_grad():
            return min(l1(image, batch.y).item() for image in method.G(batch.x).unbind(1))

    first = distance()
    for step in range(150):
        update.step = step
        method.step(batch, update)
    assert distance() < 0.5 * first


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_precision_trains_on_finite_numbers(precision, checkpointing, seeing, scene) -> None:
    method, form = seeing(images=2, balance=1, checkpointing=checkpointing), Precision(precision, torch.device("cpu"))
    update = Updater(method, precision=form)
    for step in range(3):
        update.step = step
        with form.autocast():
            method.step(scene(batch=2, seed=step), update)
    assert all(torch.isfinite(t).all() for t in [*update.terms.values(), *method.state_dict().values()])


# The weights of the taps


def test_taps_are_measured_and_then_weigh_the_same(seeing, scene, recording) -> None:
    method, terms = seeing(balance=3), []
    for step in range(3):
        batch = scene(seed=step)
        fake = method.step(batch, recording(step))["output"]
        terms.append(torch.stack(list(method.perceptual.terms(fake, batch.y).values())))
    means = torch.stack(terms).mean(0)
    torch.testing.assert_close(method.means, means)

    update, batch = recording(3), scene(seed=1)
    fake = method.step(batch, update)["output"]
    now = torch.stack(list(method.perceptual.terms(fake, batch.y).values()))
    torch.testing.assert_close(update.losses["G/perceptual"], (now * means[0] / means).sum())
    torch.testing.assert_close(method.means, means)  # and it stays so


def test_while_taps_are_measured_the_means_so_far_count(seeing, scene, recording) -> None:
    """So nothing jumps when they freeze."""
    update, method, batch = recording(), seeing(balance=3), scene()
    fake = method.step(batch, update)["output"]
    torch.testing.assert_close(update.losses["G/perceptual"], 6 * method.perceptual.terms(fake, batch.y)["input"])


def test_a_new_stage_measures_anew(seeing, scene, recording) -> None:
    method = seeing(balance=2)
    method.means.fill_(1e6)
    method.step(scene(), recording(0))
    assert method.means.max() < 1e4


def test_what_was_measured_is_saved_so_that_a_resumed_run_goes_on_bit_for_bit(seeing, scene) -> None:
    def trained(method, update, steps):
        for step in steps:
            update.step = step
            method.step(scene(seed=step), update)
        return method

    first = seeing(balance=4)
    straight = trained(first, Updater(first), range(6))
    half = seeing(balance=4)
    update = Updater(half)
    trained(half, update, range(2))
    resumed = seeing(balance=4, seed=5)
    resumed.load_state_dict({key: t.clone() for key, t in half.state_dict().items()})
    again = Updater(resumed)
    again.load_state_dict(update.state_dict())
    trained(resumed, again, range(2, 6))
    assert "means" in straight.state_dict()
    assert all(torch.equal(t, resumed.state_dict()[key]) for key, t in straight.state_dict().items())


# Translation and styles


def test_styles_are_the_numbers_of_the_images_and_the_first_is_the_usual_one(tiny, pair) -> None:
    method, (x, *_) = tiny("crn", images=3).eval(), pair(batch=2)
    with torch.no_grad():
        images = method.G(x).clamp(-1, 1)
        styles = method.draw_styles(3, seed=0)
        assert all(torch.equal(a, b) for a, b in zip(styles, method.draw_styles(3, seed=7), strict=True))
        assert all(torch.equal(method.translate(x, style=style), images[:, u]) for u, style in enumerate(styles))
        assert torch.equal(method.translate(x), images[:, 0])


def test_the_image_that_was_the_best_most_often_comes_first(tiny, pair) -> None:
    method, x = tiny("crn", images=3).eval(), pair().x
    with torch.no_grad():
        unordered = method.G(x).clamp(-1, 1)
        for best in (1, 2, 2, 2, 1):
            errors = torch.ones(1, 3)
            errors[0, best] = 0
            method.G.remember(errors)
        assert method.G.best_first().tolist() == [2, 1, 0]
        assert torch.equal(method.translate(x), unordered[:, 2])
        for output, u in zip(method.samples(x, method.draw_styles(3, 0)), (2, 1, 0), strict=True):
            assert torch.equal(output, unordered[:, u])


def test_which_image_was_the_best_is_remembered_in_a_step_and_saved(tiny, pair, recording) -> None:
    method = tiny("crn", images=3)
    method.step(pair(batch=2), recording())
    wins = method.state_dict()[f"G.head.{len(method.G.M)}.wins"]
    assert wins.sum().item() == pytest.approx(0.01)


def test_all_images_come_from_one_pass(tiny, pair) -> None:
    method, (x, *_) = tiny("crn", images=3).eval(), pair()
    passes = []
    method.G.register_forward_hook(lambda *_: passes.append(1))
    outputs = method.samples(x, [*method.draw_styles(3, 0), None])
    assert len(passes) == 1
    assert torch.equal(outputs[3], outputs[0])
    assert not torch.equal(outputs[1], outputs[0])


def test_more_images_than_there_are_cannot_be_had(tiny) -> None:
    with pytest.raises(UserError, match="4 outputs are asked for, and this model makes 3 of an input"):
        tiny("crn", images=3).draw_styles(4, 0)


def test_an_image_is_translated_as_if_it_were_alone(seeing, scene) -> None:
    method, (x, *_) = seeing().eval(), scene(batch=3)
    with torch.no_grad():
        torch.testing.assert_close(method.translate(x)[:1], method.translate(x[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 24), (20, 12)])
def test_every_size_that_it_accepts_is_kept(height, width, seeing, scene) -> None:
    method, (x, *_) = seeing().eval(), scene(height=height, width=width)
    assert height % method.accepts().stride == width % method.accepts().stride == 0
    assert min(height, width) >= method.accepts().smallest
    assert method.translate(x).shape == (1, 3, height, width)


def test_a_sheet_shows_input_three_outputs_at_most_and_target(tiny, pair, recording) -> None:
    batch = pair(batch=2)
    assert list(tiny("crn").sheet(batch)) == list(tiny("crn").step(batch, recording())) == ["input", "output", "target"]
    sheet = tiny("crn", images=5).eval().sheet(batch)
    assert list(sheet) == ["input", "output", "output 2", "output 3", "target"]
    assert {t.shape for t in sheet.values()} == {(2, 3, 16, 16)}


def test_saved_weights_translate_the_same(tiny, pair, tmp_path) -> None:
    method, batch = tiny("crn"), pair(seed=9)
    method.step(batch, Updater(method, lr=1e-2))
    method.eval()
    torch.save(method.generator_weights(), tmp_path / "weights.pt")
    other = tiny("crn", seed=5).eval()
    with torch.no_grad():
        assert not torch.equal(other.translate(batch.x), method.translate(batch.x))
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=False)
        assert torch.equal(other.translate(batch.x), method.translate(batch.x))


# Building


def test_the_published_defaults() -> None:
    sides = {"x": {"channels": 20}, "y": {"channels": 3}}
    config = configure("crn", []).replaced("the test", data=sides)
    with torch.device("meta"):
        method = build(config)
    counts = {name: sum(p.numel() for n in networks for p in n.parameters()) for name, networks in method.players().items()}
    assert counts == {"G": 97_863_171}
    train = config.train
    assert (train.lr, train.betas, train.schedule, train.epochs) == (1e-4, (0.9, 0.999), "constant", 200)
    assert (method.accepts().stride, method.accepts().halo, method.reversible) == (64, None, False)
    assert all(t.is_meta for t in method.state_dict().values())


def test_a_width_factor_applies_to_every_module(tiny) -> None:
    method = tiny("crn", modules=9, width=1 / 16)
    assert [module.model[0].out_channels for module in method.G.M] == [64, 64, 64, 64, 64, 32, 32, 8, 2]


def test_what_needs_a_feature_network_says_so_before_training(tiny, seeing) -> None:
    tiny("crn").require()
    with pytest.raises(UserError):
        seeing().require()


@pytest.mark.parametrize(("setting", "value", "why"), [("lambda_feat", 1, "discriminator"), ("train_from", 4, "3 modules")])
def test_settings_that_mean_nothing_are_refused(setting, value, why, tiny) -> None:
    with pytest.raises(UserError, match=why):
        tiny("crn", **{setting: value})


def test_crops_are_large_enough_for_the_deepest_tap(tiny, seeing) -> None:
    assert (tiny("crn").smallest_crop(), seeing().smallest_crop(), seeing(modules=6).smallest_crop()) == (4, 16, 32)


def test_the_seed_decides_the_start(tiny) -> None:
    a, b, c = tiny("crn", seed=1), tiny("crn", seed=1), tiny("crn", seed=2)
    assert torch.equal(a.G.M[0].model[0].weight, b.G.M[0].model[0].weight)
    assert not torch.equal(a.G.M[0].model[0].weight, c.G.M[0].model[0].weight)
