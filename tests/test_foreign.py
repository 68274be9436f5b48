"""Models of the published programs: every file here is written by torch from a network with the published names."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i import foreign, models, recognise, state_dicts
from i2i.config import Layer, from_assignments
from i2i.errors import UserError
from i2i.networks.coarse_to_fine import FeatureEncoder, GlobalGenerator, LocalEnhancer
from i2i.networks.encoder import ConvEncoder, ResidualEncoder
from i2i.networks.latent_unet import LatentUNet
from i2i.networks.layers import with_image_statistics
from i2i.networks.patchgan import HalvingPatchGAN, MultiScalePatchGAN, PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet

CPU = torch.device("cpu")
x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """`file(network)` or `file({"a": tensor})`: a .pth file of it."""

    def write(what: Any, name: str = "latest_net_G.pth", **how: Any) -> Path:
        weights = what.state_dict() if isinstance(what, nn.Module) else what
        torch.save(weights, tmp_path / name, **how)
        return tmp_path / name

    return write


def resnet(**values: Any) -> ResNet:
    torch.manual_seed(1)
    return ResNet(3, 3, **{"width": 2, "blocks": 1, **values}).eval()


def translated(path: Path, given: Tensor = x, **more: Any) -> Tensor:
    with torch.inference_mode():
        return models.open_model(path, CPU).method.translate(given, **more)


def settings_of(path: Path) -> dict[str, Any]:
    return models.open_model(path, CPU).config.tree()["model"]


# What is read off


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("values", [{"depth": 3, "width": 2}, {"depth": 5, "width": 3, "upsample": "resize"}])
def test_a_unet_is_read_off_its_weights(norm, values):
    network = recognise.generator(UNet(4, 2, norm=norm, **values).state_dict())
    expected = {"kind": "unet", "upsample": "transposed", "norm": norm, **values}
    assert (network.kind, network.into, network.out, network.settings) == ("U-Net", 4, 2, expected)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("values", [{"blocks": 2, "dropout": True}, {"blocks": 6, "upsample": "resize", "width": 5}])
def test_a_resnet_is_read_off_its_weights(norm, values):
    network = recognise.generator(ResNet(1, 3, norm=norm, **{"width": 2, **values}).state_dict())
    expected = {"kind": "resnet", "width": 2, "upsample": "transposed", "norm": norm, "dropout": False, **values}
    assert (network.kind, network.into, network.out, network.settings) == ("ResNet", 1, 3, expected)


@pytest.mark.parametrize("enhancers", [0, 1, 2])
@pytest.mark.parametrize("values", [{"halvings": 3, "blocks": 2, "norm": "batch"}, {"halvings": 4, "blocks": 1}])
def test_the_rings_of_pix2pixhd_are_read_off_its_weights(enhancers, values):
    own = {"width": 2, **values}
    local = {"local_blocks": 2} if enhancers else {}
    built = LocalEnhancer(5, 3, enhancers=enhancers, **local, **own) if enhancers else GlobalGenerator(5, 3, **own)
    network = recognise.generator(built.state_dict())
    expected = {"upsample": "transposed", "norm": "instance", "enhancers": enhancers, **local, **own}
    assert (network.into, network.out, network.settings) == (5, 3, expected)


@pytest.mark.parametrize("where", ["all", "input"])
@pytest.mark.parametrize("upsample", ["transposed", "resize", "bilinear"])
def test_a_unet_with_a_code_is_read_off_its_weights(where, upsample):
    values = {"where": where, "depth": 4, "width": 2, "upsample": upsample, "norm": "batch"}
    network = recognise.generator(LatentUNet(1, 3, z=5, **values).state_dict(), z=5)
    assert (network.into, network.out, network.settings) == (1, 3, values)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (ResidualEncoder(3, 4, blocks=3, width=2), {"kind": "residual", "blocks": 3, "width": 2, "norm": "instance"}),
        (ConvEncoder(3, 4, blocks=4, width=2), {"kind": "conv", "blocks": 4, "width": 2, "norm": "instance"}),
        (FeatureEncoder(3, 4, width=2, halvings=3), {"width": 2, "halvings": 3, "norm": "instance"}),
    ],
)
def test_encoders_are_read_off_their_weights(network, expected):
    read = recognise.encoder(network.state_dict())
    assert (read.into, read.out, read.settings) == (3, 4, expected)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (PatchGAN(6, layers=2, width=3, norm="batch"), {"kind": "patch", "layers": 2, "width": 3, "norm": "batch"}),
        (PatchGAN(6, layers=3, width=3, norm="none"), {"kind": "patch", "layers": 3, "width": 3, "norm": "none"}),
        (PixelGAN(6, width=3, norm="instance"), {"kind": "pixel", "width": 3, "norm": "instance"}),
        (MultiScalePatchGAN(6, scales=3, layers=2, width=3), {"scales": 3, "layers": 2, "width": 3, "norm": "instance"}),
        (HalvingPatchGAN(6, scales=2, layers=1, width=4), {"scales": 2, "layers": 1, "width": 4, "norm": "instance"}),
    ],
)
def test_discriminators_are_read_off_their_weights(network, expected):
    read = recognise.discriminator(network.state_dict())
    assert (read.into, read.settings) == (6, expected)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_flat_discriminator_of_pix2pixhd_is_renamed_to_stages(norm):
    staged = MultiScalePatchGAN(4, scales=2, layers=2, width=2, norm=norm).state_dict()
    starts = {0: 0, 1: 2, 2: 5, 3: 8}  # convolution, activation · convolution, norm, activation · …
    flat = {
        re.sub(r"scale(\d)_layer(\d)\.(\d)", lambda m: f"layer{m[1]}.{starts[int(m[2])] + int(m[3])}", name): tensor
        for name, tensor in staged.items()
    }
    renamed = recognise.discriminator(flat).weights
    assert renamed.keys() == staged.keys()
    assert all(renamed[name] is tensor for name, tensor in staged.items())


# From files to a model that translates


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_generator_file_translates_as_its_network_does(file, how):
    network = resnet(norm="instance")
    assert torch.equal(translated(file(network, **how)), network(x))


def test_a_batch_norm_generator_translates_with_the_statistics_of_the_image(file):
    network = UNet(3, 3, depth=3, width=2).train()
    for _ in range(3):
        network(x + 0.3)  # running statistics that are neither those of x nor those at the start
    with_image_statistics(network.eval())
    output = translated(file(network))
    assert torch.equal(output, network(x))
    model = models.open_model(file(network), CPU)
    assert model.method.G.model.model[1].model[2].running_mean.abs().sum() > 0


@pytest.mark.parametrize("wrapper", ["state_dict", "odd"])
def test_weights_of_several_gpus_inside_of_a_wrapper_are_found(file, wrapper):
    network = resnet()
    inside = {f"module.{name}": tensor.double() for name, tensor in network.state_dict().items()}
    assert torch.equal(translated(file({"epoch": 3, wrapper: inside})), network(x))


def test_the_statistics_of_old_instance_norms_are_dropped_and_that_is_said(file):
    network = resnet(norm="instance")
    old = network.state_dict() | {"model.2.running_mean": torch.ones(2), "model.2.running_var": torch.ones(2)}
    assert torch.equal(translated(file(old)), network(x))
    said = models.open_model(file(old), CPU).said
    assert "G: 2 statistics of instance norms are dropped" in said


def test_an_instance_norm_that_scales_is_held_by_a_batch_norm_of_each_image(file):
    class Scaled(nn.Module):
        """A ResNet of which each norm learns a scale and a shift, as some who rewrote it have it."""

        def __init__(self) -> None:
            super().__init__()
            self.model = resnet(norm="instance").model
            for parent in [self.model, self.model[10].conv_block]:
                for n, layer in enumerate(parent):
                    if type(layer).__name__ == "InstanceNorm2d":
                        parent[n] = nn.InstanceNorm2d(parent[n - 1].out_channels, affine=True)
                        nn.init.normal_(parent[n].weight)
                        nn.init.normal_(parent[n].bias)

    network = Scaled().eval()
    path = file({name.replace("conv_block", "block"): t for name, t in network.state_dict().items()})
    with torch.inference_mode():
        torch.testing.assert_close(translated(path), network.model(x), atol=2e-6, rtol=0)
    assert "G: 7 biases in front of a norm are dropped" in models.open_model(path, CPU).said


def test_a_dropped_bias_is_taken_off_the_running_mean(file):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    nn.init.normal_(network[1].running_mean)
    own = {name: tensor for name, tensor in network.state_dict().items() if name != "0.bias"}
    given = {f"G.{name}": tensor for name, tensor in network.state_dict().items()}
    weights, _ = state_dicts.fitted(given, {f"G.{name}": tensor for name, tensor in own.items()}, ["G"])
    bare = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
    bare.load_state_dict({name.removeprefix("G."): tensor for name, tensor in weights.items()})
    torch.testing.assert_close(bare(x), network(x))


def test_a_cyclegan_of_two_files_goes_both_ways(file, tmp_path):
    g, f = resnet(), ResNet(3, 3, width=2, blocks=1).eval()
    file(g, "latest_net_G_A.pth")
    file(f, "latest_net_G_B.pth")
    judges = {name: PatchGAN(3, layers=1, width=2, norm="instance") for name in ("D_A", "D_B")}
    for name, judge in judges.items():
        file(judge, f"latest_net_{name}.pth")
    assert torch.equal(translated(tmp_path), g(x))
    assert torch.equal(translated(tmp_path, reverse=True), f(x))
    config, weights, _ = models.imported(tmp_path)
    assert (config.method, config.model.discriminator.layers) == ("cyclegan", 1)
    assert torch.equal(weights["D_Y.model.0.weight"], judges["D_A"].model[0].weight)
    assert torch.equal(weights["D_X.model.0.weight"], judges["D_B"].model[0].weight)


def test_half_of_a_cyclegan_is_one_generator(file, tmp_path):
    file(resnet(), "latest_net_G_B.pth")
    model = models.open_model(tmp_path, CPU)
    assert model.config.method == "pix2pix"
    assert any("a generator of a CycleGAN is the same network" in line for line in model.said)


def test_bicyclegan_is_a_folder_with_g_and_e(file, tmp_path):
    g, e = LatentUNet(1, 3, z=3, depth=3, width=2).eval(), ResidualEncoder(3, 3, blocks=3, width=2).eval()
    file(g, "edges_net_G.pth")
    file(e, "edges_net_E.pth")
    file(HalvingPatchGAN(4, scales=2, layers=1, width=2), "edges_net_D.pth")
    for path in (tmp_path, tmp_path / "edges_net_G.pth"):
        model = models.open_model(path, CPU)
        style = model.method.encode_style(x)
        with torch.inference_mode():
            assert torch.equal(style, e(x)[0][0])
            assert torch.equal(model.method.translate(x[:, :1], style=style), g(x[:, :1], style[None]))
    model = models.open_model(tmp_path, CPU)
    assert (model.config.method, model.config.model.conditional, model.x.channels) == ("bicyclegan", True, 1)


def test_bicyclegan_with_the_code_beside_the_image_is_known_by_its_e(file, tmp_path):
    g = LatentUNet(3, 3, z=3, depth=3, width=2, where="input").eval()
    file(g)
    assert models.open_model(tmp_path, CPU).x.channels == 6
    file(ResidualEncoder(3, 3, blocks=3, width=2), "latest_net_E.pth")
    assert torch.equal(translated(tmp_path), g(x, torch.zeros(1, 3)))


def test_the_generator_of_bicyclegan_alone_draws_styles(file):
    g = LatentUNet(3, 3, z=5, depth=3, width=2).eval()
    model = models.open_model(file(g), CPU)
    (style,) = model.method.draw_styles(1, 0)
    with torch.inference_mode():
        assert torch.equal(model.method.translate(x, style=style), g(x, style[None]))


def test_the_generator_of_bicyclegan_alone_is_refused_where_nothing_else_is_like_it(file):
    with pytest.raises(UserError, match="without its encoder"):
        models.open_model(file(LatentUNet(3, 3, z=5, depth=3, width=2, upsample="bilinear")), CPU)


LABELS = torch.nn.functional.one_hot(torch.arange(32 * 32).view(1, 32, 32) // 100 % 6, 6).movedim(-1, 1).float()
THINGS = torch.arange(32 * 32).view(1, 1, 32, 32) // 200


def test_pix2pixhd_is_taken_to_see_labels_and_boundaries_and_that_can_be_overridden(file):
    g = GlobalGenerator(7, 3, width=2, halvings=3, blocks=1).eval()
    path = file(g)
    model = models.open_model(path, CPU)
    assert str(model.x) == "label map of 6 classes, with instances"
    assert any("data.x is a label map of 6 classes with instances" in line for line in model.said)
    assert translated(path, LABELS, instances=THINGS).shape == (1, 3, 32, 32)
    given = from_assignments(["data.x.instances=false", "data.x.channels=7", "data.x.labels=false"])
    config, _, said = models.imported(path, [given])
    assert str(config.data.x) == "8-bit with 7 channels"
    assert not any("assumed" in line for line in said)


def test_pix2pixhd_of_few_channels_is_taken_to_see_an_image(file):
    g = LocalEnhancer(3, 3, width=2, halvings=2, blocks=1, local_blocks=1).eval()
    assert torch.equal(translated(file(g)), g(x))


def test_pix2pixhd_with_features_needs_e_and_gets_an_empty_memory(file, tmp_path):
    g, e = GlobalGenerator(9, 3, width=2, halvings=3, blocks=1).eval(), FeatureEncoder(3, 2, width=2, halvings=3).eval()
    file(g)
    file(MultiScalePatchGAN(10, layers=1, width=2), "latest_net_D.pth")
    with pytest.raises(UserError, match="G sees 2 channels that D does not"):
        models.open_model(tmp_path, CPU)
    file(e, "latest_net_E.pth")
    model = models.open_model(tmp_path, CPU)
    assert (model.x.channels, model.x.instances, model.config.model.features) == (6, True, 2)
    with torch.inference_mode():
        assert torch.equal(model.method.encode_style(x), e(x))
        without = model.method.translate(LABELS, instances=THINGS)
        seen = model.method._seen(LABELS, THINGS)
        assert torch.equal(without, g(torch.cat([seen, torch.zeros(1, 2, 32, 32)], 1)))


def test_two_halvings_beside_a_discriminator_of_pix2pixhd_are_pix2pixhd(file, tmp_path):
    file(GlobalGenerator(3, 3, width=2, halvings=2, blocks=1))
    assert models.open_model(tmp_path, CPU).config.method == "pix2pix"
    file(MultiScalePatchGAN(6, layers=1, width=2), "latest_net_D.pth")
    assert models.open_model(tmp_path, CPU).config.method == "pix2pixhd"


# Folders


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["latest", "200", "5"], "latest"),
        (["5", "200", "30"], "200"),
        (["iter_900", "iter_1000"], "iter_1000"),
        (["iter_1000", "5"], "5"),
    ],
)
def test_the_newest_epoch_of_a_folder_is_taken(file, tmp_path, names, expected):
    for name in names:
        file({}, f"{name}_net_G.pth")
    assert foreign._files(tmp_path) == {"G": tmp_path / f"{expected}_net_G.pth"}


def test_a_folder_of_several_models_is_refused(file, tmp_path):
    file({}, "edges_net_G.pth")
    file({}, "maps_net_G.pth")
    with pytest.raises(UserError, match="holds more than one model"):
        foreign.read(tmp_path)


def test_a_folder_without_a_generator_is_not_foreign(file, tmp_path):
    file({}, "latest_net_D.pth")
    assert not foreign.is_foreign(tmp_path)
    with pytest.raises(UserError, match="there is no model in"):
        models.open_model(tmp_path, CPU)


def test_a_discriminator_that_cannot_be_read_is_left_out(file, tmp_path):
    file(resnet())
    (tmp_path / "latest_net_D.pth").write_bytes(b"")
    model = models.open_model(tmp_path, CPU)
    assert any(line.startswith("D is left out: ") for line in model.said)


# What is refused


class Runs:
    """What a file can hold that runs when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_file_that_would_run_code_is_refused_and_does_not_run(file, tmp_path, how):
    path = file({"a": Runs(tmp_path / "ran")}, **how)
    with pytest.raises(UserError, match=r"holds more than weights \(posix.mkdir\)") as error:
        models.open_model(path, CPU)
    assert "state_dict()" in error.value.hint
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_network_and_a_torchscript_are_refused(file, tmp_path):
    torch.save(resnet(), tmp_path / "whole.pth")
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(tmp_path / "script.pt")
    for name in ("whole.pth", "script.pt"):
        with pytest.raises(UserError, match="more than weights"):
            models.open_model(tmp_path / name, CPU)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>404</html>", bytes(range(256)) * 4, b"PK\x03\x04" + bytes(99)])
def test_what_is_no_file_of_torch_is_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match="not a file of weights, or it is damaged"):
        models.open_model(tmp_path / "a.pth", CPU)


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_file_is_refused(file, how, share):
    path = file(resnet(), **how)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="damaged"):
        models.open_model(path, CPU)


@pytest.mark.parametrize("what", [{}, {"a": 1}, [torch.zeros(1)], {"a": {"b": torch.zeros(1)}, "c": {"d": torch.zeros(1)}}])
def test_a_file_without_one_state_dict_is_refused(file, what):
    with pytest.raises(UserError, match="does not hold the weights of one network"):
        models.open_model(file(what), CPU)


@pytest.mark.parametrize(
    ("network", "names"),
    [(nn.Linear(2, 2), "'weight', 'bias'"), (PatchGAN(3, layers=1, width=2, norm="none"), "'model.0.weight'")],
)
def test_another_network_is_refused_by_its_first_names(file, network, names):
    with pytest.raises(UserError, match="no generator of pix2pix") as error:
        models.open_model(file(network), CPU)
    assert error.value.hint.startswith(f"its first weights are {names}")


def test_a_convolution_in_the_place_of_a_generators_first_one_is_not_enough(file):
    with pytest.raises(UserError, match="no generator of pix2pix"):
        models.open_model(file({"model.1.weight": torch.zeros(2, 3, 3, 3)}), CPU)


@pytest.mark.parametrize("network", [resnet(), UNet(3, 3, depth=3, width=2), LatentUNet(3, 3, z=2, depth=3, width=2)])
def test_a_generator_that_lacks_any_weight_or_has_one_too_many_is_refused(file, network):
    weights = network.state_dict()
    for name in weights:
        if not name.endswith(state_dicts.STATISTICS):
            with pytest.raises(UserError):
                models.open_model(file({other: t for other, t in weights.items() if other != name}), CPU)
    with pytest.raises(UserError):
        models.open_model(file(weights | {"more.weight": torch.zeros(1)}), CPU)


def test_a_missing_file_and_a_pipe_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    assert stat.S_ISFIFO((tmp_path / "pipe.pth").stat().st_mode)
    for name in ("none.pth", "pipe.pth"):
        with pytest.raises(UserError, match="there is no file"):
            models.open_model(tmp_path / name, CPU)


# Fine-tuning


def fresh_run(method: str = "cyclegan", **generator: Any):
    settings = {"generator": {"blocks": 1, "width": 2, **generator}, "discriminator": {"layers": 1, "width": 2}}
    sides = {"x": {"channels": 3}, "y": {"channels": 3}}
    return models.configure(method, [Layer("the test", {"model": settings, "data": sides})])


def test_a_generator_file_starts_a_new_run_and_the_rest_is_named_as_fresh(file):
    network = resnet()
    path = file(network)
    weights, said = models.starting_weights(fresh_run(), path)
    assert all(torch.equal(weights[f"G.{name}"], tensor) for name, tensor in network.state_dict().items())
    assert said == f"starting from '{path}'; fresh: D_X, D_Y, F"


@pytest.mark.parametrize(("width", "fresh"), [(2, ""), (3, "; fresh: D_X, D_Y")])
def test_discriminators_of_a_folder_are_taken_where_they_fit(file, tmp_path, width, fresh):
    for name in ("A", "B"):
        file(resnet(), f"latest_net_G_{name}.pth")
        file(PatchGAN(3, layers=1, width=width, norm="instance"), f"latest_net_D_{name}.pth")
    _, said = models.starting_weights(fresh_run(), tmp_path)
    assert said == f"starting from '{tmp_path}'{fresh}"


def test_a_run_with_another_generator_is_told_which_settings_fit(file):
    with pytest.raises(UserError, match=r"G\.model\.1\.weight is \(2, 3, 7, 7\)") as error:
        models.starting_weights(fresh_run(width=5), file(resnet()))
    assert error.value.hint == "train with the settings of that model: --set model.generator.width=2"


def test_a_run_into_which_nothing_fits_is_told_which_settings_do(file):
    with pytest.raises(UserError, match="nothing in") as error:
        models.starting_weights(fresh_run(), file(UNet(3, 3, depth=3, width=2)))
    assert "--set model.generator.kind=unet --set model.generator.depth=3" in error.value.hint
