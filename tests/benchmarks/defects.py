"""Which metric sees which defect: blur, noise, a shift of colours, half of the modes dropped, copies of the reference, JPEG.

    python tests/benchmarks/defects.py [FOLDER] [--weights PLACE] [--n 100] [--splits 3] [--size 64] [--seconds]

Without a folder the images are the built-in scenes, summer and winter mixed. They are split at random into a reference and as
many others. The others are measured against the reference, "none", in several splits; and in the first one with each defect. A
defect is seen (+) where it lies more than three standard deviations of "none" from the mean of "none", on the bad side, and
taken for good (!) where it lies as far on the other side. Metrics of pairs compare each image with what it was before.
Nothing here is a test: figures depend on the images and on the machine.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from i2i import images
from i2i.data.scenes import Scene
from i2i.domain import Domain
from i2i.metrics import METRICS
from i2i.scores import Asked, Report, Shot, score


def blurred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1))


def noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(image) + rng.normal(0, 10, (*image.size[::-1], 3))
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def shifted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(image).astype(float) + np.array([20, 0, -20])
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def half_of_the_modes(others: list[Image.Image]) -> list[Image.Image]:
    """The darker half, each twice, the second time mirrored."""
    dark = sorted(others, key=lambda image: float(np.asarray(image).mean()))[: (len(others) + 1) // 2]
    return (dark + [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in dark])[: len(others)]


def nearly_copies(reference: list[Image.Image], rng: np.random.Generator) -> list[Image.Image]:
    """With a grey level of noise, so that nothing is found by equality."""
    values = (np.asarray(image) + rng.normal(0, 1, (*image.size[::-1], 3)) for image in reference)
    return [Image.fromarray(np.rint(v).clip(0, 255).astype(np.uint8)) for v in values]


EACH: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "blur": blurred, "noise": noisy, "colour": shifted, "JPEG": compressed
}  # fmt: skip
OF_SETS = ("modes", "copies")


def shots(pictures: list[Image.Image]) -> list[Shot]:
    def load(picture: Image.Image) -> Callable[[], Tensor]:
        return lambda: torch.tensor(np.asarray(picture)).permute(2, 0, 1)

    return [Shot(str(i), load(picture), picture.size[::-1], "PNG") for i, picture in enumerate(pictures)]


def values(report: Report) -> dict[str, float]:
    return {n.name: n.outcome.value for n in report.numbers if n.outcome.value is not None}


def named(kind: str) -> list[str]:
    return [name for name, metric in METRICS.items() if metric.kind == kind and metric.usual]


def one_split(pool: list[Image.Image], n: int, seed: int, weights: list[Path]) -> dict[str, dict[str, float]]:
    """The value of each metric, by defect; of all splits but the first of "none" alone."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool))
    reference, others = ([pool[i] for i in part] for part in (order[:n], order[n : 2 * n]))
    sets = {"none": others}
    if seed == 0:
        sets |= {name: [defect(image, rng) for image in others] for name, defect in EACH.items()}
        sets |= {"modes": half_of_the_modes(others), "copies": nearly_copies(reference, rng)}
    found = {}
    for name, pictures in sets.items():
        asked = Asked(named("sets"), weights=weights, seed=seed)
        found[name] = values(score(shots(pictures), shots(reference), asked, matched=False))
        if name not in OF_SETS:
            asked = Asked(named("pairs"), weights=weights)
            found[name] |= values(score(shots(pictures), shots(others), asked, matched=True))
        print(f"split {seed}: {name} {found[name]}", file=sys.stderr, flush=True)
    return found


def verdict(metric: str, found: float, none: list[float]) -> str:
    """+ seen, ! taken for good, . not seen."""
    better = METRICS[metric.partition(" ")[0]].better
    far = found - statistics.mean(none)
    bad = abs(far) if better == "0.5" else far if better == "lower" else -far
    return "+" if bad > 3 * spread(none) else "!" if -bad > 3 * spread(none) else "."


def spread(none: list[float]) -> float:
    """Of perfect pairs there is none."""
    return statistics.stdev(none) if len(none) > 1 and np.isfinite(none).all() else 0.0


def matrix(splits: list[dict[str, dict[str, float]]]) -> None:
    defects = [*EACH, *OF_SETS]
    print(f"{'metric':<28}{'none':>10} +-{'':<6}" + "".join(f"{defect:>13}" for defect in defects))
    for metric in splits[0]["none"]:
        none = [split["none"][metric] for split in splits]
        line = f"{metric:<28}{statistics.mean(none):>10.4g} +-{spread(none):<6.2g}"
        for defect in defects:
            found = splits[0][defect].get(metric)
            line += f"{'-' if found is None else f'{found:.4g} {verdict(metric, found, none)}':>13}"
        print(line)


def seconds(weights: list[Path], n: int, side: int = 256) -> None:
    """What 1,000 images cost: outputs, of which each has its own real image, with all that real/real costs."""
    rng = np.random.default_rng(0)
    pictures = [[Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(n)] for _ in range(2)]
    print(f"\nseconds of one core for 1,000 outputs and 1,000 real images of {side} pixels, measured on {n} and {n}")
    for name in [*named("pairs"), *named("sets")]:
        start = time.process_time()
        report = score(*map(shots, pictures), Asked([name], weights=weights), matched=METRICS[name].kind == "pairs")
        spent = (time.process_time() - start) * 1000 / n
        print(
            f"{report.numbers[0].name:<28}{spent:>8.1f}"
            if report.numbers[0].outcome.value is not None
            else f"{name:<28}       -"
        )


def pool_of(folder: Path | None, count: int, side: int) -> list[Image.Image]:
    if folder is None:
        scenes = (Scene(0, i, side, side) for i in range(count))
        return [Image.fromarray(scene.winter if scene.index % 2 else scene.photo) for scene in scenes]
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in images.SUFFIXES)[:count]
    return [Image.fromarray(Domain.of(3).conform(images.read(f))).resize((side, side)) for f in files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path, action="append", default=[])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", action="store_true", help="measure the time and not the defects")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.seconds:
        pool = pool_of(given.folder, 3 * given.n, given.size)
        n = min(given.n, len(pool) // 2)
        print(f"{len(pool)} images of {given.size} pixels, {n} on each side, {given.splits} splits")
        matrix([one_split(pool, n, seed, given.weights) for seed in range(given.splits)])
    else:
        seconds(given.weights, given.n)


if __name__ == "__main__":
    main()
