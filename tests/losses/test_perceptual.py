"""Perceptual losses on a narrow VGG with random weights; one test goes through torchvision's own, whole network."""

import hashlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import get_model, vgg

from i2i.errors import UserError
from i2i.losses import perceptual
from i2i.losses.matching import gram
from i2i.losses.perceptual import CRN_TAPS, PIX2PIXHD_TAPS, STYLE_TAPS, Perceptual, features, layer_names

NARROW = {"vgg16": vgg.cfgs["D"], "vgg19": vgg.cfgs["E"]}


def narrow(network: str) -> nn.Sequential:
    """The network with its layers in their order, at a sixty-fourth of the width."""
    return vgg.make_layers([size if size == "M" else size // 64 * 2 for size in NARROW[network]])


def random_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights that neither vanish nor explode on the way down, whatever the width."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.uniform_(layer.bias, 0, 0.3)
    return network.state_dict()


@pytest.fixture
def file(monkeypatch, tmp_path) -> Iterator[Callable[..., str]]:
    """`file("vgg16")`: a file of weights for the narrow network, which stands in for the wide one."""

    def meta(network: str) -> nn.Sequential:
        with torch.device("meta"):
            return narrow(network)

    monkeypatch.setattr(perceptual, "architecture", meta)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("I2I_WEIGHTS", raising=False)

    def write(network: str = "vgg19", name: str = "weights.safetensors", prefix: str = "features.", **others: Tensor) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {prefix + key: tensor for key, tensor in random_weights(narrow(network)).items()} | others
        safetensors.torch.save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
        return str(path)

    yield write
    perceptual._placed.cache_clear()
    perceptual._loaded.cache_clear()


def reference(network: str = "vgg19") -> nn.Sequential:
    layers = narrow(network)
    layers.load_state_dict(random_weights(layers))
    return layers


def image(*, batch: int = 2, channels: int = 3, size: int = 32, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, channels, size, size, generator=generator) * 2 - 1).to(dtype)


# Names of layers


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_the_names_are_those_of_torchvisions_layers(network) -> None:
    with torch.device("meta"):
        layers = get_model(network, weights=None, init_weights=False).features
    kinds = {"conv": nn.Conv2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    names = layer_names(network)
    assert [type(layer) for layer in layers] == [kinds[name[:4]] for name in names]
    assert len(set(names)) == len(names)


def test_the_published_taps_are_the_published_indices() -> None:
    at = {network: layer_names(network).index for network in ("vgg16", "vgg19")}
    assert [at["vgg19"](tap) for tap in PIX2PIXHD_TAPS] == [1, 6, 11, 20, 29]
    assert [at["vgg19"](tap) for tap in CRN_TAPS if tap != "input"] == [3, 8, 13, 22, 31]
    assert [at["vgg16"](tap) for tap in STYLE_TAPS] == [3, 8, 15, 22]
    assert list(PIX2PIXHD_TAPS.values()) == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
    assert list(CRN_TAPS.values()) == pytest.approx([1, 1 / 1.6, 1 / 2.3, 1 / 1.8, 1 / 2.8, 12.5])


@pytest.mark.parametrize(
    ("network", "tap"), [("vgg16", "relu3_4"), ("vgg19", "conv1_1"), ("vgg19", "pool1"), ("vgg19", "relu6_1")]
)
def test_a_layer_that_is_not_there_is_an_error_with_those_that_are(network, tap) -> None:
    with pytest.raises(UserError, match=rf"{network} has no layer '{tap}'.*input, relu1_1.*relu5_3"):
        Perceptual(network=network, taps={"relu1_1": 1.0, tap: 1.0})


def test_there_must_be_something_to_compare() -> None:
    with pytest.raises(UserError, match="at least one layer"):
        Perceptual(taps={})


# What is computed


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_taps_are_what_the_layers_give_one_after_another(file, network) -> None:
    x = image()
    seen = Perceptual(network=network, weights=file(network), taps={"relu5_1": 1, "relu1_2": 1, "input": 1, "relu3_3": 1}).taps(
        x
    )
    assert list(seen) == ["relu5_1", "relu1_2", "input", "relu3_3"]
    at, layers = layer_names(network).index, reference(network)
    assert torch.equal(seen.pop("input"), x)
    for tap, features_there in seen.items():
        torch.testing.assert_close(features_there, layers[: at(tap) + 1](x))


def test_the_loss_is_the_weighted_sum_of_mean_distances(file) -> None:
    a, b, layers = image(seed=1), image(seed=2), reference()
    for distance, power in (("l1", 1), ("l2", 2)):
        loss = Perceptual(weights=file(), taps={"relu1_1": 0.25, "relu2_1": 3}, distance=distance)(a, b)
        by_hand = [(layers[: n + 1](a) - layers[: n + 1](b)).abs().pow(power).mean() for n in (1, 6)]
        torch.testing.assert_close(loss, 0.25 * by_hand[0] + 3 * by_hand[1])
    assert loss.shape == ()


def test_style_compares_gram_matrices_with_the_weights_of_the_taps(file) -> None:
    a, b = image(seed=1), image(seed=2)
    compared = Perceptual(network="vgg16", weights=file("vgg16"), taps={"relu1_2": 1, "relu2_2": 0.5})
    by_hand = [
        (gram(p) - gram(q)).square().sum() / 2
        for p, q in zip(compared.taps(a).values(), compared.taps(b).values(), strict=True)
    ]
    torch.testing.assert_close(compared.style(a, b), by_hand[0] + 0.5 * by_hand[1])


def test_average_pooling_takes_the_place_of_max_pooling(file) -> None:
    x = image()
    layers = nn.Sequential(*[nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in reference()])
    weights = file()
    averaged, largest = (Perceptual(weights=weights, taps={"relu3_2": 1}, pool=pool).taps(x) for pool in ("avg", "max"))
    torch.testing.assert_close(averaged["relu3_2"], layers[:14](x))
    assert not torch.allclose(averaged["relu3_2"], largest["relu3_2"])


@pytest.mark.parametrize(
    ("normalize", "black", "white"),
    [
        ("none", (-1, -1, -1), (1, 1, 1)),
        ("imagenet", (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225)),
        ("caffe", (-123.68, -116.779, -103.939), (255 - 123.68, 255 - 116.779, 255 - 103.939)),
    ],
)
def test_images_are_normalised_as_asked_for(file, normalize, black, white) -> None:
    compared = Perceptual(weights=file(), taps={"input": 1}, normalize=normalize)
    for level, expected in ((-1.0, black), (1.0, white)):
        seen = compared.taps(torch.full((1, 3, 2, 2), level))["input"]
        torch.testing.assert_close(seen, torch.tensor(expected, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 2, 2))


def test_a_grey_image_counts_as_three_equal_channels(file) -> None:
    grey, compared = image(channels=1), Perceptual(weights=file(), taps={"relu2_1": 1}, normalize="imagenet")
    assert torch.equal(compared.taps(grey)["relu2_1"], compared.taps(grey.repeat(1, 3, 1, 1))["relu2_1"])


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_an_error(file, channels) -> None:
    compared = Perceptual(weights=file(), taps={"relu1_1": 1})
    with pytest.raises(UserError, match=f"1 or 3 channels, not of {channels}") as caught:
        compared(image(channels=channels), image(channels=channels))
    assert "lambda_perceptual=0" in caught.value.hint


def test_images_may_be_as_small_as_one_feature_and_no_smaller(file) -> None:
    compared = Perceptual(weights=file(), taps=PIX2PIXHD_TAPS)
    assert compared.taps(image(size=16))["relu5_1"].shape[2:] == (1, 1)
    with pytest.raises(UserError, match="relu5_1 need 16 pixels a side, not 15"):
        compared.taps(image(size=15))


# Gradients, devices, precision


def test_gradients_reach_the_fake_alone(file) -> None:
    fake, real = image(seed=1).requires_grad_(), image(seed=2).requires_grad_()
    compared = Perceptual(weights=file(), taps=PIX2PIXHD_TAPS)
    for loss in (compared(fake, real), compared.style(fake, real)):
        fake.grad = None
        loss.backward(retain_graph=True)
        assert fake.grad.abs().sum() > 0
        assert torch.isfinite(fake.grad).all()
    assert real.grad is None


def test_the_gradient_is_that_of_the_plain_network(file) -> None:
    fake, real, layers = image(seed=1).requires_grad_(), image(seed=2), reference()
    Perceptual(weights=file(), taps={"relu1_2": 1, "relu3_1": 2})(fake, real).backward()
    own = fake.detach().clone().requires_grad_()
    loss = sum(w * (layers[: n + 1](own) - layers[: n + 1](real)).abs().mean() for n, w in ((3, 1), (11, 2)))
    (by_hand,) = torch.autograd.grad(loss, own)
    torch.testing.assert_close(fake.grad, by_hand)


def test_equal_images_cost_nothing(file) -> None:
    compared = Perceptual(weights=file(), taps=PIX2PIXHD_TAPS)
    assert compared(image(), image()).item() == compared.style(image(), image()).item() == 0


def test_the_network_is_frozen_and_no_part_of_a_method(file) -> None:
    weights = file()
    network = features("vgg19", weights, torch.device("cpu"), torch.float32)
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training

    class Method(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.perceptual = Perceptual(weights=weights, taps=PIX2PIXHD_TAPS)
            self.perceptual.require()

    assert not Method().state_dict()
    assert not list(Method().parameters())


def test_it_is_loaded_once_for_all_who_ask(file) -> None:
    weights = file()
    same = [
        features("vgg19", path, torch.device("cpu"), torch.float32)
        for path in (weights, f"{Path(weights).parent}/./../{Path(weights).parent.name}/weights.safetensors")
    ]
    assert same[0] is same[1]
    wide = features("vgg19", weights, torch.device("cpu"), torch.float64)
    assert wide[0].weight.dtype == torch.float64
    assert same[0][0].weight.dtype == torch.float32
    Path(weights).unlink()
    Path(weights).touch()  # still there by name: it is not read again
    assert features("vgg19", weights, torch.device("cpu"), torch.float32) is same[0]


def test_it_computes_in_float32_at_least(file) -> None:
    compared = Perceptual(weights=file(), taps=PIX2PIXHD_TAPS, normalize="caffe")
    a, b = image(seed=1), image(seed=2)
    rounded = a.to(torch.bfloat16)
    assert torch.equal(compared(rounded, b), compared(rounded.float(), b))
    assert {x.dtype for x in compared.taps(rounded).values()} == {torch.float32}
    assert compared(a.double(), b.double()).dtype == torch.float64
    torch.testing.assert_close(compared(a.double(), b.double()).float(), compared(a, b), rtol=1e-4, atol=0)


def test_an_autocast_region_changes_nothing(file) -> None:
    compared = Perceptual(weights=file(), taps={"input": 1, "relu2_1": 1})
    a, b = image(seed=1).requires_grad_(), image(seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = compared(a, b)
    assert torch.equal(inside, compared(a, b))
    inside.backward()
    assert a.grad.abs().sum() > 0


def test_the_smallest_image_is_the_one_that_the_deepest_tap_needs(file) -> None:
    for tap, smallest in (("input", 1), ("relu1_2", 1), ("relu2_1", 2), ("relu5_1", 16)):
        assert Perceptual(weights=file(), taps={tap: 1}).smallest == smallest


def test_channels_that_no_network_sees_are_refused_with_the_way_out(file) -> None:
    with pytest.raises(UserError, match="1 or 3 channels, not of 4") as caught:
        Perceptual(weights=file(), taps={"relu1_1": 1}, without="model.psi=identity").require(4)
    assert caught.value.hint == "--set model.psi=identity trains without it"


# Where weights come from


def test_the_whole_network_of_torchvision_and_its_features_alone_are_both_read(file) -> None:
    x = image()
    whole = file(name="whole.pth", **{"classifier.0.weight": torch.zeros(2, 2)})
    alone = file(name="alone.safetensors", prefix="")
    seen = [Perceptual(weights=weights, taps={"relu2_1": 1}).taps(x)["relu2_1"] for weights in (whole, alone)]
    assert torch.equal(*seen)
    torch.testing.assert_close(seen[0], reference()[:7](x))


def test_a_real_vgg16_file_gives_what_torchvision_gives(monkeypatch, tmp_path) -> None:
    layers = vgg.make_layers(vgg.cfgs["D"])  # as torchvision builds it, less the classifier, which is nine tenths of it
    state = {f"features.{name}": tensor.half() for name, tensor in random_weights(layers).items()}
    torch.save(state, tmp_path / "vgg16.pth")
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path))
    seen = Perceptual(network="vgg16", taps={"relu1_1": 1, "relu5_3": 1}).taps(image(batch=1))
    layers.load_state_dict({name.removeprefix("features."): tensor.float() for name, tensor in state.items()})
    perceptual._placed.cache_clear()
    perceptual._loaded.cache_clear()
    torch.testing.assert_close(seen["relu5_3"], layers[:30](image(batch=1)))
    torch.testing.assert_close(seen["relu1_1"], layers[:2](image(batch=1)))
    assert seen["relu5_3"].shape == (1, 512, 2, 2)
    assert seen["relu5_3"].abs().sum() > 0


def found(network: str = "vgg19", weights: str | None = None) -> str:
    return perceptual.weights_file(network, weights).name


def test_the_given_file_comes_first_then_the_variable_then_torchvisions_cache(file, monkeypatch, tmp_path) -> None:
    given, own = file(name="given.pth"), file(name="own/vgg19.safetensors")
    file(name="hub/checkpoints/vgg19-dcbb9e9d.pth")
    assert found() == "vgg19-dcbb9e9d.pth"
    monkeypatch.setenv("I2I_WEIGHTS", own)
    assert found() == "vgg19.safetensors"
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path / "own"))
    assert found() == "vgg19.safetensors"
    assert found(weights=given) == "given.pth"
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"\$I2I_WEIGHTS names '.*nowhere', and there is no such file or folder"):
        found()


def test_in_a_folder_torchvisions_name_comes_first_and_other_networks_do_not_count(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path))
    for name in ("vgg16.pth", "vgg19_bn-c79401a0.pth", "vgg19.txt", "vgg19-z.safetensors", "vgg19_a.pth", "vgg19-dcbb9e9d.pth"):
        (tmp_path / name).touch()
    order = []
    for _ in range(3):
        order.append(found())
        (tmp_path / order[-1]).unlink()
    assert order == ["vgg19-dcbb9e9d.pth", "vgg19_a.pth", "vgg19-z.safetensors"]
    assert found("vgg16") == "vgg16.pth"


@pytest.mark.usefixtures("file")
def test_files_of_the_working_folder_are_not_taken_unasked(monkeypatch, tmp_path) -> None:
    (tmp_path / "vgg19.pth").touch()
    monkeypatch.chdir(tmp_path)
    for unset in (None, ""):
        if unset is not None:
            monkeypatch.setenv("I2I_WEIGHTS", unset)
        with pytest.raises(UserError, match="need the weights"):
            found()


def test_without_weights_the_error_says_which_file_from_where_and_the_way_without(file, tmp_path, monkeypatch) -> None:
    compared = Perceptual(taps=PIX2PIXHD_TAPS)
    downloads = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: downloads.append(a))
    with pytest.raises(UserError) as caught:
        compared.require()
    assert "vgg19-dcbb9e9d.pth" in caught.value.message
    assert str(tmp_path / "hub" / "checkpoints") in caught.value.message
    for said in ("https://", "--set model.perceptual.weights=FILE", "$I2I_WEIGHTS", "--set model.lambda_perceptual=0"):
        assert said in caught.value.hint
    assert not downloads
    file(name="hub/checkpoints/vgg19.safetensors")
    Perceptual(taps=PIX2PIXHD_TAPS, weights=str(tmp_path / "hub/checkpoints/vgg19.safetensors")).require()


def test_a_given_file_that_is_not_there_is_not_replaced_by_another(file, tmp_path) -> None:
    file(name="hub/checkpoints/vgg19-dcbb9e9d.pth")
    with pytest.raises(UserError, match=r"there is no file '.*missing.pth'"):
        Perceptual(weights=str(tmp_path / "missing.pth"), taps=PIX2PIXHD_TAPS).require()


class Dangerous:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file of weights was run')",))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>Not found</html>",
        pickle.dumps(Dangerous(), 2),
        pickle.dumps({"a": Dangerous()}, 2),
        pickle.dumps([1], 2),
    ],
)
def test_what_is_no_file_of_weights_is_an_error_and_no_code_is_run(file, tmp_path, suffix, content) -> None:
    path = tmp_path / f"odd.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read '.*odd") as caught:
        Perceptual(weights=str(path), taps=PIX2PIXHD_TAPS).require()
    assert "state dict of torchvision's vgg19" in caught.value.hint


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_half_a_file_is_an_error(file, suffix) -> None:
    path = Path(file(name=f"half.{suffix}"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cannot read '.*half"):
        Perceptual(weights=str(path), taps=PIX2PIXHD_TAPS).require()


def test_weights_of_another_network_are_an_error_that_names_the_layer(file) -> None:
    with pytest.raises(UserError, match=r"does not hold the weights of vgg19: 1\d.weight"):
        Perceptual(weights=file("vgg16"), taps=PIX2PIXHD_TAPS).require()
    wrong = file(name="wrong.pth", **{"features.2.weight": torch.zeros(2, 2, 5, 5)})
    with pytest.raises(UserError, match=r"weights of vgg19: 2.weight has the shape \(2, 2, 5, 5\)"):
        Perceptual(weights=wrong, taps=PIX2PIXHD_TAPS).require()


def test_a_file_whose_name_carries_its_hash_must_have_it(file) -> None:
    path = Path(file())
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    right, wrong = path.with_name(f"vgg19-{digits}.safetensors"), path.with_name("vgg19-0badc0de.safetensors")
    right.write_bytes(path.read_bytes())
    wrong.write_bytes(path.read_bytes())
    Perceptual(weights=str(right), taps=PIX2PIXHD_TAPS).require()
    with pytest.raises(UserError, match=r"0badc0de.safetensors' is damaged"):
        Perceptual(weights=str(wrong), taps=PIX2PIXHD_TAPS).require()
