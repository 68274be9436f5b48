"""Train image-to-image translation models on your own folders, and apply them to folders of any size."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from i2i.networks.layers import NormStats
    from i2i.training.precision import PrecisionName
    from i2i.translate import Translator


def load(
    path: str | Path, device: str = "auto", precision: "PrecisionName" = "auto", *, norm_stats: "NormStats" = "image"
) -> "Translator":
    """Open a run, a checkpoint folder or a `.safetensors` file, ready to translate images."""
    from i2i.translate import Translator  # torch loads here, not with the package

    return Translator.open(path, device, precision, norm_stats=norm_stats)
