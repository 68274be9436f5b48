"""Vectors of images: the two resizes, and what is taken from a network."""

import pytest
import torch
from torch import nn
from torchvision.models import alexnet, resnet18, squeezenet1_1, vgg11

from i2i.metrics.features import FeatureNetwork, clean, legacy, of_classifier, of_inception
from i2i.networks.inception import FEATURES, fid_inception


def test_the_legacy_resize_reads_at_the_corner_of_each_pixel_as_by_hand() -> None:
    row = torch.tensor([[[[0.0, 10.0, 20.0]]]]).expand(1, 1, 2, 3)
    assert legacy(row, 6)[0, 0, 0].tolist() == [0, 5, 10, 15, 20, 20]  # the last one has no neighbour, and is repeated


def test_the_clean_resize_does_not_alias_and_the_legacy_one_does() -> None:
    stripes = torch.tensor([0.0, 255.0]).repeat(32).expand(1, 1, 64, 64)
    assert (clean(stripes, 16) - 127.5).abs().max() < 30
    assert legacy(stripes, 16).max() == 0  # every pixel that it reads is black


def test_a_resize_to_the_same_size_changes_nothing() -> None:
    image = torch.rand(1, 3, 9, 9) * 255
    assert torch.allclose(clean(image, 9), image, atol=1e-3)
    assert torch.equal(legacy(image, 9), image)


@pytest.mark.parametrize(
    ("network", "width"),
    [(alexnet, 4096), (resnet18, 512), (squeezenet1_1, 512), (lambda: vgg11().features, 512), (lambda: nn.Conv2d(3, 5, 1), 3)],
)
def test_the_vector_is_what_the_last_layer_gets_and_of_features_alone_what_comes_out(network, width) -> None:
    torch.manual_seed(0)
    describe = FeatureNetwork(of_classifier(network().eval()), 64)
    found = describe(torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8))
    assert found.shape == (width,)
    assert found.isfinite().all()


def test_the_classifier_sees_the_image_as_it_was_trained_on() -> None:
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
    assert of_classifier(nn.Sequential(nn.Identity()))(grey.expand(1, 3, 4, 4)).abs().max() < 1e-6


def test_the_inception_of_fid_has_its_published_size_and_gives_2048_features() -> None:
    with torch.device("meta"):
        network = fid_inception()
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == 23_885_486
    network = network.to_empty(device="cpu").eval()
    for tensor in network.state_dict().values():
        tensor.zero_()
    assert of_inception(network)(torch.zeros(1, 3, 299, 299)).shape == (1, FEATURES)
