"""The data set that ships as code: small procedural scenes, each seen in six ways, without a download.

`scene(seed, index)` is deterministic: the same bytes on any worker and in any order. Label map, instances, edges, photo,
winter and simulator view of a scene share one geometry, so unpaired methods can be judged against a truth they never saw.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from i2i.atomic import replacing_folder
from i2i.data.scenes_layout import CLASSES, THINGS, Layout, compose
from i2i.data.scenes_paint import SAMPLES, paint
from i2i.errors import UserError

SMALLEST = 16
# For each layout: its splits, which take disjoint scenes; whether a split is held out; the view that goes to each folder.
LAYOUTS: dict[str, list[tuple[bool, dict[str, str]]]] = {
    "paired": [(False, {"train": "pair"}), (True, {"val": "pair"})],
    "unpaired": [
        (False, {"trainA": "photo", "truth/trainA": "winter"}),
        (False, {"trainB": "winter", "truth/trainB": "photo"}),
        (True, {"testA": "photo", "truth/testA": "winter"}),
        (True, {"testB": "winter", "truth/testB": "photo"}),
    ],
    "labels": [
        (False, {"train_label": "label", "train_inst": "instance", "train_img": "photo"}),
        (True, {"test_label": "label", "test_inst": "instance", "test_img": "photo"}),
    ],
    "simreal": [(False, {"synthetic": "simulator"}), (False, {"real": "photo"})],
}
SIMULATED = {  # RGB bytes for each material of `scenes_paint`, a little off on purpose
    "sky": (120, 170, 255),
    "cloud": (255, 255, 255),
    "sun": (255, 240, 0),
    "mountain": (130, 120, 150),
    "hill": (60, 140, 80),
    "grass": (90, 200, 60),
    "water": (40, 90, 230),
    "path": (210, 180, 120),
    "wall": (235, 225, 200),
    "chimney": (170, 80, 60),
    "roof": (200, 60, 40),
    "rim": (225, 215, 195),
    "glass": (80, 140, 220),
    "frame": (245, 245, 245),
    "door": (130, 70, 30),
    "leaves": (40, 150, 40),
    "needles": (20, 110, 60),
    "bark": (120, 80, 40),
}
PALETTE = np.array([colour for _, colour in CLASSES], np.uint8)


@dataclass(frozen=True)
class Scene:
    """One scene of `height` x `width` pixels; every view is drawn when it is first asked for. Colours are RGB."""

    seed: int
    index: int
    height: int
    width: int

    @cached_property
    def layout(self) -> Layout:
        return compose(np.random.default_rng([self.seed, self.index]), self.width / self.height)

    @cached_property
    def _samples(self) -> np.ndarray:
        """Which shape covers each sample, (H * SAMPLES, W * SAMPLES)."""
        return self.layout.rasterise(self.height * SAMPLES, self.width * SAMPLES)

    @cached_property
    def _shapes(self) -> np.ndarray:
        """Which shape covers each pixel's centre, (H, W)."""
        return self._samples[SAMPLES // 2 :: SAMPLES, SAMPLES // 2 :: SAMPLES]

    @cached_property
    def label(self) -> np.ndarray:
        """Class ids, (H, W) uint8: positions in `CLASSES`."""
        return np.array([shape.label for shape in self.layout.shapes], np.uint8)[self._shapes]

    @cached_property
    def instance(self) -> np.ndarray:
        """(H, W) uint16: the class id for stuff, class id * 1000 + k for the k-th thing of a class, as in Cityscapes."""
        return np.array([shape.instance for shape in self.layout.shapes], np.uint16)[self._shapes]

    @cached_property
    def edges(self) -> np.ndarray:
        """(H, W) uint8: black (0) lines on white (255) where two instances meet."""
        lines = np.full(self.instance.shape, 255, np.uint8)
        lines[:, 1:][self.instance[:, 1:] != self.instance[:, :-1]] = 0
        lines[1:][self.instance[1:] != self.instance[:-1]] = 0
        return lines

    @cached_property
    def photo(self) -> np.ndarray:
        """The scene in summer, (H, W, 3) uint8."""
        return paint(self.layout, self._samples, winter=False)

    @cached_property
    def winter(self) -> np.ndarray:
        """The same scene under snow, (H, W, 3) uint8: other colours, other textures, the same outlines."""
        return paint(self.layout, self._samples, winter=True)

    @cached_property
    def simulator(self) -> np.ndarray:
        """A cheap renderer's idea of the scene, (H, W, 3) uint8: flat, jagged, and lit from the left whatever the sun does."""
        colours = np.array([SIMULATED[shape.material] for shape in self.layout.shapes], float)
        tint = np.array([min(max(shape.tint, 0.8), 1.15) for shape in self.layout.shapes])
        return np.clip(colours * tint[:, None], 0, 255).astype(np.uint8)[self._shapes]

    @cached_property
    def pair(self) -> np.ndarray:
        """Coloured label map on the left, photo on the right, (H, 2 W, 3) uint8."""
        return np.concatenate([colour_label(self.label), self.photo], 1)

    def boxes(self) -> list[dict]:
        """Every visible thing: class, instance id and box [left, top, right, bottom], in pixels, right and bottom excluded."""
        found = []
        for number in np.unique(self.instance[np.isin(self.label, list(THINGS))]):
            rows, columns = np.nonzero(self.instance == number)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            name = CLASSES[number // 1000][0]
            found.append({"class": name, "instance": int(number), "box": [int(edge) for edge in box]})
        return found


def scene(seed: int, index: int, size: int | tuple[int, int] = 128) -> Scene:
    """Scene number `index` of the endless set `seed`; `size` is one side or (height, width), at least 16."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < SMALLEST:
        raise UserError(f"a scene of {height}x{width} pixels is too small", f"ask for at least {SMALLEST}x{SMALLEST}")
    if min(seed, index) < 0:
        raise UserError(f"scenes have no seed {seed} with index {index}", "both count from 0")
    return Scene(seed, index, height, width)


def colour_label(label: np.ndarray) -> np.ndarray:
    """(H, W) class ids -> (H, W, 3) uint8 RGB in the colours of `CLASSES`."""
    return PALETTE[label]


def make(
    folder: Path,
    layout: str,
    count: int,
    size: int | tuple[int, int] = 128,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Write `count` training scenes as PNG in one of `LAYOUTS`, with a tenth as many held out; all of it or nothing.

    Training never reads `truth/`: there each unpaired image has its other season under the same name. `on_progress` gets the
    number of scenes done, of `scenes_needed(layout, count)`.
    """
    _refuse(folder, layout, count, size, seed)
    place = folder.resolve()  # an empty folder behind a link may be filled too
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(place) as scratch:
        for path in {path for _, views in LAYOUTS[layout] for path in views}:
            (scratch / path).mkdir(parents=True)
        for done, (index, views) in enumerate(_plan(layout, count), start=1):
            _write(scene(seed, index, size), scratch, views)
            if on_progress:
                on_progress(done)
        if place.exists():
            place.rmdir()


def scenes_needed(layout: str, count: int) -> int:
    """How many scenes `make` draws for `count` training images."""
    return sum(_length(held_out, count) for held_out, _ in LAYOUTS[layout])


def _length(held_out: bool, count: int) -> int:
    return max(1, count // 10) if held_out else count


def _plan(layout: str, count: int) -> Iterator[tuple[int, dict[str, str]]]:
    """Number the scenes through all splits, so that none is in two."""
    splits = [[views] * _length(held_out, count) for held_out, views in LAYOUTS[layout]]
    return enumerate(chain.from_iterable(splits))


def _write(drawn: Scene, root: Path, views: dict[str, str]) -> None:
    name = f"scene-{drawn.index:05d}"
    for path, view in views.items():
        pixels = getattr(drawn, view)
        ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV writes BGR
        (root / path / f"{name}.png").write_bytes(cv2.imencode(".png", ordered)[1].tobytes())
        if view == "simulator":
            (root / path / f"{name}.json").write_text(json.dumps(drawn.boxes()) + "\n", encoding="utf-8", newline="\n")


def _refuse(folder: Path, layout: str, count: int, size: int | tuple[int, int], seed: int) -> None:
    if layout not in LAYOUTS:
        raise UserError(f"scenes have no layout '{layout}'", f"choose one of {', '.join(LAYOUTS)}")
    if count < 1:
        raise UserError(f"cannot make {count} scenes", "ask for at least 1")
    if min(size if isinstance(size, tuple) else (size,)) < SMALLEST:
        raise UserError(f"scenes of {size} pixels are too small", f"ask for at least {SMALLEST}")
    if seed < 0:
        raise UserError(f"scenes have no seed {seed}", "seeds count from 0")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' exists and is not an empty folder", "name a new folder, or remove this one first")
