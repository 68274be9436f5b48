"""Draw the picture of the README: some scenes of the built-in data, each in five views.

python examples/scenes.py scenes.png
"""

import sys
from pathlib import Path

import numpy as np

from i2i.data.scenes import colour_label, scene
from i2i.images import Picture

SIZE, GAP = 192, 6
CHOSEN = (63, 101)  # of seed 0


def row(index: int) -> np.ndarray:
    """(SIZE, W, 3): label map, edges, simulator, photo, winter."""
    shown = scene(0, index, SIZE)
    views = [colour_label(shown.label), np.dstack([shown.edges] * 3), shown.simulator, shown.photo, shown.winter]
    white = np.full((SIZE, GAP, 3), 255, np.uint8)
    return np.hstack([part for view in views for part in (white, view)][1:])


rows = [row(index) for index in CHOSEN]
white = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
Picture(np.vstack([rows[0], white, rows[1]])).save(Path(sys.argv[1] if len(sys.argv) > 1 else "scenes.png"))
