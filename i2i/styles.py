"""Which of the outputs that an input can have are made: those of styles that are drawn, taken from an image, or in between."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from i2i.errors import UserError
from i2i.method import Method, Style


@dataclass(frozen=True)
class Styles:
    """`of` gives the styles of the input of that name, the same whenever and in whatever order it is asked.

    Each is an output of its own, `count` in all, or all are frames of one `movie`. With neither there is one output. `noise`
    gives the seeds of the dropout noise in the same way, where there is to be any.
    """

    of: Callable[[Path], Sequence[Style | None]]
    count: int | None = None
    movie: bool = False
    noise: Callable[[Path], Sequence[int] | None] = lambda name: None


def everybodys(style: Style | None) -> Styles:
    """The same one for every input."""
    return Styles(lambda name: [style])


TYPICAL = everybodys(None)


def drawn(
    method: Method, samples: int | None, seed: int, *, same: bool = False, frames: int | None = None, noise: bool = False
) -> Styles:
    """`samples` styles for each input, or one. Every input has styles of its own, unless all get the `same`.

    With `frames` they are the stations of a movie, so many frames from each to the next. Where there is to be `noise`, a method
    without styles has outputs that differ in that alone. Raises UserError for what the method cannot do.
    """
    draw: Any = method.draw_styles if not noise or has_styles(method) else lambda count, seed: [None] * count

    def of(name: Path) -> Sequence[Style | None]:
        stations = draw(samples or 1, seed if same else _own_seed(seed, name))
        return between(method, stations, frames) if frames else stations

    if frames is not None and (frames < 2 or (samples or 0) < 2):
        raise UserError(f"{frames} frames between {samples or 1} styles make no movie", "--interpolate 8 --samples 4 would")
    first = of(Path())  # what the method refuses is refused before anything is written
    return Styles((lambda name: first) if same else of, samples if frames is None else None, frames is not None)


def noisy(styles: Styles, seed: int, *, same: bool = False) -> Styles:
    """The same with noise, which differs from input to input, unless all get the `same`, and from output to output.

    The frames of a movie share theirs.
    """
    numbers = range(styles.count or 1)
    own = lambda name: [_own_seed(seed, Path("noise", str(n), "." if same else name)) for n in numbers]  # noqa: E731
    return replace(styles, noise=(lambda name: own(name) * len(styles.of(name))) if styles.movie else own)


def has_styles(method: Method, count: int = 1) -> bool:
    """Whether an input can have outputs in so many styles."""
    try:
        method.draw_styles(count, 0)
    except UserError:
        return False
    return True


def between(method: Method, stations: Sequence[Style], frames: int) -> list[Style]:
    """From the first to the last through all, `frames` from each to the next; neighbours share the frame where they meet."""
    shares = torch.linspace(0, 1, frames).tolist()
    legs = [[method.mix_styles(a, b, share) for share in shares] for a, b in pairwise(stations)]
    return [legs[0][0], *(style for leg in legs for style in leg[1:])]


def alike(a: Sequence[Style | None], b: Sequence[Style | None]) -> bool:
    """Whether two inputs get the same styles, so that they can share a batch."""
    return a is b or (len(a) == len(b) and all(map(_equal, a, b)))


def _equal(a: Style | None, b: Style | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def _own_seed(seed: int, name: Path) -> int:
    """Of the name, so that it depends neither on the other inputs nor on the order; 32 bits are enough for any generator."""
    digest = hashlib.sha256(f"{seed}/".encode() + name.as_posix().encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big")
