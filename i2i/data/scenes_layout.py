"""What stands where in a scene: outlines of sky, hills, water, houses and trees, before anything is painted.

Positions are in units of the picture's height: x in [0, width / height], y in [0, 1] from the top. One layout serves all
views of a scene, so that their geometry is the same at every size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = (
    ("sky", (135, 190, 235)),
    ("cloud", (235, 240, 250)),
    ("sun", (255, 221, 64)),
    ("mountain", (124, 122, 158)),
    ("hill", (58, 125, 108)),
    ("grass", (140, 196, 82)),
    ("water", (38, 96, 196)),
    ("path", (214, 178, 124)),
    ("wall", (196, 86, 120)),
    ("roof", (148, 34, 34)),
    ("window", (64, 224, 208)),
    ("door", (110, 60, 168)),
    ("tree", (20, 84, 38)),
    ("trunk", (104, 66, 32)),
)
SKY, CLOUD, SUN, MOUNTAIN, HILL, GRASS, WATER, PATH, WALL, ROOF, WINDOW, DOOR, TREE, TRUNK = range(len(CLASSES))
THINGS = {CLOUD, WALL, ROOF, WINDOW, DOOR, TREE, TRUNK}  # what can be counted; the rest is stuff

SUBPIXEL_BITS = 4
Track = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y and half the width along a path
CIRCLE = np.linspace(0, 2 * np.pi, 20, endpoint=False)


@dataclass(frozen=True)
class Shape:
    """One filled outline. `instance` follows Cityscapes: the class id for stuff, class id * 1000 + k for things."""

    label: int
    material: str
    outline: np.ndarray  # (n, 2) of x, y
    number: int = 0
    tint: float = 1.0  # brightness of this one beside others of its material
    distance: float = 0.0  # 0 at the viewer, 1 at the horizon

    @property
    def instance(self) -> int:
        return self.label * 1000 + self.number if self.label in THINGS else self.label


@dataclass(frozen=True)
class Layout:
    """A scene: shapes from back to front, and what the light needs to know."""

    shapes: tuple[Shape, ...]
    shadows: tuple[np.ndarray, ...]  # outlines on the ground
    width: float
    horizon: float
    sun: tuple[float, float]
    shore: tuple[float, float, float, float]  # the lake's ellipse: centre x, y and radius x, y
    mood: np.ndarray  # (7,) in [0, 1): how this scene's palette and weather differ from others

    def rasterise(self, height: int, width: int, without: str = "") -> np.ndarray:
        """Which shape covers each pixel: (height, width) uint16 of positions in `shapes`; `without` leaves a material out."""
        index = np.zeros((height, width), np.uint16)
        outlines = _to_pixels([shape.outline for shape in self.shapes], height)
        for position, (shape, outline) in enumerate(zip(self.shapes, outlines, strict=True)):
            if shape.material != without:
                cv2.fillPoly(index, [outline], position, shift=SUBPIXEL_BITS)
        return index

    def rasterise_shadows(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8, 255 where something keeps the sun off the ground."""
        mask = np.zeros((height, width), np.uint8)
        for outline in _to_pixels(list(self.shadows), height):
            cv2.fillPoly(mask, [outline], 255, shift=SUBPIXEL_BITS)
        return mask


def _to_pixels(outlines: list[np.ndarray], height: int) -> list[np.ndarray]:
    """Fixed-point pixel coordinates for `cv2.fillPoly`, in one pass over all points."""
    points = np.rint((np.concatenate(outlines) * height - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    return np.split(points, np.cumsum([len(outline) for outline in outlines])[:-1])


def compose(rng: np.random.Generator, width: float) -> Layout:
    """Draw one scene from `rng`; `width` is the picture's width divided by its height."""
    unit = min(1.0, width)
    mood = rng.random(8)[:7]  # with one number less drawn, every scene that there is would be another one
    horizon = rng.uniform(0.45, 0.54)
    sun = (rng.uniform(0.12, 0.88) * width, rng.uniform(0.09, horizon - 0.16))
    side = rng.choice([-1.0, 1.0])  # the lake's side; the village takes the other
    lake = (
        (0.5 + side * rng.uniform(0.22, 0.34)) * width,
        rng.uniform(0.70, 0.78),
        rng.uniform(0.26, 0.36) * unit,
        rng.uniform(0.055, 0.085),
    )
    build = _Builder(rng, width=width, unit=unit, horizon=horizon, sun=sun, lake=lake)

    shapes = [Shape(SKY, "sky", _box(0, 0, width, 1), distance=1.0)]
    shapes.append(Shape(SUN, "sun", _ellipse(*sun, *[rng.uniform(0.035, 0.055) * unit] * 2)))
    for number in range(rng.integers(2, 5)):
        shapes += build.cloud(number)
    shapes += build.backdrop()
    shapes.append(Shape(WATER, "water", build.shore()))

    houses = build.house_spots(side)
    track = build.track_to(*houses[0][:2])
    shapes.append(Shape(PATH, "path", _ribbon(*track)))
    standing = [(y, build.house(number, x, y, turn)) for number, (x, y, turn) in enumerate(houses)]
    standing += [(y, build.tree(number, x, y)) for number, (x, y) in enumerate(build.tree_spots(houses, track, side))]
    for _, parts in sorted(standing, key=lambda item: item[0]):
        shapes += parts
    return Layout(tuple(shapes), tuple(build.shadows), width, horizon, sun, lake, mood)


class _Builder:
    """Makes the parts of one scene; every part draws from the same generator, and things leave a shadow in `shadows`."""

    def __init__(self, rng, *, width, unit, horizon, sun, lake):
        self.rng, self.width, self.unit, self.horizon, self.sun, self.lake = rng, width, unit, horizon, sun, lake
        self.shadows: list[np.ndarray] = []

    def scale(self, y):
        """How large things look that stand on the ground at y, a number or an array: 0 at the horizon, 1 at the lower edge."""
        return (y - self.horizon) / (1 - self.horizon)

    def cloud(self, number: int) -> list[Shape]:
        x, y = self.rng.uniform(0, self.width), self.rng.uniform(0.06, self.horizon - 0.2)
        length = self.rng.uniform(0.08, 0.18) * self.unit
        puffs = []
        for along in np.append(self.rng.uniform(-0.7, 0.7, 6), np.linspace(-0.9, 0.9, 5)):
            radius = length * (0.14 + 0.32 * (1 - along**2)) * self.rng.uniform(0.6, 1.2)
            outline = _blob(self.rng, np.array([x + along * length, y - radius * 0.5]), radius)
            flat = y + self.rng.uniform(0.04, 0.12) * length  # clouds of one layer have flat undersides
            outline[:, 1] = np.minimum(outline[:, 1], flat)
            puffs.append(Shape(CLOUD, "cloud", outline, number, 1.0 + 0.5 * (radius / length - 0.3)))
        return puffs

    def backdrop(self) -> list[Shape]:
        """Mountains, two ranges of hills, the meadow."""
        rng, h = self.rng, self.horizon
        peaks = h - 0.10 - rng.uniform(0.05, 0.13) + _ridge(rng, 129, rough=0.17, smooth=0.06)
        far = h - 0.045 + _ridge(rng, 129, rough=0.006, smooth=0.05)
        near = h + 0.0 + _ridge(rng, 129, rough=0.004, smooth=0.045)
        meadow = h + 0.055 + _ridge(rng, 129, rough=0.002, smooth=0.022)
        return [
            Shape(MOUNTAIN, "mountain", self._below(peaks), distance=0.95),
            Shape(HILL, "hill", self._below(far), distance=0.62, tint=0.95),
            Shape(HILL, "hill", self._below(near), distance=0.34, tint=0.92),
            Shape(GRASS, "grass", self._below(meadow)),
        ]

    def _below(self, line: np.ndarray) -> np.ndarray:
        top = np.stack([np.linspace(0, self.width, len(line)), line], 1)
        return np.concatenate([top, [[self.width, 1.0], [0.0, 1.0]]])

    def shore(self) -> np.ndarray:
        x, y, radius_x, radius_y = self.lake
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        wobble = 1 + 0.05 * np.sin(3 * angle + self.rng.uniform(0, 6)) + 0.03 * np.sin(7 * angle + self.rng.uniform(0, 6))
        return np.stack([x + radius_x * wobble * np.cos(angle), y + radius_y * wobble * np.sin(angle)], 1)

    def track_to(self, x: float, y: float) -> Track:
        """The way from the lower edge to the door at (x, y), narrower with distance."""
        t = np.linspace(0, 1, 40)
        line_y = 1.02 + (y - 1.02) * t
        bend = self.rng.uniform(-0.12, 0.12) * self.unit
        start = 0.5 * self.width + bend
        line_x = start + (x - start) * t**1.3 + bend * np.sin(t * np.pi * 1.5) * (1 - t)
        half = 0.085 * self.unit * np.maximum(self.scale(line_y), 0.05)
        return line_x, line_y, half

    def house_spots(self, side: float) -> list[tuple[float, float, float]]:
        """Where houses stand (x, y of the door) and which way they turn: nearest first, away from the lake."""
        rng = self.rng
        spots: list[tuple[float, float, float]] = []
        for _ in range(rng.integers(1, 4)):
            for _ in range(12):
                depth = rng.uniform(0.2, 0.48)
                x, y = (0.5 - side * rng.uniform(0.0, 0.38)) * self.width, self.horizon + depth * (1 - self.horizon)
                room = all(abs(x - other) > 0.5 * self.unit * (depth + 0.1) for other, *_ in spots)
                if room and self._dry(x, y, 0.24 * self.unit * depth * 2):
                    spots.append((x, y, float(rng.choice([-1.0, 1.0]))))
                    break
        if not spots:
            spots = [((0.5 - side * 0.3) * self.width, self.horizon + 0.3 * (1 - self.horizon), side)]
        return sorted(spots, key=lambda spot: -spot[1])

    def _dry(self, x: float, y: float, margin: float) -> bool:
        lake_x, lake_y, radius_x, radius_y = self.lake
        return ((x - lake_x) / (radius_x + margin)) ** 2 + ((y - lake_y) / (radius_y + 0.02)) ** 2 > 1.1

    def tree_spots(self, houses: list, track: Track, side: float) -> list[tuple[float, float]]:
        """Where trees stand: many far, some in the middle, perhaps a large one that frames the view."""
        rng, spread = self.rng, max(1.0, self.width)
        far = rng.uniform(0.12, 0.22, int(rng.integers(5, 10) * spread))
        middle = rng.uniform(0.25, 0.5, int(rng.integers(3, 6) * spread))
        spots = []
        for depth in [*far, *middle]:
            x, y = rng.uniform(0, self.width), self.horizon + depth * (1 - self.horizon)
            if self._dry(x, y, 0.02) and self._free(x, y, houses, track):
                spots.append((x, y))
        if rng.random() < 0.55:
            x, y = (0.5 - side * rng.choice([0.42, -0.44])) * self.width, rng.uniform(0.86, 0.97)
            if all(abs(x - door_x) > 0.34 * self.unit for door_x, _, _ in houses):
                spots.append((x, y))
        return spots

    def _free(self, x: float, y: float, houses: list, track: Track) -> bool:
        """Not on the track, and not in front of a house."""
        line_x, line_y, half = track
        nearest = np.abs(line_y - y).argmin()
        on_track = line_y[nearest] - 0.02 < y and abs(x - line_x[nearest]) < half[nearest] + 0.02
        hides = any(
            y > door_y - 0.02 and abs(x - door_x) < 0.55 * self.unit * self.scale(door_y) for door_x, door_y, _ in houses
        )
        return not on_track and not hides

    def house(self, number: int, x: float, y: float, turn: float) -> list[Shape]:
        """A gable front with a door at (x, y), and a long side that runs back to the left or right (`turn`)."""
        size = 0.42 * self.unit * self.scale(y) * self.rng.uniform(0.9, 1.15)
        high, gable, long = self.rng.uniform([0.62, 0.48, 0.9], [0.8, 0.62, 1.3])
        lit = turn * (self.sun[0] - x) > 0  # the sun is on the side's side
        house = _House(number, np.array([x, y]), size * np.array([turn, -1]), 1 - self.scale(y), high, gable, long, lit)
        self._shadow(house.at([(-0.5, 0), (0.5, 0), (0.5 + long, house.rise)]), size * (high + 0.4 * gable))
        return [*house.walls(), *house.roof(), *house.door(), *house.windows()]

    def _shadow(self, foot: np.ndarray, tall: float) -> None:
        """Shadows fall towards the viewer, away from the sun, longer when it is low."""
        away = np.clip((foot[:, 0].mean() - self.sun[0]) / self.width, -1, 1)
        low = 0.35 + 1.1 * self.sun[1]
        fall = np.array([1.5 * away, 0.55]) * tall * low
        self.shadows.append(cv2.convexHull(np.concatenate([foot, foot + fall]).astype(np.float32))[:, 0])

    def tree(self, number: int, x: float, y: float) -> list[Shape]:
        tall = 0.95 * self.unit * self.scale(y) * self.rng.uniform(0.75, 1.15)
        self._shadow(_ellipse(x, y, 0.13 * tall, 0.03 * tall), 0.55 * tall)
        make = self._conifer if self.rng.random() < 0.42 else self._broadleaf
        return list(make(number, x, y, tall, 1 - self.scale(y)))

    def _broadleaf(self, number, x, y, tall, distance) -> Iterator[Shape]:
        rng, foot, fork = self.rng, np.array([x, y]), np.array([x, y - 0.3 * tall])
        yield Shape(TRUNK, "bark", _limb(foot, fork, 0.075 * tall, 0.04 * tall), number, 1.0, distance)
        angles = np.concatenate([np.linspace(0.1, 2 * np.pi + 0.1, 8, endpoint=False), [0.0]])
        reach = np.append(rng.uniform(0.15, 0.23, 8), 0.03) * tall
        centres = np.stack([x + np.cos(angles) * reach * 1.1, y - 0.6 * tall + np.sin(angles) * reach], 1)
        for centre in centres[[0, 3, 4, 5, 6, 7]]:
            bough = centre + (centre - fork) * 0.25
            yield Shape(
                TRUNK,
                "bark",
                _limb(fork + np.array([0, 0.02 * tall]), bough, 0.026 * tall, 0.006 * tall),
                number,
                0.95,
                distance,
            )
        for centre in centres[np.argsort(-centres[:, 1])]:
            radius = rng.uniform(0.125, 0.165) * tall
            up, sunward = (y - 0.6 * tall - centre[1]) / tall, np.sign(self.sun[0] - x) * (centre[0] - x) / tall
            yield Shape(TREE, "leaves", _blob(rng, centre, radius), number, 0.95 + 0.9 * up + 0.5 * sunward, distance)

    def _conifer(self, number, x, y, tall, distance) -> Iterator[Shape]:
        rng = self.rng
        yield Shape(
            TRUNK,
            "bark",
            _limb(np.array([x, y]), np.array([x, y - 0.2 * tall]), 0.03 * tall, 0.03 * tall),
            number,
            0.8,
            distance,
        )
        for tier, step in enumerate(np.linspace(0, 1, 5)):
            low, half = y - (0.1 + 0.6 * step) * tall, (0.21 - 0.13 * step) * tall
            fringe_x = np.linspace(-half, half, 9)
            fringe_y = low + (np.arange(9) % 2) * 0.03 * tall - 0.05 * tall * np.abs(fringe_x / half) ** 2
            fringe_x = fringe_x * rng.uniform(0.92, 1.08, 9)
            outline = np.concatenate([[[x, low - 0.28 * tall]], np.stack([x + fringe_x[::-1], fringe_y], 1)])
            yield Shape(TREE, "needles", outline, number, 0.86 + 0.06 * tier, distance)


@dataclass(frozen=True)
class _House:
    """One house. Points on it count from the door in units of its front's width: u away from the middle, v up."""

    number: int
    place: np.ndarray
    size: np.ndarray  # of the front in the picture; what is negative is mirrored
    distance: float
    high: float
    gable: float
    long: float
    lit: bool

    @property
    def rise(self) -> float:
        """How much higher the far end stands in the picture."""
        return 0.06 * self.long

    @property
    def top(self) -> float:
        return self.high + self.gable

    @property
    def front(self) -> float:
        """The brightness of the front."""
        return 0.86 if self.lit else 1.03

    @property
    def flank(self) -> float:
        """The brightness of the long side."""
        return 1.04 if self.lit else 0.78

    def at(self, points) -> np.ndarray:
        return self.place + np.array(points, float) * self.size

    def walls(self) -> list[Shape]:
        left, high = 0.3 * self.long, self.high
        return [
            self._part(WALL, "chimney", _box(left, self.top - 0.2, left + 0.16, self.top + 0.2), 0.9),
            self._part(WALL, "wall", self._on_side(0, 0, 1, 1), self.flank),
            self._part(WALL, "wall", self._on_side(0, 0.82, 1, 1), self.flank * 0.72),
            self._part(WALL, "wall", [(-0.5, 0), (0.5, 0), (0.5, high), (0, self.top), (-0.5, high)], self.front),
        ]

    def roof(self) -> Iterator[Shape]:
        eave = 0.07
        out, low = 0.5 + eave, self.high - eave * (self.gable / 0.5)
        ridge = self.top + 0.03
        slope = [(0, ridge), (out, low), (out + self.long, low + self.rise), (self.long, ridge + self.rise)]
        yield self._part(ROOF, "roof", slope, 1.05 if self.lit else 0.85)
        for s in (-1, 1):
            rim = [(0, self.top + 0.05), (s * out, low + 0.02), (s * out, low - 0.05), (0, self.top - 0.04)]
            yield self._part(ROOF, "rim", rim, 0.8)

    def door(self) -> list[Shape]:
        return [
            self._part(DOOR, "frame", _box(-0.16, 0, 0.16, 0.46), self.front),
            self._part(DOOR, "door", _box(-0.12, 0, 0.12, 0.43), self.front),
        ]

    def windows(self) -> Iterator[Shape]:
        """One in the gable, two on the long side."""
        sill = self.high * 0.95
        yield from self._panes(3 * self.number, _box(-0.13, sill, 0.13, sill + 0.27), self.front)
        for k, u in enumerate((0.14, 0.56), start=3 * self.number + 1):
            yield from self._panes(k, self._on_side(u, 0.34, u + 0.26, 0.76), self.flank)

    def _panes(self, number: int, corners: np.ndarray, tint: float) -> Iterator[Shape]:
        centre = corners.mean(0)
        inner = centre + (corners - centre) * [0.72, 0.76]
        (left, low), (right, top) = inner.min(0), inner.max(0)
        bar = 0.012
        upright = _box(centre[0] - bar, low, centre[0] + bar, top)
        across = _box(left, centre[1] - bar, right, centre[1] + bar)
        for material, points in (("frame", corners), ("glass", inner), ("frame", upright), ("frame", across)):
            yield self._part(WINDOW, material, points, tint, number)

    def _on_side(self, u0: float, v0: float, u1: float, v1: float) -> np.ndarray:
        """A part of the long side: u along it, v up, both in [0, 1]."""
        corners = ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
        return np.array([(0.5 + u * self.long, v * self.high + u * self.rise) for u, v in corners])

    def _part(self, label: int, material: str, points, tint: float, number: int | None = None) -> Shape:
        return Shape(label, material, self.at(points), self.number if number is None else number, tint, self.distance)


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def _ribbon(x: np.ndarray, y: np.ndarray, half: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack([x - half, y], 1), np.stack([x + half, y], 1)[::-1]])


def _ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    return np.stack([x + radius_x * np.cos(CIRCLE), y + radius_y * np.sin(CIRCLE)], 1)


def _blob(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    return centre + np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], 1) * radius * rng.uniform(0.86, 1.1, (len(CIRCLE), 1))


def _limb(start: np.ndarray, end: np.ndarray, thick: float, thin: float) -> np.ndarray:
    """A tapering quadrilateral from `start` to `end`."""
    along = (end - start) / np.hypot(*(end - start))
    across = np.array([-along[1], along[0]])
    return np.array([start - across * thick / 2, start + across * thick / 2, end + across * thin / 2, end - across * thin / 2])


def _ridge(rng: np.random.Generator, points: int, rough: float, smooth: float) -> np.ndarray:
    """A skyline around 0, (points,): long waves plus midpoint displacement, which gives crags at every scale."""
    t = np.linspace(0, 1, points)
    waves = sum(np.sin(2 * np.pi * (t * k + rng.random())) / k for k in (0.8, 1.7, 2.9))
    crags = np.zeros(points)
    step, height = (points - 1) // 4, rough
    crags[::step] = rng.uniform(-height, height, 5)
    while step > 1:
        middle = slice(step // 2, points, step)
        crags[middle] = (crags[:-1:step] + crags[step::step]) / 2 + rng.uniform(-height, height, (points - 1) // step) / 2
        step, height = step // 2, height / 2
    return smooth * waves / 2 + crags / 2
