"""The layers that all networks share: norms, padding, upsampling, initialisation, and running one network on several inputs."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from i2i.errors import UserError

NormName = Literal["batch", "instance", "none"]
UpsampleName = Literal["transposed", "resize"]
InitialName = Literal["normal", "xavier", "kaiming", "orthogonal"]
NormStats = Literal["image", "running"]


class InstanceNorm2d(nn.Module):
    """Normalise each channel of each image: (B, C, H, W) -> the same shape and dtype. Nothing is learned or stored (eps 1e-5).

    The same function as `nn.InstanceNorm2d(C)`, but statistics stay in float32 when x is bfloat16, it is several times faster
    on the CPU, and a map of one pixel becomes zero instead of an error.
    """

    eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        return normalised_by_image(x, None, None, self.eps)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that can also use the statistics of each image alone.

    pix2pix translates with the statistics of the image at hand (Isola et al. 2017, section 3.3), not with running ones, which
    batches of one image estimate badly. With `use_image_statistics` every image is treated so in eval mode, whatever the batch.
    """

    use_image_statistics = False

    def forward(self, x: Tensor) -> Tensor:
        if self.use_image_statistics and not self.training:
            return normalised_by_image(x, self.weight, self.bias, self.eps)
        return super().forward(x)


def normalised_by_image(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise each channel of each image with its own statistics, (B, C, H, W) -> the same shape, dtype and layout in memory.

    It is a group norm with one channel per group. To translate on a CPU maps are channels-last, which convolutions are faster
    with; torch's own sums in that layout are naive and off by whole standard deviations for an image of 16 megapixels.
    """
    with torch.autocast(x.device.type, enabled=False):  # on CUDA autocast would answer in float32
        traced = torch.compiler.is_compiling()  # where strips of any size cannot be counted
        if not traced and x.device.type == "cpu" and not x.is_contiguous() and not x.requires_grad:
            normalised = [_normalised_in_strips(image, weight, bias, eps) for image in x.split(1)]
            return normalised[0] if len(normalised) == 1 else torch.cat(normalised)
        if weight is not None and bias is not None:
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        return torch.group_norm(x, x.shape[1], weight, bias, eps)  # functional.group_norm refuses a map of one pixel


STRIP = 2048  # pixels: so many are summed as exactly as by the group norm, and fast


def _normalised_in_strips(image: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """The same for one image, (1, C, H, W), with statistics that are joined from those of strips."""
    (_, channels, height, width), wide = image.shape, torch.promote_types(image.dtype, torch.float32)
    strips, unused = image.split(max(1, STRIP // width), 2), torch.ones(2, channels, dtype=wide)
    found = [torch.ops.aten.batch_norm_update_stats(strip, unused[0], unused[1], 0.0) for strip in strips]
    means, variances = (torch.stack(moments).double() for moments in zip(*found, strict=True))
    shares = torch.tensor([[strip.shape[2] / height] for strip in strips], dtype=torch.float64)
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(0)
    return torch.batch_norm(image, weight, bias, mean.to(wide), variance.to(wide), False, 0.0, eps, False)


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding that stays in the dtype of x: autocast on the CPU would move it to float32 and back."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


class ResizeConv2d(nn.Conv2d):
    """Twice the size by nearest neighbours, then a 3x3 convolution, where a transposed one's checkerboards hurt.

    Odena et al. 2016, "Deconvolution and Checkerboard Artifacts". The same key names, other shapes.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool):
        super().__init__(in_channels, out_channels, 3, padding=1, padding_mode="reflect", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def norm_layer(norm: NormName) -> Callable[[int], nn.Module]:
    """From a channel count to a norm layer."""
    if norm == "batch":
        return BatchNorm2d
    return lambda channels: InstanceNorm2d() if norm == "instance" else nn.Identity()


def needs_bias(norm: NormName) -> bool:
    """Whether the reference gives a bias to convolutions inside a network.

    Only instance norm gets one there (where it has no effect), and "none" gets neither norm nor bias: kept, so that keys and
    parameter counts are those of the published weights.
    """
    return norm == "instance"


def initialise(network: nn.Module, kind: InitialName = "normal", gain: float = 0.02) -> None:
    """Draw starting weights as published (Isola et al., section 6.2): weights N(0, gain), batch norm N(1, gain), biases 0."""
    draw = {
        "normal": lambda w: nn.init.normal_(w, 0.0, gain),
        "xavier": lambda w: nn.init.xavier_normal_(w, gain),
        "kaiming": nn.init.kaiming_normal_,
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain),
    }[kind]
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, gain)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide every convolution's weight by its largest singular value, in place (Miyato et al. 2018, arXiv:1802.05957)."""
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d):
            parametrizations.spectral_norm(layer)
    return network


def is_per_image(network: nn.Module) -> bool:
    """Whether a pass over several images gives each what a pass of its own would give, and leaves the same state behind.

    Not so with batch norm, which mixes the images, nor with spectral norm, which takes one power iteration a pass.
    """
    return not any(isinstance(layer, nn.BatchNorm2d) or parametrize.is_parametrized(layer) for layer in network.modules())


def with_image_statistics(network: nn.Module) -> nn.Module:
    """Let every batch norm of the network use the statistics of each image alone in eval mode, in place."""
    for layer in network.modules():
        if isinstance(layer, BatchNorm2d):
            layer.use_image_statistics = True
    return network


def with_running_statistics(network: nn.Module) -> nn.Module:
    """Let every batch norm of the network use in eval mode what it has gathered in training, in place.

    Raises UserError where none has gathered anything.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, BatchNorm2d)]
    if all((norm.get_buffer("running_var") == 1).all() for norm in norms):  # as before any training
        raise UserError(
            "this model has no statistics of its training, which batch norm alone gathers", "leave --norm-stats out"
        )
    for layer in norms:
        layer.use_image_statistics = False
    return network


def image_norms(network: nn.Module) -> list[nn.Module]:
    """The norms of a network that take the statistics of each image alone in eval mode."""
    norms = (InstanceNorm2d, BatchNorm2d, nn.GroupNorm)
    return [layer for layer in network.modules() if isinstance(layer, norms) and getattr(layer, "use_image_statistics", True)]


def frozen(network: nn.Module) -> Callable[..., Any]:
    """The network as a fixed function: gradients flow through it to its inputs, and none into it."""
    constants = {name: tensor.detach() for name, tensor in network.named_parameters()}
    return lambda *inputs: functional_call(network, constants, inputs)


def fitted(network: Callable[..., Tensor], x: Tensor, stride: int, *more: Tensor) -> Tensor:
    """The network on x (B, C, H, W) of any size: mirrored at the edges up to the next multiple of `stride`, and cut back."""
    height, width = x.shape[-2:]
    below, right = -height % stride, -width % stride
    if not below and not right:
        return network(x, *more)
    return network(functional.pad(x, (0, right, 0, below), mode="reflect"), *more)[..., :height, :width]


def together(network: nn.Module, *inputs: Tensor) -> tuple[Any, ...]:
    """The network on each input, in one pass where that changes nothing and pays.

    It means fewer, larger kernels. On a CPU in float32 that was measured to gain nothing and to need more memory at once; in
    half precision it is a few per cent faster there too (tests/benchmarks/step.py).
    """
    pays = inputs[0].device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if not pays or not is_per_image(network) or len({x.shape[1:] for x in inputs}) > 1:
        return tuple(network(x) for x in inputs)
    return in_one_pass(network, *inputs)


def in_one_pass(network: nn.Module, *inputs: Tensor) -> tuple[Any, ...]:
    """The network on all inputs, each (B, C, H, W), as one batch; its answers, tensors or lists of them, taken apart again."""
    return _apart(network(torch.cat(inputs)), [len(x) for x in inputs])


def _apart(answer: Any, sizes: list[int]) -> tuple[Any, ...]:
    if isinstance(answer, Tensor):
        return answer.split(sizes)
    return tuple(list(parts) for parts in zip(*(_apart(one, sizes) for one in answer), strict=True))
