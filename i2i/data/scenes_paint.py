"""How a scene looks: light, haze, texture, snow, reflections. A deferred shader over the map of shapes.

All textures come from fixed noise, the same for every scene: a view is a function of the layout, and what a network has to
learn about a material is there in every scene. Colours are float32 planes, (3, H, W) around [0, 1], until the last line:
numpy is four times as fast on planes as on interleaved pixels.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from i2i.data.scenes_layout import Layout

SAMPLES = 3  # per pixel and axis; odd, so that the middle sample is the pixel's centre and labels can be read off it


class Material(NamedTuple):
    """What shading needs. Snow lies where `cover + patchy * noise - slope * y` is large, y in [-1, 1] down the shape."""

    colour: tuple[float, float, float]
    grain: float = 0.0  # fine noise
    relief: float = 0.0  # noise that is lit from the sun's side
    round: float = 0.0  # shaded like a ball
    cover: float = 0.0
    patchy: float = 0.0
    slope: float = 0.0


MATERIALS = {
    "sky": Material((0.5, 0.7, 0.9)),
    "cloud": Material((1.0, 1.0, 1.0), round=0.16),
    "sun": Material((1.0, 0.97, 0.82)),
    "mountain": Material((0.42, 0.43, 0.50), 0.05, 0.34, cover=0.66, patchy=0.75, slope=0.35),
    "hill": Material((0.30, 0.46, 0.27), 0.22, 0.22, cover=0.60, patchy=1.0),
    "grass": Material((0.47, 0.66, 0.24), 0.10, 0.06, cover=1.0),
    "water": Material((0.20, 0.42, 0.52)),
    "path": Material((0.76, 0.65, 0.47), 0.10, 0.10, cover=0.42, patchy=0.25),
    "wall": Material((0.95, 0.88, 0.76), 0.05, 0.03),
    "chimney": Material((0.62, 0.36, 0.29), 0.15, cover=-1.2, slope=2.4),
    "roof": Material((0.70, 0.30, 0.21), 0.08, 0.05, cover=0.80, patchy=0.25, slope=0.62),
    "rim": Material((0.93, 0.89, 0.82), cover=0.55, patchy=0.8, slope=0.4),
    "glass": Material((0.30, 0.40, 0.50)),
    "frame": Material((0.97, 0.95, 0.90)),
    "door": Material((0.45, 0.24, 0.14), 0.06),
    "leaves": Material((0.32, 0.50, 0.17), 0.30, 0.20, 0.22, cover=0.25, patchy=0.6, slope=0.4),
    "needles": Material((0.13, 0.32, 0.22), 0.25, 0.15, 0.12, cover=0.15, patchy=0.7, slope=0.5),
    "bark": Material((0.36, 0.26, 0.19), 0.20, cover=0.0, patchy=0.5),
}
NAMES = list(MATERIALS)
ROOFS = np.array([(0.72, 0.31, 0.21), (0.60, 0.25, 0.20), (0.42, 0.43, 0.50), (0.55, 0.38, 0.26)])
WALLS = np.array([(0.96, 0.90, 0.78), (0.95, 0.94, 0.92), (0.94, 0.80, 0.55), (0.88, 0.72, 0.66)])
GREENS = np.array([(0.0, 0.0, 0.0), (0.07, 0.03, -0.03), (-0.05, -0.02, 0.02), (0.12, -0.01, -0.05)])
GLOW = (1.25, 0.88, 0.36)  # a lamp behind a window
TWIGS = np.array([0.40, 0.35, 0.36])


def _rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], np.float32).reshape(3, 1, 1)


SNOW, FLOWER, HAY = _rgb(0.90, 0.94, 0.99), _rgb(0.98, 0.86, 0.30), _rgb(0.66, 0.70, 0.28)
LAKE, ICE, PALE = _rgb(0.13, 0.42, 0.62), _rgb(0.74, 0.86, 0.93), _rgb(0.86, 0.89, 0.95)


class Light(NamedTuple):
    """The colours of one hour and one weather, each (3, 1, 1)."""

    zenith: np.ndarray
    horizon: np.ndarray
    sun: np.ndarray
    shade: np.ndarray
    haze: float


class Textures(NamedTuple):
    """Fixed noise, (H, W) float32 around 0, with a deviation of about 0.45."""

    fine: np.ndarray
    coarse: np.ndarray
    relief: np.ndarray  # lit from the right
    relief_left: np.ndarray


class View(NamedTuple):
    """What all painters look at; H and W count samples."""

    layout: Layout
    winter: bool
    light: Light
    noise: Textures
    y: np.ndarray  # (H, 1), in units of the height
    x: np.ndarray  # (1, W)
    turf: np.ndarray  # (H, W), noise that lies on the ground
    kind: np.ndarray  # (H, W), positions in NAMES

    def of(self, *names: str) -> np.ndarray:
        """Where these materials are, (H, W) bool."""
        listed = np.array([name in names for name in NAMES])
        return np.take(listed, self.kind)


def paint(layout: Layout, index: np.ndarray, winter: bool) -> np.ndarray:
    """A photo-like view: (H, W, 3) uint8 RGB from `index`, the map of shapes with `SAMPLES` samples per pixel and axis."""
    height, width = index.shape
    noise, (y, x) = textures(height, width), _grid(height, width)
    if winter:
        index = _bared(layout, index, noise)
    table, index = _table(layout, winter), index.astype(np.intp)  # numpy looks up with its own index type twice as fast
    view = View(layout, winter, light_of(layout, winter), noise, y, x, _turf(layout, y, x), table["material"][index])
    ground = view.of("grass", "path")

    # light on surfaces
    u = (x - table["x"][index]) * table["per_x"][index]
    v = (y - table["y"][index]) * table["per_y"][index]
    colour = np.stack([plane[index] for plane in table["colour"]])
    bright = _brightness(view, table, index, u, v) + ground * view.turf * (0.11 if winter else 0.20)
    if winter:
        cover = table["cover"][index] - table["slope"][index] * v - 0.5 * np.clip(view.turf - 0.4, 0, 1) * ground
        cover += table["patchy"][index] * np.where(view.of("leaves", "needles", "mountain"), noise.relief, noise.coarse)
        snow = np.clip(cover * 1.6, 0, 1)
        _mix(colour, SNOW, snow)
        bright += (0.88 - bright) * 0.25 * snow
    else:
        _grow_meadow(view, colour)
    bright -= 0.5 * ground * _shadow(layout, height, width)
    light = view.light
    colour *= light.shade + (light.sun - light.shade) * np.clip(bright, 0, 1.3)

    # air
    glow = _glow(view)
    far = light.horizon * 0.62 + light.zenith * 0.36 + light.sun * 0.25 * glow
    haze = table["haze"][index] + ground * (0.34 * np.exp(-np.clip(y - layout.horizon, 0, 1) * 9))
    _mix(colour, far, np.clip(haze * light.haze, 0, 0.9))
    _fill_sky(view, colour, glow)
    _fill_lake(view, colour)
    return _developed(colour)


def _mix(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Move `colour` towards `other` in place; plane by plane, so that what is in between stays in the processor's cache."""
    for plane, goal in zip(colour, other, strict=True):
        np.add(plane, (goal - plane) * share, out=plane)


def light_of(layout: Layout, winter: bool) -> Light:
    """A high sun gives a blue noon, a low one a golden evening; the rest of the weather is the scene's mood."""
    low = float(np.clip((layout.sun[1] - 0.12) / (layout.horizon - 0.26), 0, 1)) ** 1.4
    rosy, deep, misty = layout.mood[:3].tolist()

    def between(noon, evening):
        return _rgb(*noon) + (_rgb(*evening) - _rgb(*noon)) * low

    light = Light(
        zenith=between((0.26, 0.52, 0.88), (0.33, 0.40, 0.72)) * (0.82 + 0.25 * deep),
        horizon=between((0.80, 0.90, 0.97), (1.0, 0.70 - 0.04 * rosy, 0.42 + 0.20 * rosy)),
        sun=between((1.08, 1.05, 0.97), (1.16, 0.92, 0.68)),
        shade=between((0.46, 0.54, 0.70), (0.46, 0.43, 0.62)),
        haze=0.75 + 0.7 * misty,
    )
    if not winter:
        return light
    return Light(  # paler air, a weaker sun, bluer shade
        zenith=light.zenith * 0.70 + PALE * 0.26,
        horizon=light.horizon * 0.74 + PALE * 0.20,
        sun=light.sun * 0.52 + _rgb(0.47, 0.455, 0.465),
        shade=light.shade * _rgb(0.98, 1.04, 1.14),
        haze=light.haze * 0.95,
    )


@lru_cache(maxsize=4)
def textures(height: int, width: int) -> Textures:
    fine = _fractal(height, width, (24, 48, 96, 128), 1)
    coarse = _fractal(height, width, (6, 12, 24, 48, 96), 2)
    step = max(1, height // 96)
    rough = np.pad(_fractal(height, width, (7, 14, 28, 56, 112), 3), step, mode="edge")
    middle = slice(step, step + height)
    right = rough[middle, step:-step] - rough[: -2 * step, 2 * step :]
    left = rough[middle, step:-step] - rough[: -2 * step, : -2 * step]
    return Textures(fine, coarse, -right * (0.5 / right.std()), -left * (0.5 / left.std()))


def _fractal(height: int, width: int, cells: tuple[int, ...], seed: int) -> np.ndarray:
    """Value noise with a grid of `cells` per picture height in each octave, (height, width) with deviation 0.45."""
    rng, field = np.random.default_rng(seed), np.zeros((height, width), np.float32)
    for octave, count in enumerate(cells):
        grid = rng.standard_normal((count, 256)).astype(np.float32)  # drawn at one width: all sizes share their noise
        across = min(256, max(2, round(count * width / height)))
        field += cv2.resize(grid[:, :across], (width, height), interpolation=cv2.INTER_CUBIC) * 0.75**octave
    return field * (0.45 / field.std())


@lru_cache(maxsize=1)
def _carpet() -> np.ndarray:
    """A square of noise that continues over its edges, (256, 256), for what lies flat on the ground."""
    rng, field = np.random.default_rng(4), np.zeros((256, 256), np.float32)
    for octave, count in enumerate((16, 32, 64, 128)):
        grid = np.pad(rng.standard_normal((count, count)).astype(np.float32), 4, mode="wrap")
        times = 256 // count
        large = cv2.resize(grid, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        field += large[4 * times : -4 * times, 4 * times : -4 * times] * 0.85**octave
    return field * (0.45 / field.std())


def _turf(layout: Layout, y: np.ndarray, x: np.ndarray, stretch: float = 1.0) -> np.ndarray:
    """The carpet seen in perspective, (H, W) around 0 and fading towards the horizon, where it would flicker."""
    depth = 1 / np.maximum(y - np.float32(layout.horizon - 0.05), 0.02)
    across = (x - np.float32(layout.width / 2)) * depth * (70 / stretch)
    along = np.broadcast_to(depth * (40 * stretch), across.shape)
    seen = cv2.remap(_carpet(), across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return seen * np.clip((y - layout.horizon) * 4, 0.15, 1)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample centres in units of the height: y (height, 1) and x (1, width)."""
    y, x = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    return ((y + 0.5) / height)[:, None], ((x + 0.5) / height)[None]


def _table(layout: Layout, winter: bool) -> dict[str, np.ndarray]:
    """The attributes of all shapes as columns (n,), colours as (3, n), to be looked up by the map of shapes."""
    materials = np.array([NAMES.index(shape.material) for shape in layout.shapes], np.uint8)
    mood, colours = layout.mood, {name: np.array(material.colour) for name, material in MATERIALS.items()}
    colours["roof"], colours["wall"] = ROOFS[int(mood[3] * len(ROOFS))], WALLS[int(mood[4] * len(WALLS))]
    colours["grass"] = colours["grass"] + [0.08 * (mood[6] - 0.4), 0, 0]
    colours["leaves"] = TWIGS if winter else colours["leaves"] + GREENS[int(mood[5] * len(GREENS))]
    if winter:
        colours["glass"] = np.array(GLOW)
        colours["wall"] = colours["wall"] * 0.86  # beside snow, paint looks darker

    rows = np.array([material[1:] for material in MATERIALS.values()], np.float32)[materials]
    columns = dict(zip(Material._fields[1:], rows.T.copy(), strict=True))
    low, high = (np.array([edge(shape.outline, 0) for shape in layout.shapes], np.float32).T for edge in (np.min, np.max))
    distance = np.array([shape.distance for shape in layout.shapes], np.float32)
    return columns | {
        "material": materials,
        "colour": np.array(list(colours.values()), np.float32)[materials].T.copy(),
        "tint": np.array([shape.tint for shape in layout.shapes], np.float32),
        "haze": 0.55 * distance**2.2 * (materials != NAMES.index("glass")),
        **dict(zip(("x", "y"), (low + high) / 2, strict=True)),
        **dict(zip(("per_x", "per_y"), 2 / (high - low), strict=True)),
    }


def _bared(layout: Layout, index: np.ndarray, noise: Textures) -> np.ndarray:
    """The map of shapes with holes in the crowns: what stands behind shows between the twigs."""
    leaves = np.array([shape.material == "leaves" for shape in layout.shapes])[index]
    twigs = np.abs(noise.fine) < 0.17  # lines of equal height are thin, and they branch
    height, width = index.shape
    return np.where(leaves & ~twigs, layout.rasterise(height, width, without="leaves"), index)


def _brightness(view: View, table: dict, index: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How much light each sample returns, (H, W) around 1; u and v run over each shape's box in [-1, 1]."""
    from_right = view.layout.sun[0] > view.layout.width / 2
    bright = table["tint"][index] + table["grain"][index] * view.noise.fine
    bright += table["round"][index] * ((0.5 if from_right else -0.5) * u - 0.9 * v)
    bright += table["relief"][index] * (view.noise.relief if from_right else view.noise.relief_left)
    roof = view.of("roof")
    row, column = (v[roof] + 1) * 3.5, u[roof] * 7
    shifted = column + 0.5 * (np.floor(row) % 2)
    bright[roof] *= 1.10 - 0.28 * (row % 1) - 0.10 * (shifted % 1 < 0.2)
    return bright


def _shadow(layout: Layout, height: int, width: int) -> np.ndarray:
    side = height // 64 * 2 + 1
    return cv2.blur(layout.rasterise_shadows(height, width), (side, side)) * np.float32(1 / 255)


def _grow_meadow(view: View, colour: np.ndarray) -> None:
    """Dry patches and flowers in the grass."""
    grass = view.of("grass")
    low = int(grass.any(1).argmax())
    meadow, grass = colour[:, low:], grass[low:]
    _mix(meadow, HAY, np.clip(view.noise.coarse[low:] * 0.4 + 0.1, 0, 0.45) * grass)
    np.copyto(meadow, FLOWER, where=grass & (view.turf[low:] > 1.05))


def _glow(view: View) -> np.ndarray:
    """How much the air shines around the sun, (H, W)."""
    x, y = view.layout.sun

    def spread(size):
        return np.exp((view.x - np.float32(x)) ** 2 / -size) * np.exp((view.y - np.float32(y)) ** 2 / -size)

    glow = 0.75 * spread(0.012) + 0.45 * spread(0.12)
    return glow * (0.7 if view.winter else 0.85)


def _fill_sky(view: View, colour: np.ndarray, glow: np.ndarray) -> None:
    """Put in what gives light itself: sky, sun and clouds, whose rims let the sky through."""
    light, rows = view.light, int(np.flatnonzero(view.of("sky", "cloud", "sun").any(1))[-1]) + 1
    view = view._replace(kind=view.kind[:rows], noise=Textures(*[field[:rows] for field in view.noise]))
    colour, height = colour[:, :rows], colour.shape[1]
    up = np.clip(1 - view.y[:rows] / view.layout.horizon, 0, 1) ** 0.8
    sky = light.horizon + (light.zenith - light.horizon) * up + light.sun * 0.42 * glow[:rows]
    cloud, side = view.of("cloud"), height // 40 * 2 + 1
    inner = cv2.blur(cloud.astype(np.float32), (side, side))
    solid = np.clip((inner - 0.42) * 2.2 + 0.35 * view.noise.coarse, 0, 1) * (0.7 if view.winter else 0.92)
    _mix(sky, np.minimum(colour * 0.75 + light.sun * 0.27, 1.1), solid * cloud)
    np.copyto(colour, sky, where=view.of("sky", "cloud"))
    np.copyto(colour, np.minimum(light.sun + 0.15, 1.2), where=view.of("sun"))


def _fill_lake(view: View, colour: np.ndarray) -> None:
    """Show what stands beyond the far shore upside down: rippled in summer, dull under the ice in winter."""
    wet, height = view.of("water"), colour.shape[1]
    rows, columns = np.flatnonzero(wet.any(1)), np.flatnonzero(wet.any(0))
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    y, x = view.y[part[0]], view.x[:, part[1]]
    waves = _turf(view.layout, y, x, stretch=5.0)
    centre_x, centre_y, radius_x, radius_y = map(np.float32, view.layout.shore)
    shore = centre_y - radius_y * np.sqrt(np.clip(1 - ((x - centre_x) / radius_x) ** 2, 0, 1))
    depth = np.maximum(y - shore, 0)
    bank = np.minimum(shore, view.layout.horizon + 0.045)  # the meadow lies too flat to be seen in the water
    ripple = (0.0 if view.winter else 0.018) * waves
    source = (x + 0.3 * ripple) * height, (bank - 2.6 * depth + ripple) * height
    mirrored = np.stack([cv2.remap(p, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for p in colour])
    if view.winter:
        body = _ice(view, part, mirrored, waves)
    else:
        body = LAKE * view.light.sun + 0.05 * waves
        _mix(body, mirrored, np.clip(0.80 - 2.6 * depth, 0.35, 0.80))
    np.copyto(colour[:, part[0], part[1]], body, where=wet[part])


def _ice(view: View, part: tuple[slice, slice], mirrored: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """The frozen lake: cracks, drifts of snow, and between them a dull reflection."""
    light, height = view.light, len(view.y)
    drift = np.clip(waves * 1.3 - 0.1, 0, 0.8)
    body = ICE * (light.shade * 0.4 + light.sun * 0.6) + 0.14 * (np.abs(view.noise.coarse[part]) < 0.022)
    _mix(body, SNOW * light.sun, drift)
    dull = np.stack([cv2.blur(plane, (height // 96 * 2 + 1, height // 24 * 2 + 1)) for plane in mirrored])
    _mix(body, dull, 0.38 * (1 - drift))
    return body


def _developed(colour: np.ndarray) -> np.ndarray:
    """Average the samples of each pixel, add a little contrast, round to bytes: (H, W, 3) uint8."""
    size = colour.shape[2] // SAMPLES, colour.shape[1] // SAMPLES
    np.clip(colour, 0, 1, out=colour)
    small = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in colour], -1)
    punchy = small + 0.35 * (small * small * (3 - 2 * small) - small)
    return np.rint(np.clip(punchy, 0, 1) * 255).astype(np.uint8)
