"""Score unpaired training against what it never saw: `scenes` keeps the true winter of every summer image aside.

i2i data make scenes my-scenes --layout unpaired --count 200 --size 128
i2i train cyclegan --data my-scenes --preset quick --out run
i2i translate run my-scenes/testA -o winter
python examples/score_against_truth.py winter my-scenes/truth/testA my-scenes/testA
"""

import sys
from pathlib import Path

import numpy as np

from i2i.images import read


def error(made: Path, truth: Path) -> float:
    """Mean absolute error in 8-bit levels over all images of the same name."""
    names = sorted(file.name for file in truth.glob("*.png"))
    return float(np.mean([np.abs(read(made / n).array.astype(float) - read(truth / n).array).mean() for n in names]))


made, truth, source = map(Path, sys.argv[1:4])
before, after = error(source, truth), error(made, truth)
print(f"error against the truth in grey levels: {before:.2f} untranslated, {after:.2f} translated")
