"""CRN: Photographic Image Synthesis with Cascaded Refinement Networks (Chen, Koltun 2017, arXiv:1707.09405)."""

from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses import widened
from i2i.losses.hindsight import class_errors, hindsight
from i2i.losses.perceptual import CRN_TAPS
from i2i.method import Accepts, Batch, Method, Sheet, Style, Update
from i2i.methods.parts import Features, Matching
from i2i.networks.cascade import Cascade

WIDTHS = (1024,) * 5 + (512, 512, 128, 32)
"""Channels of the modules, from a height of 4 pixels to 1024, as published."""


class CRNConfig(Matching):
    """Defaults: the paper and its published TensorFlow code, at a height of 256 pixels, with one image for each layout."""

    modules: int = Field(7, ge=1, le=len(WIDTHS))
    """How often the size doubles, and once more: 7 make 256x512 of 4x8."""
    width: float = Field(1.0, gt=0)
    """Factor on the published channels of every module."""
    images: int = Field(1, ge=1)
    """k, 9 in the published code; those that are not best anywhere learn slowly, so more of them need a long training."""
    train_from: int = Field(0, ge=0)
    """The first module that learns; those before it stay as they are."""
    checkpointing: bool = False
    """Compute every module twice to need less memory."""
    lambda_perceptual: float = Field(1.0, ge=0)
    # The published weights of the taps are for the original VGG-19; its weights in torchvision are others.
    perceptual: Features = Features(network="vgg19", taps=CRN_TAPS, pool="avg", normalize="imagenet")
    balance: int = Field(500, ge=0)
    """Steps in which the taps are measured, to give all of them the same share; 0: as `perceptual.taps` says."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "CRNConfig":
        if not self.matches:
            raise ValueError("no loss weighs anything, such as lambda_l1")
        if self.lambda_feat:
            raise ValueError("lambda_feat needs a discriminator, and there is none")
        if self.train_from > self.modules:
            raise ValueError(f"train_from is {self.train_from}, but there are {self.modules} modules")
        return self

    def cascade(self, in_channels: int, out_channels: int) -> Cascade:
        return Cascade(
            in_channels,
            out_channels,
            widths=[max(1, round(width * self.width)) for width in WIDTHS[: self.modules]],
            images=self.images,
            train_from=self.train_from,
            checkpointing=self.checkpointing,
        )


class CRN(Method):
    """A network for photographs sees how far G(x) is from y, at some of its layers; there is no discriminator.

    Where G makes k images of each layout, the one that matches best counts, for each class on its own. The same holds for L1;
    style and total variation count for all k alike. All three are off unless asked for.
    """

    Config, data, scenes = CRNConfig, "paired", "labels"
    defaults = {  # the published code: Adam as TensorFlow has it, no decay, nothing mirrored
        "train": {"lr": 1e-4, "betas": (0.9, 0.999), "schedule": "constant", "epochs": 200, "batch": 1},
        "data": {"flip": False},
    }

    means: Tensor

    def __init__(self, config: CRNConfig, x: Domain, y: Domain):
        super().__init__(config, x, y)
        self.config, self.x, self.channels = config, x, y.channels
        self.G = config.cascade(x.channels, y.channels)
        self.perceptual = config.perceptual.build(without="model.lambda_perceptual=0 --set model.lambda_l1=1")
        self.matching = config.model_copy(update={"lambda_perceptual": 0.0, "lambda_l1": 0.0}).matching()
        self.register_buffer("means", torch.ones(len(self.perceptual.lambdas)))

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": self.G.trained()}

    def generators(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def require(self) -> None:
        if self.config.lambda_perceptual:
            self.perceptual.require(self.channels)
        self.matching.require(self.channels)

    def step(self, batch: Batch, update: Update) -> Sheet:
        x, y = batch.x, batch.y
        images = self.G(x)
        each, target = images.flatten(0, 1), y.repeat_interleave(self.config.images, 0)
        update("G", **self._matched(images, batch, update.step), **self.matching(each, target))
        return {"input": x, **self._named(images.unbind(1)), "target": y}

    def _matched(self, images: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        """What the k images (B, k, C, H, W) pay in hindsight. Without classes in x, the best whole image counts."""
        c, terms = self.config, {}
        masks = batch.x if self.x.labels else torch.ones_like(batch.x[:, :1])
        if c.lambda_perceptual:
            maps = self._maps(images, batch.y)
            terms["perceptual"] = self._paid(class_errors(maps, self._weights(maps, step), masks), c.lambda_perceptual)
        if c.lambda_l1:
            pixels = (widened(images) - batch.y[:, None]).abs().mean(2)
            terms["l1"] = self._paid(class_errors({"l1": pixels}, {"l1": 1.0}, masks), c.lambda_l1)
        return terms

    def _paid(self, errors: Tensor, weight: float) -> Tensor:
        self.G.remember(errors.sum(2))
        return weight * hindsight(errors)

    def _maps(self, images: Tensor, y: Tensor) -> dict[str, Tensor]:
        """How far each image is from y at each tap: (B, k, h, w). The target is looked at once for all k."""
        k, look, distance = self.config.images, self.perceptual.taps, self.perceptual.distance
        with torch.no_grad():
            wanted = {tap: widened(b).repeat_interleave(k, 0) for tap, b in look(y).items()}
        seen = look(images.flatten(0, 1)).items()
        return {tap: distance(widened(a), wanted[tap], reduction="none").mean(1).unflatten(0, (-1, k)) for tap, a in seen}

    def _weights(self, maps: dict[str, Tensor], step: int) -> dict[str, float | Tensor]:
        """lambda_l: as they stand, or what makes every tap as large as the first, by the means so far, which then stay.

        The paper does so once, after 100 epochs; here nothing jumps, since Adam would take thousands of steps to recover. It
        finds other weights at other resolutions: so each stage measures anew.
        """
        if not self.config.balance:
            return dict(self.perceptual.lambdas)
        if step < self.config.balance:
            now = torch.stack([widened(maps[tap].detach()).mean() for tap in self.perceptual.lambdas])
            self.means.lerp_(now, 1 / (step + 1))  # the first step forgets what was before
        return dict(zip(self.perceptual.lambdas, self.means[0] / self.means, strict=True))

    def sheet(self, batch: Batch) -> Sheet:
        styles = self.draw_styles(min(3, self.config.images), 0)
        return {"input": batch.x, **self._named(self.samples(batch.x, styles)), "target": batch.y}

    def _named(self, images: Sequence[Tensor]) -> Sheet:
        return {f"output {u}" if u > 1 else "output": image for u, image in enumerate(images, 1)}

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        """The image whose number is the style; without one the image that was the best most often."""
        return self.samples(x, [style])[0]

    def samples(
        self, x: Tensor, styles: Sequence[Style | None], *, reverse: bool = False, instances: Tensor | None = None
    ) -> list[Tensor]:
        """All of them in one pass. G has no tanh, so its values can lie a little outside of the range."""
        images, best_first = self.G(x).clamp(-1, 1), self.G.best_first()
        return [images[:, best_first[0 if style is None else int(style)]] for style in styles]

    def draw_styles(self, count: int, seed: int) -> list[Style]:
        """The images in the order in which they were the best most often, whatever the seed: nothing here is random."""
        k = self.config.images
        if count > k:
            raise UserError(
                f"{count} outputs are asked for, and this model makes {k} of an input", "train one with a larger model.images"
            )
        return list(torch.arange(count))

    def accepts(self) -> Accepts:
        stride = 2 ** (self.config.modules - 1)
        return Accepts(stride=stride, smallest=stride, halo=None)

    def smallest_crop(self) -> int:
        seen = self.perceptual.smallest if self.config.lambda_perceptual else 1
        return max(self.accepts().smallest, seen, self.matching.smallest)
