"""Checkpoints that the originals wrote themselves compute here what they computed there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from i2i import models
from i2i.method import Batch, Method

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def opened(name: str) -> tuple[Method, dict[str, Tensor]]:
    """The method with everything that the files hold, and the recorded inputs and outputs."""
    folder = CHECKPOINTS / name
    files = list(folder.glob("*.pth"))
    config, weights, _ = models.imported(files[0] if len(files) == 1 else folder)
    method = models.without_weights(config)
    method.load_state_dict(weights, strict=False, assign=True)
    return method.eval(), {key: tensor.float() for key, tensor in load_file(folder / "io.safetensors").items()}


def differences(outputs: dict[str, Tensor], io: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of each output, by name."""
    return {name: float((output - io[f"output/{name}"]).abs().max()) for name, output in outputs.items()}


@torch.inference_mode()
def computed(name: str) -> dict[str, float]:
    method, io = opened(name)
    a, b = io.get("input/A"), io.get("input/B")
    match name:
        case "cyclegan_legacy_instance_norm":
            outputs = {"G": method.translate(a)}
        case "cyclegan_resnet6":
            outputs = {"G_A": method.translate(a), "G_B": method.translate(b, reverse=True)}
            outputs |= {"D_A": method.D_Y(b)[-1][-1], "D_B": method.D_X(a)[-1][-1]}
        case "pix2pix_legacy_file_format":
            method.train()  # its norms take the statistics of the recorded batch
            outputs = {"G_batch_statistics": method.G(a), "D_batch_statistics": method.D(torch.cat([a, b], 1))[-1][-1]}
        case "bicyclegan_add_all":
            (mu, logvar), scales, scales2 = method.E(b), method.D(b), method.D2(b)
            outputs = {"G": method.translate(a, style=io["input/z"][0]), "E/0": mu, "E/1": logvar}
            outputs |= {f"D/{i}": maps[-1] for i, maps in enumerate(scales)}
            outputs |= {f"D2/{i}": maps[-1] for i, maps in enumerate(scales2)}
        case "pix2pixhd_features":
            encoded, things, photo = io["input/encoded"], io["input/inst"].long(), io["input/image"]
            labels = encoded[:, :-1]  # the last channel are the boundaries
            output = method.translate(labels, instances=things, style=method.encode_style(photo))
            features = method._features_of(Batch(labels, photo, instances=things))
            outputs = {"E": features, "G": output}
            judged = method.D(torch.cat([encoded, photo], 1))
            outputs |= {f"D/{i}.{j}": out for i, maps in enumerate(judged) for j, out in enumerate(maps)}
    return differences(outputs, io)


@pytest.mark.parametrize(
    ("name", "outputs", "allowed"),
    [
        ("cyclegan_legacy_instance_norm", 1, 3e-5),
        ("cyclegan_resnet6", 4, 3e-5),
        ("pix2pix_legacy_file_format", 2, 1e-5),
        ("bicyclegan_add_all", 7, 1e-5),
        ("pix2pixhd_features", 12, 1e-4),
    ],
)
def test_a_checkpoint_of_an_original_computes_the_same(name, outputs, allowed) -> None:
    found = computed(name)
    assert len(found) == outputs
    assert max(found.values()) <= allowed, found
