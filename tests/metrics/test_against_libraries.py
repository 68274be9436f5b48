"""The same numbers as libraries that people trust: pip install -e '.[eval-check]'. A test without its library skips."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i.judges import linear_weights
from i2i.metrics.distributions import frechet_distance, kernel_distance, manifolds
from i2i.metrics.features import FeatureNetwork, legacy, of_inception
from i2i.metrics.lpips import BACKBONES, Lpips
from i2i.metrics.paired import ms_ssim, psnr, ssim
from i2i.networks.inception import fid_inception


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """Two smooth images that are near each other, of a size that is no power of two."""
    base = torch.nn.functional.interpolate(draw(2, 3, 12, 12) * 60 + 128, (173, 190), mode="bicubic")
    other = base + 12 * draw(2, 3, 173, 190, seed=1)
    return base.clamp(0, 255).round(), other.clamp(0, 255).round()


def test_psnr_and_ssim_are_those_of_scikit_image(images) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    how = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 0}
    for a, b in zip(*images, strict=True):
        theirs = metrics.structural_similarity(a.numpy(), b.numpy(), **how)
        assert ssim(a[None], b[None]).item() == pytest.approx(theirs, rel=1e-9)
        theirs = metrics.peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255)
        assert psnr(a[None], b[None]).item() == pytest.approx(theirs, rel=1e-12)


def test_ms_ssim_is_that_of_pytorch_msssim(images) -> None:
    theirs = pytest.importorskip("pytorch_msssim")
    a, b = images
    assert torch.allclose(ms_ssim(a, b), theirs.ms_ssim(a, b, data_range=255, size_average=False), rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(300, 40), (50, 64)])
def test_fid_and_kid_are_those_of_torch_fidelity(n, d) -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = draw(n, d).abs(), draw(n, d, seed=1).abs() + 0.1
    theirs = fid.fid_statistics_to_metric(fid.fid_features_to_statistics(a), fid.fid_features_to_statistics(b), False)
    assert frechet_distance(a, b) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    theirs = kid.kid_features_to_metric(a, b, kid_subsets=1, kid_subset_size=n, verbose=False)
    assert kernel_distance(a, b, subsets=0).value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_fid_and_kid_are_those_of_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    kid = pytest.importorskip("torchmetrics.image.kid")
    a, b = draw(200, 24).abs(), draw(200, 24, seed=1).abs() + 0.1
    theirs = fid._compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-6)
    assert kernel_distance(a, b, subsets=0).value == pytest.approx(float(kid.poly_mmd(a, b)), rel=1e-6)


def test_precision_recall_density_and_coverage_are_those_of_prdc() -> None:
    prdc = pytest.importorskip("prdc")
    real, fake = draw(120, 6), draw(100, 6, seed=1) * 0.9 + 0.2
    for k, names in ((3, ("precision", "recall")), (5, ("density", "coverage"))):
        theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
        for name in names:
            assert getattr(manifolds(fake, real), name) == pytest.approx(theirs[name], abs=1e-12)


@pytest.mark.parametrize("version", ["0.0", "0.1"])
@pytest.mark.parametrize("net", ["alex", "squeeze", "vgg"])
def test_lpips_is_that_of_its_authors(net, version, images) -> None:
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net=net, version=version, pnet_rand=True, verbose=False)
    slices = [part for name, part in theirs.net.named_children() if name.startswith("slice")]
    layers = nn.Sequential(*(layer for part in slices for layer in part))  # their random backbone, in torchvision's order
    assert len(layers) == BACKBONES[net][1][-1] + 1
    ours = Lpips(net, layers, linear_weights(net, version), version)
    a, b = (x.float()[:1, :, :64, :64] for x in images)
    with torch.no_grad():
        expected = theirs(a / 127.5 - 1, b / 127.5 - 1).item()
    assert ours(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_the_legacy_resize_is_that_of_torch_fidelity() -> None:
    helpers = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    image = torch.rand(1, 3, 40, 53, generator=torch.Generator().manual_seed(0)) * 255
    for side in (32, 299):
        theirs = helpers.interpolate_bilinear_2d_like_tensorflow1x(image, (side, side), align_corners=False)
        assert torch.allclose(legacy(image, side), theirs, atol=1e-3)


def test_the_features_of_inception_are_those_of_torch_fidelity(tmp_path) -> None:
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(0)
    network = fid_inception()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)  # else nothing of the image is left at the end
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    theirs = extractor.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(tmp_path / "weights.pth"))
    ours = FeatureNetwork(of_inception(network.eval()), 299)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 80), np.uint8))
    with torch.no_grad():
        expected = theirs(image[None])[0][0]
    assert torch.allclose(ours(image, "legacy"), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
