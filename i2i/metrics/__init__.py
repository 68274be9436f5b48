"""What can be measured, by name: importable without torch. The formulas are in the modules beside this, on plain tensors."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from i2i.errors import UserError, meant

Kind = Literal["pairs", "sets", "palette", "segments", "styles"]
JudgeName = Literal["features", "features-legacy", "lpips", "lpips-v0.0"]


class Metric(NamedTuple):
    """What it compares, which way is better, the fewest images that it says anything of, and what it needs beside them.

    "pairs": each output with its own target; "sets": outputs with real images, each as a set; "segments": what a segmenter
    sees with label maps; "styles": the outputs of one input. `judge` is the network that looks.
    """

    kind: Kind
    better: str
    least: int
    summary: str
    judge: JudgeName | None = None
    usual: bool = True


METRICS = {
    "l1": Metric("pairs", "lower", 1, "mean absolute error in 8-bit levels"),
    "psnr": Metric("pairs", "higher", 1, "peak signal-to-noise ratio in dB, mean over the images"),
    "ssim": Metric("pairs", "higher", 1, "structural similarity (Wang et al. 2004)"),
    "ms-ssim": Metric("pairs", "higher", 1, "SSIM at five scales (Wang et al. 2003)"),
    "lpips": Metric("pairs", "lower", 1, "perceptual distance, version 0.1 (Zhang et al. 2018)", "lpips"),
    "lpips-v0.0": Metric("pairs", "lower", 1, "the same in version 0.0, for old papers", "lpips-v0.0", usual=False),
    "palette-accuracy": Metric("palette", "higher", 1, "share of pixels with the right colour of a palette"),
    "palette-miou": Metric("palette", "higher", 1, "mean intersection over union of the palette's colours"),
    "seg-accuracy": Metric("segments", "higher", 1, "share of pixels in which a segmenter sees the class of the label map"),
    "seg-class-accuracy": Metric("segments", "higher", 1, "the same for each class, mean over the classes"),
    "seg-miou": Metric("segments", "higher", 1, "mean intersection over union of those classes (FCN-score of the papers)"),
    "kid": Metric("sets", "lower", 50, "kernel distance, unbiased (Binkowski et al. 2018)", "features"),
    "fid": Metric("sets", "lower", 100, "Frechet distance, clean resize (Parmar et al. 2022)", "features"),
    "fid-legacy": Metric("sets", "lower", 100, "the same with the resize of TensorFlow 1", "features-legacy", usual=False),
    "precision": Metric("sets", "higher", 50, "outputs that lie among real images (Kynkaanniemi et al. 2019)", "features"),
    "recall": Metric("sets", "higher", 50, "real images that lie among outputs", "features"),
    "density": Metric("sets", "higher", 50, "how thick real images lie around outputs (Naeem et al. 2020)", "features"),
    "coverage": Metric("sets", "higher", 50, "real images that have an output beside them", "features"),
    "1nn": Metric("sets", "0.5", 20, "1-NN two-sample test in features: 0 copies, 1 told apart", "features"),
    "1nn-pixels": Metric("sets", "0.5", 20, "the same in thumbnails of 32 pixels"),
    "classifier": Metric("sets", "0.5", 100, "how often a small CNN tells outputs from real images (Lopez-Paz et al. 2017)"),
    "swd": Metric("sets", "lower", 10, "sliced Wasserstein distance of patches, x1000 (Karras et al. 2018)"),
    "birthday": Metric("sets", "lower", 20, "share of batches with two outputs that are nearly one (Arora et al. 2018)"),
    "diversity-pixels": Metric("sets", "higher", 2, "how far outputs lie apart, in 8-bit levels of thumbnails"),
    "styles-pixels": Metric("styles", "higher", 1, "how far the outputs of one input lie apart, in 8-bit levels"),
    "styles-lpips": Metric("styles", "higher", 1, "the same in LPIPS v0.0, BicycleGAN's protocol", "lpips-v0.0"),
}


def chosen(names: Iterable[str], where: str) -> list[str]:
    """These names, each once. Raises UserError for none, and with the nearest name for one that does not exist."""
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in found:
        if name not in METRICS:
            raise UserError(f"{where}: there is no metric '{name}'", meant(name, METRICS) or f"there are {', '.join(METRICS)}")
    if not found:
        raise UserError(f"{where} names no metric", f"there are {', '.join(METRICS)}")
    return found


def usual(kinds: Iterable[Kind]) -> list[str]:
    """The names of what is measured where nobody asks for something else."""
    return [name for name, metric in METRICS.items() if metric.kind in set(kinds) and metric.usual]
