"""pix2pixHD: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (Wang, Liu, Zhu, Tao, Kautz,
Catanzaro 2018, arXiv:1711.11585)."""

from collections.abc import Mapping

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses.history import History
from i2i.method import Accepts, Batch, Method, Sheet, Style, Update
from i2i.methods.parts import Gan, Initial, Matching, ScaledDiscriminator, require_side
from i2i.networks.coarse_to_fine import FeatureEncoder, GlobalGenerator, LocalEnhancer
from i2i.networks.instances import FeatureMemory, boundaries, instance_mean
from i2i.networks.layers import NormName, UpsampleName, fitted, initialise, with_image_statistics
from i2i.networks.patchgan import MultiScalePatchGAN
from i2i.settings import Settings


class Generator(Settings):
    """The global generator alone, or inside `enhancers` rings that each double the resolution; `width` is at full size."""

    width: int = Field(64, ge=1)
    halvings: int = Field(4, ge=1)
    blocks: int = Field(9, ge=0)
    enhancers: int = Field(0, ge=0)
    local_blocks: int = Field(3, ge=0)
    norm: NormName = "instance"
    upsample: UpsampleName = "transposed"

    def build(self, in_channels: int, out_channels: int, initial: Initial) -> GlobalGenerator | LocalEnhancer:
        network: GlobalGenerator | LocalEnhancer
        if self.enhancers:
            network = LocalEnhancer(in_channels, out_channels, **self.model_dump())
        else:
            network = GlobalGenerator(in_channels, out_channels, **self.model_dump(exclude={"enhancers", "local_blocks"}))
        initialise(network, initial.kind, initial.gain)
        with_image_statistics(network)
        return network

    def accepts(self) -> Accepts:
        stride, inside = 2 ** (self.halvings + self.enhancers), (self.halvings, self.blocks)
        halo = GlobalGenerator.halo(*inside, self.upsample)
        if self.enhancers:
            halo = LocalEnhancer.halo(*inside, self.enhancers, self.local_blocks, self.upsample)
        return Accepts(stride=stride, smallest=2 * stride, halo=halo)


class Encoder(Settings):
    """What turns a photo into features of its things: `halvings` there and back, `width` channels at full size."""

    width: int = Field(16, ge=1)
    halvings: int = Field(4, ge=1)
    norm: NormName = "instance"

    def build(self, in_channels: int, features: int, initial: Initial) -> FeatureEncoder:
        network = FeatureEncoder(in_channels, features, **self.model_dump())
        initialise(network, initial.kind, initial.gain)
        with_image_statistics(network)
        return network


class Pix2PixHDConfig(Matching):
    """Defaults: the published code, with the paper where that says more."""

    generator: Generator = Generator()
    discriminator: ScaledDiscriminator = ScaledDiscriminator()  # two scales up to 1024x512, three for 2048x1024
    gan: Gan = Gan(kind="lsgan")
    lambda_feat: float = Field(10.0, ge=0)  # section 4: lambda = 10
    lambda_perceptual: float = Field(10.0, ge=0)  # the same in VGG-19, as in the published code
    features: int = Field(0, ge=0)
    """Channels that tell G what each thing is like (section 3.4; 3 as published); 0: one output for one input."""
    encoder: Encoder = Encoder()
    clusters: int = Field(10, ge=1)  # section 3.4: K = 10 kinds of things of each label
    fix_epochs: float = Field(0.0, ge=0)
    """How long the generator inside of the outermost enhancer is held fixed; the published recipe has 10 or 20."""
    history: int = Field(0, ge=0)
    """Pairs of inputs and fakes that D is shown again."""
    initial: Initial = Initial()

    @model_validator(mode="after")
    def _something_can_be_fixed(self) -> "Pix2PixHDConfig":
        if self.fix_epochs and not self.generator.enhancers:
            raise ValueError("fix_epochs holds what is inside of the enhancers, and generator.enhancers is 0")
        return self


class Pix2PixHD(Method):
    """Eq. 5: min_G (max_D1,D2.. sum_k L_GAN(G, D_k)) + lambda sum_k L_FM(G, D_k), and the same in VGG-19.

    G and D see the label map with the boundaries of things (section 3.3); with `features` G also sees what each thing is like
    (section 3.4). An input without labels goes in as it is. Sides that G cannot halve are mirrored at the edges and cut back.
    """

    Config, data, scenes = Pix2PixHDConfig, "paired", "labels"
    reads = frozenset({"instances", "region"})

    def __init__(self, config: Pix2PixHDConfig, x: Domain, y: Domain):
        super().__init__(config, x, y)
        self.config, self.x, self.channels, self.matching = config, x, y.channels, config.matching()
        self.game = config.gan.build(pairs=not config.history)
        channels = x.channels + x.instances
        self.G = config.generator.build(channels + config.features, y.channels, config.initial)
        self.D = config.discriminator.build(MultiScalePatchGAN, channels + y.channels, config.initial)
        self.history = History(config.history)
        if config.features:
            self.E = config.encoder.build(y.channels, config.features, config.initial)
            self.memory = FeatureMemory(x.channels if x.labels else 1, config.features)

    def players(self) -> dict[str, list[nn.Module]]:
        """G is what is always trained, the outermost enhancer where there is one, and `coarse` is what is inside of that."""
        coarse: dict[str, list[nn.Module]] = {"coarse": self.G.coarse()} if self.config.generator.enhancers else {}
        encoder: dict[str, list[nn.Module]] = {"E": [self.E]} if self.config.features else {}
        return {"G": self.G.finest(), **coarse, **encoder, "D": [self.D]}

    def generators(self) -> dict[str, nn.Module]:
        return {"G": self.G, "E": self.E, "memory": self.memory} if self.config.features else {"G": self.G}

    def require(self) -> None:
        self.matching.require(self.channels)

    def step(self, batch: Batch, update: Update) -> Sheet:
        y, seen = batch.y, self._seen(batch.x, batch.instances)
        features = self._features_of(batch)
        fake = self._generate(seen, features)

        fake_pair, real_pair, colours = torch.cat([seen, fake], 1), torch.cat([seen, y], 1), y.shape[1]
        maps = self.game.look(self.D, fake_pair, real_pair, features=self.matching.needs_real, colours=colours)
        matching = self.matching(fake, y, *maps, region=batch.region)
        update(*self._learners(update.epoch), gan=self.game.generator(*maps), **matching)

        update("D", **self.game.discriminator(self.D, real_pair, self.history.query(fake_pair), colours=colours))
        if features is not None:
            self.memory.remember(features, self._things(batch.x, batch.instances), self._labels(batch.x))
        return self._shown(batch, fake)

    def _learners(self, epoch: float) -> list[str]:
        """Who learns beside D. The coarse part waits until the new ring around it has learned something (section 3.2)."""
        waiting = {"coarse"} if epoch < self.config.fix_epochs else set()
        return [name for name in self.players() if name != "D" and name not in waiting]

    # What the networks are given

    def _seen(self, x: Tensor, instances: Tensor | None) -> Tensor:
        """What G and D both see: x, and the boundaries of things in {0, 1} where the data has things."""
        if not self.x.instances:
            return x
        if instances is None:
            raise UserError("this model sees the boundaries of things", "give instance ids with the label maps, as in training")
        return torch.cat([x, boundaries(instances).to(x)], 1)

    def _generate(self, seen: Tensor, features: Tensor | None) -> Tensor:
        given = seen if features is None else torch.cat([seen, features], 1)
        return fitted(self.G, given, self.accepts().stride)

    def _features_of(self, batch: Batch) -> Tensor | None:
        """What the things of a batch are like in its photos, (B, features, H, W)."""
        if not self.config.features:
            return None
        return instance_mean(self._encode(batch.y), self._things(batch.x, batch.instances))

    def _encode(self, y: Tensor) -> Tensor:
        return fitted(self.E, y, 2**self.config.encoder.halvings)

    def _things(self, x: Tensor, instances: Tensor | None) -> Tensor:
        """Ids (B, 1, H, W); without instances all of a label is one thing, and without labels the whole image."""
        return self._labels(x) if instances is None else instances

    def _labels(self, x: Tensor) -> Tensor:
        return x.argmax(1, keepdim=True) if self.x.labels else torch.zeros_like(x[:, :1], dtype=torch.int64)

    # Translation

    def sheet(self, batch: Batch) -> Sheet:
        return self._shown(batch, self.translate(batch.x, instances=batch.instances))

    def _shown(self, batch: Batch, output: Tensor) -> Sheet:
        lines = {"boundaries": boundaries(batch.instances).to(output) * 2 - 1} if batch.instances is not None else {}
        return {"input": batch.x, **lines, "output": output, "target": batch.y}

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        seen = self._seen(x, instances)
        return self._generate(seen, self._styled(x, instances, style) if self.config.features else None)

    def _styled(self, x: Tensor, instances: Tensor | None, style: Style | None) -> Tensor:
        """The features (B, features, H, W) of a style: a row for each label, or a map of what a photo shows where.

        Without a style every label looks like the most common kind of it.
        """
        style = self.choose_style({}) if style is None else style
        if style.ndim == 2:
            return style.to(x)[self._labels(x)[:, 0]].movedim(-1, 1)
        resized = self._laid_over(style.to(x), x)
        return instance_mean(resized.expand(len(x), -1, -1, -1), self._things(x, instances))

    def _laid_over(self, style: Tensor, x: Tensor) -> Tensor:
        """What a photo shows, as large as x: mirrored at the edges where x was mirrored up to its size, else resized."""
        extra, stride = [a - b for a, b in zip(x.shape[-2:], style.shape[-2:], strict=True)], self.accepts().stride
        if all(0 <= pixels < min(stride, side) for pixels, side in zip(extra, style.shape[-2:], strict=True)):
            left, above = extra[1] // 2, extra[0] // 2
            return functional.pad(style, (left, extra[1] - left, above, extra[0] - above), mode="reflect")
        return functional.interpolate(style, x.shape[-2:], mode="bilinear", antialias=True)

    def draw_styles(self, count: int, seed: int) -> list[Style]:
        """For each label one of its kinds (section 3.4), for all things of it; as published each thing gets its own."""
        if not self.config.features:
            return super().draw_styles(count, seed)
        generator, labels = torch.Generator().manual_seed(seed), self.memory.kinds(self.config.clusters)

        def drawn(kinds: Tensor) -> Tensor:
            return kinds[int(torch.randint(len(kinds), (), generator=generator))]

        return [torch.stack([drawn(kinds) for kinds in labels]) for _ in range(count)]

    def choose_style(self, choices: Mapping[int, int]) -> Style:
        """For each label the kind of that number, 0 being the most common one; that for labels without a choice."""
        if not self.config.features:
            return super().choose_style(choices)
        labels = self.memory.kinds(self.config.clusters)
        for label, kind in choices.items():
            if not 0 <= label < len(labels):
                raise UserError(f"there is no label {label}", f"this model has 0 to {len(labels) - 1}")
            if not 0 <= kind < len(labels[label]):
                raise UserError(f"label {label} has no kind {kind}", f"it has 0 to {len(labels[label]) - 1}")
        return torch.stack([kinds[choices.get(label, 0)] for label, kinds in enumerate(labels)])

    def encode_style(self, y: Tensor) -> Style:
        """What E sees in a photo, (1, features, H, W), for the mean over each thing of an input."""
        if not self.config.features:
            return super().encode_style(y)
        require_side(y, 2**self.config.encoder.halvings)
        return self._encode(y)

    def accepts(self) -> Accepts:
        """With features a thing of any size decides about all of its pixels; boundaries look at a neighbour."""
        accepts = self.config.generator.accepts()
        halo = None if accepts.halo is None or self.config.features else accepts.halo + self.x.instances
        return Accepts(accepts.stride, accepts.smallest, halo)

    def crop_stride(self) -> int:
        return 1

    def smallest_crop(self) -> int:
        encoder = 2**self.config.encoder.halvings if self.config.features else 1
        judged = MultiScalePatchGAN.smallest(self.config.discriminator.scales)
        return max(self.accepts().smallest, judged, encoder, self.matching.smallest)
