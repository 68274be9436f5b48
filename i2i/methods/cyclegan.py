"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu, Park, Isola, Efros 2017,
arXiv:1703.10593)."""

from pydantic import Field
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses.history import History
from i2i.losses.matching import l1
from i2i.method import Accepts, Batch, Method, Sheet, Style, Update
from i2i.methods.parts import Discriminator, Gan, Generator, Initial
from i2i.networks.layers import together
from i2i.settings import Settings


class CycleGANConfig(Settings):
    """Defaults: the paper, sections 4 and 7, and the published PyTorch code where the paper is silent."""

    generator: Generator = Generator(kind="resnet", blocks=9, norm="instance")  # 7.2: 9 blocks from 256 px on, 6 for 128
    discriminator: Discriminator = Discriminator(layers=3, norm="instance")  # 7.2: patches of 70x70
    gan: Gan = Gan(kind="lsgan")  # section 4
    lambda_cycle_x: float = Field(10.0, ge=0)  # section 4: lambda = 10, here for |F(G(x)) - x|
    lambda_cycle_y: float = Field(10.0, ge=0)  # and for |G(F(y)) - y|
    lambda_identity: float = Field(0.5, ge=0)  # times lambda; section 5.2 for paintings, the published code for all
    history: int = Field(50, ge=0)  # section 4: fakes that D is shown again
    initial: Initial = Initial()  # section 7.1: N(0, 0.02)


class CycleGAN(Method):
    """Eq. 3: L(G, F, D_X, D_Y) = L_GAN(G, D_Y) + L_GAN(F, D_X) + lambda L_cyc(G, F), with G: X -> Y and F: Y -> X."""

    Config, data, reversible = CycleGANConfig, "unpaired", True

    def __init__(self, config: CycleGANConfig, x: Domain, y: Domain):
        super().__init__(config, x, y)
        if config.lambda_identity and x.channels != y.channels:
            raise UserError(
                "the identity loss gives a generator images of its own output side, "
                f"but one side has {x.channels} channels and the other {y.channels}",
                "train without it: --set model.lambda_identity=0",
            )
        self.config, self.game = config, config.gan.build(real_first=True, pairs=False)
        self.G = config.generator.build(x.channels, y.channels, config.initial)
        self.F = config.generator.build(y.channels, x.channels, config.initial)
        self.D_X = config.discriminator.build(x.channels, config.initial)
        self.D_Y = config.discriminator.build(y.channels, config.initial)
        self.history_x, self.history_y = History(config.history), History(config.history)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G, self.F], "D": [self.D_X, self.D_Y]}

    def generators(self) -> dict[str, nn.Module]:
        return {"G": self.G, "F": self.F}

    def step(self, batch: Batch, update: Update) -> Sheet:
        c, x, y = self.config, batch.x, batch.y
        fake_y = self.G(x)
        back_x = self.F(fake_y)
        if c.lambda_identity:
            fake_x, same_x = together(self.F, y, x)
            back_y, same_y = together(self.G, fake_x, y)
            identity = {
                "identity_x": c.lambda_cycle_x * c.lambda_identity * l1(same_x, x),
                "identity_y": c.lambda_cycle_y * c.lambda_identity * l1(same_y, y),
            }
        else:
            fake_x, identity = self.F(y), {}
            back_y = self.G(fake_x)
        update(
            "G",
            gan_x=self._fools(self.D_X, fake_x, x),
            gan_y=self._fools(self.D_Y, fake_y, y),
            cycle_x=c.lambda_cycle_x * l1(back_x, x),
            cycle_y=c.lambda_cycle_y * l1(back_y, y),
            **identity,
        )
        judged_x = self.game.discriminator(self.D_X, x, self.history_x.query(fake_x))
        judged_y = self.game.discriminator(self.D_Y, y, self.history_y.query(fake_y))
        update("D", **_of("x", judged_x), **_of("y", judged_y))
        sheet = {"x": x, "G(x)": fake_y, "F(G(x))": back_x, "y": y, "F(y)": fake_x, "G(F(y))": back_y}
        return sheet | ({"F(x)": same_x, "G(y)": same_y} if c.lambda_identity else {})

    def _fools(self, D: nn.Module, fake: Tensor, real: Tensor) -> Tensor:
        """What a generator pays for what D makes of its fakes."""
        return self.game.generator(*self.game.look(D, fake, real))

    def sheet(self, batch: Batch) -> Sheet:
        x, y = batch.x, batch.y
        fake_y, fake_x = self.G(x), self.F(y)
        return {"x": x, "G(x)": fake_y, "F(G(x))": self.F(fake_y), "y": y, "F(y)": fake_x, "G(F(y))": self.G(fake_x)}

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        return (self.F if reverse else self.G)(x)

    def accepts(self) -> Accepts:
        return self.config.generator.accepts()

    def smallest_crop(self) -> int:
        return max(self.accepts().smallest, self.config.discriminator.smallest())


def _of(side: str, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms under the names of one side, such as real_x."""
    return {f"{name}_{side}": loss for name, loss in terms.items()}
