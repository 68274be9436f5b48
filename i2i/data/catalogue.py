"""The usual public sets by name: where they are, what they hold, and how they come onto the disk.

The facts are those that the authors' scripts and pages state; a blank (`None`) is something nobody has checked, not a "no".
The set `scenes` is not here: the program draws it itself.
"""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i.data.archives import unpack
from i2i.data.download import Progress, download, verify
from i2i.errors import OutOfResources, UserError

Sides = tuple[str, str] | None
Direction = Literal["AtoB", "BtoA", "both"] | None

BUILT_IN = "scenes"
# The authors' scripts say http; https works too, and without hashes it is the only check of who answers.
HOME = "https://efrosgans.eecs.berkeley.edu"


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    `url` is None where the set may not be distributed. `size` is that of the archive, approximately. `sides` says what A and
    B show, `direction` which way the set is usually translated. `images` counts those of the archive, pairs or A/B.
    """

    name: str
    url: str | None
    size: str | None
    layout: Literal["paired", "unpaired"]
    sides: Sides
    direction: Direction
    images: str
    terms: str | None = None
    sha256: str | None = None

    @property
    def archive(self) -> str:
        """The file name of the archive."""
        return (self.url or "").rpartition("/")[2]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders without which the set is not whole."""
        return ("train",) if self.layout == "paired" else ("trainA", "trainB")


def _paired(name: str, size: str | None, sides: Sides, direction: Direction, images: str) -> Entry:
    """A tar of pix2pix (Isola et al. 2017): A and B side by side in each image, A on the left."""
    return Entry(name, f"{HOME}/pix2pix/datasets/{name}.tar.gz", size, "paired", sides, direction, images)


def _unpaired(name: str, size: str, sides: Sides, images: str) -> Entry:
    """A zip of CycleGAN (Zhu et al. 2017): a folder for each side, translated both ways."""
    url = f"{HOME}/cyclegan/datasets/{name.removesuffix('-unpaired')}.zip"
    return Entry(name, url, size, "unpaired", sides, "both", images)


# fmt: off
# The sides of the zips are read off their names (x2y: A is x). The zips hold other numbers of images than the paper states.
ENTRIES = (
    _paired("facades", "31 MB", ("photo", "labels"), "BtoA", "train 400"),
    _paired("maps", "246 MB", None, None, "train 1096"),
    _paired("edges2shoes", "2.2 GB", None, None, "train about 50,000"),
    _paired("edges2handbags", "8.6 GB", None, None, "train about 137,000"),
    _paired("night2day", None, ("night", "day"), "BtoA", "train about 20,000"),
    Entry("cityscapes", None, None, "paired", ("photo", "labels"), None, "train 2975, test 500", terms="not distributed"),
    _unpaired("apple2orange", "74.8 MiB", ("apples", "oranges"), "train 995/1019, test 266/248"),
    _unpaired("summer2winter_yosemite", "126.5 MiB", ("summer", "winter"), "train 1231/962, test 309/238"),
    _unpaired("horse2zebra", "111.5 MiB", ("horses", "zebras"), "train 1067/1334, test 120/140"),
    _unpaired("monet2photo", "291.1 MiB", ("Monet", "photos"), "train 1072/6287, test 121/751"),
    _unpaired("cezanne2photo", "266.9 MiB", ("Cezanne", "photos"), "train 525/6287, test 58/751"),
    _unpaired("ukiyoe2photo", "279.4 MiB", ("Ukiyo-e", "photos"), "train 562/6287, test 263/751"),
    _unpaired("vangogh2photo", "292.4 MiB", ("Van Gogh", "photos"), "train 400/6287, test 400/751"),
    _unpaired("iphone2dslr_flower", "324.2 MiB", ("phone", "DSLR"), "train 1812/3325, test 569/480"),
    # CycleGAN's archives of two names that pix2pix uses as well.
    _unpaired("maps-unpaired", "1.38 GiB", None, "train 1096/1096, test 1098/1098"),
    _unpaired("facades-unpaired", "33.5 MiB", None, "train 400/400, test 106/106"),
)
# fmt: on


def find(name: str) -> Entry:
    """The row of a set."""
    rows = {entry.name: entry for entry in ENTRIES}
    if name in rows:
        return rows[name]
    if name == BUILT_IN:
        raise UserError(f"'{BUILT_IN}' is drawn by the program itself, so there is nothing to download", "use it by its name")
    known = [*rows, BUILT_IN]
    close = difflib.get_close_matches(name.lower(), known, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
    raise UserError(f"no known set is called '{name}'", hint)


def fetch(name: str, folder: Path, on_progress: Progress | None = None) -> Path:
    """The folder of a set below `folder`, downloaded and unpacked first where it is not there yet.

    An archive that lies in `folder` under its own name is used instead of the network, and kept. The variable `I2I_MIRROR` may
    hold the address of a folder on a web server that has the archives.
    """
    entry = find(name)
    ready, archive = folder / entry.name, folder / entry.archive
    if ready.exists():
        return _whole(entry, ready)
    if entry.url is None:
        raise UserError(f"'{name}' cannot be downloaded: its licence does not allow to pass it on", _by_hand(entry, folder))
    is_ours = not archive.exists()
    if is_ours:
        _download(entry, folder, on_progress)
    else:
        verify(archive, sha256=entry.sha256)
    try:
        unpack(archive, ready, top=entry.archive.partition(".")[0], needs=entry.folders)
    except OutOfResources:
        raise  # with more room, what was downloaded can still be used
    except UserError as error:
        if not is_ours:
            raise
        archive.unlink()
        hint = f"it was deleted again; run the same command once more, or {_by_hand(entry, folder)}"
        raise UserError(error.message, hint) from error
    if is_ours:
        archive.unlink()
    return ready


def _whole(entry: Entry, folder: Path) -> Path:
    if missing := [name for name in entry.folders if not (folder / name).is_dir()]:
        hint = "move it away to download the set again"
        raise UserError(f"'{folder}' is not the set '{entry.name}': it has no folder '{missing[0]}'", hint)
    return folder


def _download(entry: Entry, folder: Path, on_progress: Progress | None) -> None:
    mirror = os.environ.get("I2I_MIRROR")
    url = f"{mirror.rstrip('/')}/{entry.archive}" if mirror else str(entry.url)
    try:
        download(url, folder / entry.archive, sha256=entry.sha256, on_progress=on_progress)
    except OutOfResources:
        raise
    except UserError as error:
        raise UserError(error.message, f"{error.hint}; or {_by_hand(entry, folder)}") from error


def _by_hand(entry: Entry, folder: Path) -> str:
    """What a person without a network, or with a set that is not distributed, can do."""
    ready = " and ".join(f"'{folder / entry.name / name}'" for name in entry.folders)
    if entry.url is None:
        return (
            "get leftImg8bit and gtFine from the owners of Cityscapes; scale each photo and its *_color.png to 256x256 and join"
            f" them side by side, photo on the left; put those of the part 'train' into {ready}, those of 'val' into"
            f" '{folder / entry.name / 'test'}'"
        )
    size = f" (about {entry.size})" if entry.size else ""
    return (
        f"download {entry.url}{size} elsewhere and put it at '{folder / entry.archive}', or unpack it so that {ready} are there"
    )
