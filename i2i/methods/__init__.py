"""The methods by name. Importing this costs nothing: a method's own file, and torch, load when it is chosen."""

from typing import NamedTuple

from i2i.errors import UserError, meant


class Row(NamedTuple):
    where: str
    data: str
    summary: str


METHODS = {
    "pix2pix": Row(
        "i2i.methods.pix2pix:Pix2Pix",
        "paired",
        "conditional GAN with an L1 term: learn x -> y from pairs (Isola et al. 2017)",
    ),
    "pix2pixhd": Row(
        "i2i.methods.pix2pixhd:Pix2PixHD",
        "paired",
        "label maps to large photos, coarse to fine: learn x -> y from pairs (Wang et al. 2018)",
    ),
    "cyclegan": Row(
        "i2i.methods.cyclegan:CycleGAN",
        "unpaired",
        "two generators that must undo each other: learn x <-> y without pairs (Zhu et al. 2017)",
    ),
    "bicyclegan": Row(
        "i2i.methods.bicyclegan:BicycleGAN",
        "paired",
        "many outputs for one input, chosen by a latent code: learn (x, z) -> y from pairs (Zhu et al. 2017)",
    ),
    "simgan": Row(
        "i2i.methods.simgan:SimGAN",
        "unpaired",
        "a refiner that makes synthetic images look real and keeps their labels valid (Shrivastava et al. 2017)",
    ),
    "crn": Row(
        "i2i.methods.crn:CRN",
        "paired",
        "a cascade trained on perceptual features, without a discriminator: label maps -> photos (Chen and Koltun 2017)",
    ),
}


def chosen(name: str) -> Row:
    """The row of a method. Raises UserError with the nearest name for one that does not exist."""
    if name not in METHODS:
        raise UserError(f"there is no method '{name}'", meant(name, METHODS) or f"there are: {', '.join(METHODS)}")
    return METHODS[name]
