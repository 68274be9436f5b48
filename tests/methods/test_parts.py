import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from i2i.errors import UserError
from i2i.methods.parts import Discriminator, Features, Gan, Generator, Initial, Matching
from i2i.networks.layers import BatchNorm2d
from i2i.networks.patchgan import PixelGAN


def output(network: nn.Module, side: int, channels: int = 3) -> Tensor:
    with torch.no_grad():
        return network(torch.rand(1, channels, side, side))


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("kind", ["unet", "resnet"])
def test_a_generator_works_on_the_smallest_image_it_accepts_and_not_below(kind, norm, upsample) -> None:
    settings = Generator(kind=kind, depth=3, blocks=1, width=2, norm=norm, upsample=upsample)
    network, accepts = settings.build(3, 2, Initial()), settings.accepts()
    for training in (True, False):
        network.train(training)
        assert output(network, accepts.smallest).shape == (1, 2, accepts.smallest, accepts.smallest)
        odd = 3 * accepts.stride
        assert output(network, max(odd, accepts.smallest)).shape[-1] == max(odd, accepts.smallest)
    with pytest.raises((RuntimeError, ValueError)):
        output(network, accepts.smallest - accepts.stride)


@pytest.mark.parametrize("kind", ["unet", "resnet"])
def test_a_size_that_is_no_multiple_of_the_stride_does_not_come_back_as_it_was(kind) -> None:
    settings = Generator(kind=kind, depth=3, blocks=1, width=2)
    side = settings.accepts().stride * 3 + 1
    assert output(settings.build(3, 3, Initial()), side).shape[-1] != side


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(("kind", "layers"), [("patch", 1), ("patch", 3), ("pixel", 3)])
def test_a_discriminator_works_on_the_smallest_image_it_says_and_not_below(kind, layers, norm) -> None:
    settings = Discriminator(kind=kind, layers=layers, width=2, norm=norm)
    network, smallest = settings.build(3, Initial()).eval(), settings.smallest()
    assert output(network, smallest)[0][-1].shape == (1, 1, 1, 1)
    if kind == "patch":
        with pytest.raises((RuntimeError, ValueError)):
            output(network, smallest - 1)


def test_the_halo_belongs_to_the_way_of_upsampling() -> None:
    assert Generator(kind="resnet", blocks=9).accepts().halo == 84
    assert Generator(kind="resnet", blocks=9, upsample="resize").accepts().halo == 87
    assert Generator(kind="unet").accepts().halo == 765


def test_generators_translate_with_the_statistics_of_the_image() -> None:
    norms = [
        m
        for m in Generator(kind="unet", depth=3, width=2, norm="batch").build(3, 3, Initial()).modules()
        if isinstance(m, BatchNorm2d)
    ]
    assert norms
    assert all(norm.use_image_statistics for norm in norms)


def test_spectral_norm_covers_every_convolution_of_a_discriminator() -> None:
    for kind in ("patch", "pixel"):
        network = Discriminator(kind=kind, width=2, spectral_norm=True).build(3, Initial())
        assert all(parametrize.is_parametrized(m) for m in network.modules() if isinstance(m, nn.Conv2d))
    assert not any(parametrize.is_parametrized(m) for m in Discriminator(width=2).build(3, Initial()).modules())


def test_settings_choose_the_network_and_its_start() -> None:
    assert isinstance(Discriminator(kind="pixel").build(3, Initial()), PixelGAN)
    network = Generator(kind="resnet", blocks=1, width=16).build(3, 3, Initial(kind="normal", gain=0.5))
    assert network.model[10].conv_block[1].weight.std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    "settings", [Generator(), Generator(kind="unet"), Discriminator(spectral_norm=True), Discriminator(kind="pixel")]
)
def test_everything_can_be_built_without_memory(settings) -> None:
    with torch.device("meta"):
        network = settings.build(*[3] * (1 + isinstance(settings, Generator)), Initial())
    assert all(t.is_meta for t in network.state_dict().values())


# The game and what matches


def test_a_game_can_be_named_by_its_kind_alone() -> None:
    assert Gan.model_validate("hinge") == Gan(kind="hinge")
    assert Gan(kind="hinge").build(halved=False).share == 1


@pytest.mark.parametrize("kind", ["hinge", "wgan-gp"])
def test_a_smoothed_label_is_refused_where_there_are_no_labels(kind) -> None:
    with pytest.raises(ValueError, match=f"real_label means nothing to {kind}"):
        Gan(kind=kind, real_label=0.9)


def test_every_setting_of_the_game_reaches_it() -> None:
    settings = {"relativistic": True, "real_label": 0.9, "r1": 2.0, "augment": ("color",), "margin": 0.3}
    game = Gan(kind="vanilla", **settings).build()
    assert {name: getattr(game, name) for name in settings} == settings
    assert Gan(kind="wgan-gp", lambda_gp=3).build().gp == 3
    assert Gan(kind="lsgan", lambda_gp=3).build().gp == 0


def test_every_weight_of_the_matching_terms_reaches_them() -> None:
    weights = {f"lambda_{name}": i for i, name in enumerate(("l1", "region", "feat", "perceptual", "style", "tv"), 1)}
    matcher = Matching(**weights).matching()
    assert {name: getattr(matcher, name) for name in weights} == weights
    assert matcher.perceptual.lambdas == Features().taps
    assert matcher.style.lambdas == Features().style_taps
    assert "model.lambda_style=0" in matcher.style.without


def test_feature_networks_that_weigh_nothing_are_not_made() -> None:
    matcher = Matching(lambda_l1=1, perceptual=Features(taps={"relu1_1": 0.0})).matching()
    assert matcher.perceptual is matcher.style is None


def test_a_region_without_an_l1_is_refused() -> None:
    with pytest.raises(ValueError, match="lambda_region weighs the L1, and lambda_l1 is 0"):
        Matching(lambda_region=1)


def test_a_margin_is_refused_where_there_are_no_partners() -> None:
    with pytest.raises(UserError, match="keeps the features of partners apart"):
        Gan(margin=1.0).build(pairs=False)
    with pytest.raises(ValueError, match="relativistic means nothing to wgan-gp"):
        Gan(kind="wgan-gp", relativistic=True)


def test_one_policy_needs_no_brackets() -> None:
    assert Gan(augment="color").augment == ("color",)


def test_a_tap_of_weight_zero_is_left_out() -> None:
    features = Features(network="vgg16", taps={"relu1_1": 0.0, "relu2_2": 1.0})
    assert features.build().lambdas == {"relu2_2": 1.0}
