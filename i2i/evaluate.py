"""How good images are: those of a folder, or those that a run makes of data that it has not seen, against real ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i import images
from i2i.config import Config
from i2i.data import folders, reader
from i2i.data.check import size_of
from i2i.data.folders import Sides, Source
from i2i.data.labels import USUAL_VOID
from i2i.data.locate import locate
from i2i.decoders import Header
from i2i.domain import Domain, Palette
from i2i.errors import UserError, counted
from i2i.images import OUTSIDE, ImageError, Picture
from i2i.items import Way, shown
from i2i.metrics import Kind, usual
from i2i.metrics.palettes import nearest
from i2i.models import method_class
from i2i.prepare import divided
from i2i.runs import saved_config
from i2i.scores import PROTOCOL, Asked, Report, Shot, score
from i2i.segmenter import VOID, Confusions
from i2i.styles import drawn, has_styles
from i2i.training.folder import BEST, CHECKPOINTS, checkpoints, step_of
from i2i.translate import Direction, Translator

Progress = Callable[[int, int], None]
EIGHT_BITS = Domain.of(3)


@dataclass(frozen=True)
class Labels:
    """A folder of label maps under the names of the outputs; ids in `void` do not count, nor colours outside the palette."""

    folder: Path
    palette: Palette | None = None
    void: Sequence[int] = (USUAL_VOID,)

    def of(self, sources: Sequence[Source]) -> Callable[[int], np.ndarray]:
        """The ids for each source. Raises UserError where one has no label map."""
        maps = folders.companions(sources, folders.in_folder(self.folder, bare_names=True), "label map")
        return lambda i: self._ids(maps[i])

    def _ids(self, source: Source) -> np.ndarray:
        try:
            found = reader.ids(source, self.palette)
        except ImageError as error:
            raise ImageError(
                error.message, error.hint if self.palette else "--palette names the colours of the classes"
            ) from error
        return np.where(np.isin(found, (*self.void, OUTSIDE)), VOID, found)


def silent(done: int, total: int) -> None:
    """Tells nobody."""


def two_folders(
    fake: Path, other: Path, asked: Asked, *, paired: bool, labels: Labels | None = None, on_progress: Progress = silent
) -> Report:
    """Images against real ones, as sets; or, `paired`, each against the target of its name, and both as sets.

    `labels` are for the segmenter. Raises UserError where a name has no partner, or partners differ in size.
    """
    mine, theirs = folders.in_folder(fake), folders.in_folder(other)
    if paired:
        matched, alone = folders.pairs(Sides(mine, theirs))
        if alone:
            hint = "outputs and targets pair by name, without the suffix"
            raise UserError(f"{counted(len(alone), 'image', 'has')} no partner, such as {_listed(alone)}", hint)
        mine, theirs = [a for a, _ in matched], [b for _, b in matched]
    seen = Confusions(asked.segmenter, labels.of(mine)) if asked.segmenter and labels else None
    fakes, reals = ([_shot(source) for source in sources] for sources in (mine, theirs))
    asked = _settled(asked, ["pairs", "sets"] if paired else ["sets"])
    return score(fakes, reals, asked, matched=paired, seen=seen, on_progress=on_progress)


def _listed(sources: Sequence[Source]) -> str:
    more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""
    return ", ".join(f"'{source.path}'" for source in sources[:3]) + more


def a_run(
    run: Path,
    asked: Asked,
    *,
    data: str | None = None,
    which: str | None = None,
    direction: Direction | None = None,
    say: Callable[[str], None] = lambda text: None,
    on_progress: Progress = silent,
) -> Report:
    """What a run makes of its held-out images, each at its own size as `translate` does it, against the real ones.

    `data` is another data set, of which the held-out part is taken, or all where there is none; `which` a checkpoint: best,
    last, or a step.
    """
    config = saved_config(run)
    translator = Translator.open(_weights(run, which), str(asked.device))
    way = translator.way(direction)
    sides = _held_out(run, config, data, direction, say)
    things = folders.companions(sides.a, sides.instances, "instance map") if way.instances else []
    say(f"{counted(len(sides.a), 'input', 'is')} translated and compared with {counted(len(sides.b), 'real image')}")

    def translated(i: int, style: Tensor | None = None) -> Tensor:
        given = reader.ids(sides.a[i], way.x.palette) if way.x.labels else reader.picture(sides.a[i])
        instances = reader.ids(things[i]) if things else None
        return _values(translator.translate(given, direction=direction, style=style, instances=instances), way.y, sides.a[i])

    fake = [
        Shot(source.name, partial(translated, i), _size(source, images.header(source.path)), "PNG")
        for i, source in enumerate(sides.a)
    ]
    real = [_shot(source, way.y) for source in sides.b]
    matched, styles = method_class(config.method).data == "paired", _styles(translator, translated, asked.seed)
    kinds: list[Kind] = ["pairs", "sets"] if matched else ["sets"]
    kinds += ["styles"] if styles else []
    seen = _seen(run, asked, way, sides.a) if asked.segmenter else None
    return score(fake, real, _settled(asked, kinds), matched=matched, styles=styles, seen=seen, on_progress=on_progress)


def _seen(run: Path, asked: Asked, way: Way, sources: Sequence[Source]) -> Confusions:
    """What the segmenter is asked about a run: its inputs are label maps, or paint the classes in the colours of a palette."""
    assert asked.segmenter
    if way.x.labels:
        return Confusions(asked.segmenter, lambda i: _classes(reader.ids(sources[i], way.x.palette), way.x), way.x.classes)
    if asked.palette is None:
        raise UserError(f"the inputs of '{run}' are no label maps", "--palette, if they show classes as colours")
    palette = asked.palette

    def painted(i: int) -> np.ndarray:
        return nearest(_values(reader.picture(sources[i]), way.x, sources[i]), palette).numpy()

    return Confusions(asked.segmenter, painted, len(palette))


def _classes(ids: np.ndarray, domain: Domain) -> np.ndarray:
    positions = domain.positions(ids)[..., 0].astype(np.int64)
    return np.where(positions == domain.classes, VOID, positions)  # the channel behind the classes is that of void


def _styles(translator: Translator, translated: Callable[..., Tensor], seed: int) -> Callable[[int], list[Tensor]] | None:
    """Many outputs of an input, where the model has so many styles."""
    method = translator.model.method
    if not has_styles(method, PROTOCOL[1]):
        return None
    styles = drawn(method, PROTOCOL[1], seed)
    return lambda i: [translated(i, style) for style in styles.of(Path(str(i)))]


def _settled(asked: Asked, kinds: list[Kind]) -> Asked:
    """With the usual metrics of these kinds, where none are named."""
    if asked.segmenter or asked.palette is not None:
        kinds = [*kinds, "segments" if asked.segmenter else "palette"]  # whose palette is that of the label maps
    return asked if asked.names else replace(asked, names=usual(kinds))


def _weights(run: Path, which: str | None) -> Path:
    """The run itself, whose model `translate` uses, or one of its checkpoints."""
    if which is None:
        return run
    saved = checkpoints(run)
    known = f"{quote(str(run))} has the steps {', '.join(str(step_of(f)) for f in saved)}" if saved else None
    if which == "last" and saved:
        return saved[-1]
    if which == "best" and (best := run / CHECKPOINTS / BEST).exists():
        return best
    named = [found for found in saved if which.isdecimal() and step_of(found) == int(which)]
    if named:
        return named[0]
    raise UserError(f"'{run}' has no checkpoint '{which}'", known or "leave --checkpoint out")


def _held_out(run: Path, config: Config, data: str | None, direction: str | None, say: Callable[[str], None]) -> Sides:
    """The images that training did not see, as inputs and real outputs in the direction that is asked for."""
    kind = method_class(config.method)
    place = locate(data or config.data.source, kind.scenes or kind.data, say)
    found = folders.find(place, config.data.layout if data is None else "auto")
    settings = config.data.model_copy(
        update={"direction": direction or config.data.direction, **({"hold_back": 0} if data else {})}
    )
    train, held_out, notes = divided(found, kind.data, settings)
    sides = held_out or (train if data else None)
    if sides is None:
        raise UserError(
            f"the data of '{run}' has no held-out part (val or test), and what it was trained on says little",
            f"i2i evaluate {quote(str(run))} --data FOLDER, with images that it has not seen",
        )
    for note in notes:
        say(f"note: {note}")
    if not sides.a or not sides.b:
        raise UserError(f"no image in '{place}' has a partner of the same name", f"i2i data check {quote(place)}")
    return sides


def _shot(source: Source, domain: Domain = EIGHT_BITS) -> Shot:
    header = images.header(source.path)
    return Shot(source.name, lambda: _values(reader.picture(source), domain, source), _size(source, header), header.format)


def _size(source: Source, header: Header) -> tuple[int, int]:
    """(height, width)"""
    width, height = size_of(source, header)
    return height, width


def _values(picture: Picture, domain: Domain, source: Source) -> Tensor:
    """(3, H, W) uint8: what an 8-bit colour PNG would hold. The range of floats is that of their domain."""
    try:
        if picture.dtype == "float32" and domain.dtype == "float32" and picture.channels in (1, 3):
            array: Any = shown(picture.array, domain)
        else:
            array = EIGHT_BITS.conform(picture)
    except ImageError as error:
        raise ImageError(f"cannot measure '{source.path}': {error.message}", error.hint) from error
    return torch.tensor(array).permute(2, 0, 1)
