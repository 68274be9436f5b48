"""What an ill generator's outputs look like, in numbers beside those of real images. Nothing here is random."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d

SIDE = 16
"""Of the thumbnails by which whole images are compared."""
NEAR_THE_END = 0.95
"""Values from here on count as saturated: clipped white paper with the noise of a JPEG is as white as what a tanh makes."""
WINDOW, STRIDE = 16, 8
"""In pixels: where a pattern is looked for; whole periods of 2 and 4."""


class Symptoms:
    """Takes in one image after another and keeps sums and thumbnails' moments alone.

    `paired`: whether y is the target of x. Else it is just a real image of the output side, of any size.
    """

    def __init__(self, paired: bool):
        self.paired, self.values = paired, defaultdict[str, list[float]](list)
        self.outputs, self.real = Moments(), Moments()

    def add(self, x: Tensor, output: Tensor, y: Tensor, others: Sequence[Tensor] = ()) -> None:
        """Each (1, C, H, W) in [-1, 1], x perhaps a one-hot label map; `others`: the same input in other styles."""
        x, output, y = x.float(), output.float(), y.float()
        self.outputs.add(thumbnail(output))
        self.real.add(thumbnail(y))
        found = {
            "saturated": saturated(output),
            "saturated-real": saturated(y),
            "checkerboard": checkerboard(output),
            "checkerboard-real": checkerboard(y),
        }
        if others:
            found["styles"] = sum(_distance(output, other.float()) for other in others) / len(others)
        if self.paired:
            found["correlation-target"] = correlation(output, y)
        if not _is_label_map(x):
            found["correlation-input"] = correlation(output, x)
            if x.shape == output.shape:
                found |= {"moved": _distance(output, x), "reworked": reworked(x, output)}
                found |= {"reworked-target": reworked(x, y)} if self.paired else {}
        for name, value in found.items():
            if not math.isnan(value):
                self.values[name].append(value)

    def found(self) -> dict[str, float]:
        """The mean over the images of each symptom that could be told, and how much the images differ from one another.

        saturated: the share of values next to black or to white · checkerboard: the amplitude of patterns that repeat every 2
        or 4 pixels · styles: how far outputs of one input are apart · correlation-target, correlation-input: of brightness ·
        correlation-mean: the same between the mean output and the mean real image · moved: |output - x| · reworked: what of
        that is more than a change of brightness and contrast · spread: how far a thumbnail is from their mean.
        """
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        if self.outputs.count < 2:
            return means
        typical = correlation(self.outputs.mean[None], self.real.mean[None])
        about_all = {"spread": self.outputs.spread(), "spread-real": self.real.spread(), "correlation-mean": typical}
        return means | {name: value for name, value in about_all.items() if not math.isnan(value)}


class Moments:
    """The mean of images (C, H, W), and how far they are from it, without keeping them (Welford 1962)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, image: Tensor) -> None:
        self.count += 1
        off = image - self.mean
        self.mean = self.mean + off / self.count
        self.squares = self.squares + off * (image - self.mean)

    def spread(self) -> float:
        """The root mean square distance from the mean."""
        return float(self.squares.mean() / self.count) ** 0.5


def thumbnail(image: Tensor) -> Tensor:
    """(1, C, H, W) of any size -> (C, 16, 16) on the CPU."""
    return adaptive_avg_pool2d(image, SIDE)[0].double().cpu()


def saturated(image: Tensor) -> float:
    """The share of values that lie next to -1 or 1."""
    return float((image.abs() >= NEAR_THE_END).float().mean())


def correlation(a: Tensor, b: Tensor) -> float:
    """Of the brightness of two images' thumbnails, each (1, C, H, W); not a number where one of them is flat."""
    a, b = (adaptive_avg_pool2d(image, SIDE).double().cpu().mean(1).flatten() for image in (a, b))
    a, b = a - a.mean(), b - b.mean()
    norms = float(a.norm() * b.norm())
    return float(a @ b) / norms if norms > 1e-6 else math.nan


def reworked(x: Tensor, output: Tensor) -> float:
    """The mean of |output - clip(a x + b)| with the best a and b of each channel, both (1, C, H, W).

    They are fitted where the output is not clipped, and to all of it where it is clipped everywhere.
    """
    left = []
    for given, made in zip(x[0], output[0], strict=True):
        inside = made.abs() < 1 - 1e-3
        g, m = (given[inside], made[inside]) if inside.any() else (given.flatten(), made.flatten())
        off = g - g.mean()
        a = (off * m).mean() / off.square().mean().clamp(min=1e-6)
        left.append((made - (a * (given - g.mean()) + m.mean()).clamp(-1, 1)).abs().mean())
    return float(torch.stack(left).mean())


def checkerboard(image: Tensor) -> float:
    """The root mean square amplitude of what repeats every 2 or 4 pixels along a side or both, (1, C, H, W).

    Such patterns are what strided transposed convolutions leave (Odena et al. 2016). Not a number below 16 pixels a side.
    """
    if min(image.shape[-2:]) < WINDOW:
        return math.nan
    responses = conv2d(image.transpose(0, 1), _patterns(image), stride=STRIDE)
    return float(responses.square().sum(1).mean().sqrt())


def _patterns(like: Tensor) -> Tensor:
    """(15, 1, 16, 16): all products of constant, period 2 and both phases of period 4, but for that of two constants.

    Under a Hann window, which hides the edges of things; the squares of their answers add up to a pattern's mean square.
    """
    place = torch.arange(WINDOW, dtype=like.dtype, device=like.device)
    hann = (1 - (2 * math.pi * (place + 0.5) / WINDOW).cos()) / WINDOW
    quarter = place * math.pi / 2
    waves = torch.stack([hann, hann * (2 * quarter).cos(), hann * 2**0.5 * quarter.cos(), hann * 2**0.5 * quarter.sin()])
    return (waves[:, None, :, None] * waves[None, :, None, :]).flatten(0, 1)[1:, None]


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().mean())


def _is_label_map(x: Tensor) -> bool:
    """One-hot: no image has but values of 0 and 1 between its ends of -1 and 1."""
    return bool(((x == 0) | (x == 1)).all())
