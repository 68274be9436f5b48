"""Unpack an archive of images from anywhere: what it holds can land in the wanted folder only, or nothing lands at all."""

import gzip
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i.atomic import replacing_folder
from i2i.errors import UserError
from i2i.images import SUFFIXES

CHUNK = 1 << 16
LONGEST_READ = 1 << 20  # tarfile reads a whole extended header at once; an honest one has some hundred bytes
DEEPEST, LONGEST_PART, LONGEST_PATH = 16, 255, 1000  # folders; bytes of one name; bytes of the whole path

# Backslash and colon separate folders, drives and streams on Windows; surrogates are names that were never text.
UNSAFE = re.compile("[\x00-\x1f\x7f\\\\:\ud800-\udfff]")
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # Windows: devices in every folder
# RuntimeError: an encrypted member, or headers nested too deep. ValueError: numbers and texts that cannot be read.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
)


class _Refused(Exception):
    """The member at hand is not what an archive of images holds; the text continues "member 'x' ..."."""


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    is_plain: bool
    stream: Any


class _Metered:
    """A stream that counts what comes out of it against a budget, and only ever moves forward."""

    def __init__(self, stream: Any, budget: "_Budget"):
        self.stream, self.budget, self.position, self.last = stream, budget, 0, b""

    def read(self, count: int) -> bytes:
        if not 0 <= count <= LONGEST_READ:
            raise _Refused(f"comes with a header of {count} bytes")
        self.last = self.stream.read(count)
        self.position += len(self.last)
        self.budget.spend(len(self.last))
        return self.last

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        if position < self.position:
            raise _Refused("has a negative size")  # tarfile would read the same headers for ever
        while self.position < position and self.read(min(CHUNK, position - self.position)):
            pass


class _Budget:
    """The bytes that may still come out, whatever the headers say."""

    def __init__(self, allowed: float):
        self.left = allowed

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _Refused("unpacks to far more than an archive of images does")


def unpack(
    archive: Path,
    folder: Path,
    *,
    top: str | None = None,
    needs: tuple[str, ...] = (),
    max_files: int = 1_000_000,
    max_bytes: int = 64 * 10**9,
    max_ratio: float = 200,
) -> int:
    """Write the images of a .zip, .tar, .tar.gz or .tgz into the new `folder`, in one move at the end. Returns how many.

    Members below the folder `top` of the archive land directly in `folder`. The folders in `needs` must be there at the end.
    One member with a hostile name, a link or a device, or more than the allowed members, bytes or bytes for each byte of the
    archive, and nothing is kept. Files that are no images are left out; modes, owners and times are not taken over.
    """
    if folder.exists():
        raise UserError(f"cannot unpack '{archive}': '{folder}' is already there", "move it away, or choose another folder")
    budget = _Budget(min(max_bytes, max_ratio * archive.stat().st_size))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as scratch:
        count = _extract(archive, scratch, top, budget, max_files)
        if missing := [name for name in needs if not (scratch / name).is_dir()]:
            raise UserError(f"'{archive}' holds no images in '{missing[0]}'", "it seems to be another archive of the same name")
        if not count:
            raise UserError(f"'{archive}' holds no images", f"expected files that end with {', '.join(sorted(SUFFIXES))}")
    return count


def _extract(archive: Path, folder: Path, top: str | None, budget: _Budget, max_files: int) -> int:
    images, name = 0, ""
    taken: dict[str, tuple[str, bool]] = {}
    try:
        for count, member in enumerate(_members(archive, budget), 1):
            name = member.name
            if count > max_files:
                raise _Refused(f"is one more than the {max_files} that are allowed")
            parts = _checked(member, top)
            if member.is_folder:
                _take(taken, parts, is_folder=True)
            elif _is_image(parts):
                _take(taken, parts, is_folder=False)
                _write(member.stream, folder.joinpath(*parts))
                images += 1
    except _Refused as refused:
        hint = "nothing was unpacked; get the archive from a source that you trust"
        raise UserError(f"'{archive}' is refused: member {name[:100]!r} {refused}", hint) from None
    except BROKEN as error:
        hint = f"delete '{archive}' and download it again"
        reason = str(error)[:100] or type(error).__name__
        raise UserError(f"'{archive}' is not a whole archive, or damaged ({reason})", hint) from error
    return images


def _members(archive: Path, budget: _Budget) -> Iterator[_Member]:
    name = archive.name.lower()
    if name.endswith(".zip"):
        return _zip_members(archive, budget)
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return _tar_members(archive, budget)
    raise UserError(f"'{archive}' is not an archive that can be unpacked", "expected .zip, .tar, .tar.gz or .tgz")


def _zip_members(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.header_offset < 0:
                raise zipfile.BadZipFile("a member starts before the archive")
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_folder = info.filename.endswith("/") or kind == stat.S_IFDIR
            # Others need a lot of memory (LZMA), and no set of images uses them.
            is_usual = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and is_usual
            # ZipInfo cuts its name at a NUL and turns backslashes around on Windows; the original name shows both.
            name = info.orig_filename if UNSAFE.search(info.orig_filename) else info.filename
            with file.open(info) as stream:
                yield _Member(name, is_folder, is_plain, _Metered(stream, budget))


def _tar_members(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with archive.open("rb") if archive.suffix.lower() == ".tar" else gzip.open(archive, "rb") as stream:
        metered: Any = _Metered(stream, budget)
        with tarfile.open(fileobj=metered, mode="r:") as file:
            while (info := file.next()) is not None:
                is_plain = info.isdir() or (info.isreg() and not info.issparse())
                yield _Member(info.name, info.isdir(), is_plain, file.extractfile(info) if info.isreg() else None)
                file.members.clear()  # type: ignore[attr-defined]  # or it keeps every header in memory
        # tarfile takes a damaged or missing header for the end; the true end is a block of zeros.
        if metered.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends in the middle")
        while metered.read(CHUNK):  # the checksum of a .gz comes last
            pass


def _checked(member: _Member, top: str | None) -> tuple[str, ...]:
    """The folders and the file name of a member, below `top`; refuses what could mean another place on any system."""
    name = member.name
    if not member.is_plain:
        raise _Refused("is not a plain file or folder (but a link, a device, a sparse file or the like)")
    if name.startswith("/"):
        raise _Refused("has an absolute name")
    if UNSAFE.search(name):
        raise _Refused("has a backslash, a colon or an unprintable character in its name")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _Refused("climbs out of the folder with '..'")
    if any(part.endswith((".", " ")) or DEVICE.match(part) for part in parts):
        raise _Refused("has a name that Windows reads as another one")
    if len(parts) > DEEPEST or len(name.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in parts):
        raise _Refused("has too long a name")
    return parts[1:] if parts[:1] == (top,) else parts


def _is_image(parts: tuple[str, ...]) -> bool:
    """By the suffix. Not the shadows that macOS adds: `__MACOSX/` and `._photo.jpg`."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return bool(parts) and not hidden and Path(parts[-1]).suffix.lower() in SUFFIXES


def _take(taken: dict[str, tuple[str, bool]], parts: tuple[str, ...], is_folder: bool) -> None:
    """Enter a name and its folders into `taken`, as a system sees them that ignores case and the way accents are written."""
    for depth in range(1, len(parts) + 1):
        entry = "/".join(parts[:depth]), is_folder or depth < len(parts)
        before = taken.setdefault(unicodedata.normalize("NFC", entry[0].casefold()), entry)
        if before is not entry and (before != entry or not entry[1]):  # only a folder may come again
            raise _Refused(f"has the same name as {before[0]!r} on some systems")


def _write(stream: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        while chunk := stream.read(CHUNK):
            out.write(chunk)
