import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from i2i.methods.parts import Discriminator, Generator, Initial
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
    assert output(network, smallest).shape == (1, 1, 1, 1)
    if kind == "patch":
        with pytest.raises((RuntimeError, ValueError)):
            output(network, smallest - 1)


def test_the_halo_belongs_to_the_way_of_upsampling() -> None:
    assert Generator(kind="resnet", blocks=9).accepts().halo == 84
    assert Generator(kind="resnet", blocks=9, upsample="resize").accepts().halo == 87
    assert Generator(kind="unet").accepts().halo is None


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
