"""Writes that are whole or not there: a temporary name beside the final one, flushed to the disk, then renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2i.errors import OutOfResources

MARK = ".i2i-tmp-"


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses. Short, since `path` may use all 255 bytes a name can have."""
    return path.parent / f"{MARK}{os.getpid()}-{os.urandom(4).hex()}{path.suffix[:16]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file name; when the block ends well, what was written there stands under `path`.

    A block that raises leaves nothing behind, and under `path` what stood there before. Raises `OutOfResources` when the disk
    is full.
    """
    scratch = temporary(path)
    try:
        with explaining(path):
            yield scratch
            _flush(scratch)
            scratch.replace(path)
            _flush(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a new folder: it stands under `path` with everything in it, or not at all. `path` must not exist yet."""
    scratch = temporary(path)
    try:
        with explaining(path):
            scratch.mkdir()
            yield scratch
            _flush_all(scratch)
            scratch.rename(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Take a folder away so that it is never seen half removed. What cannot be removed now is left for `sweep`."""
    scratch = temporary(path)
    path.rename(scratch)
    shutil.rmtree(scratch, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, replacing an older link in one move."""
    scratch = temporary(link)
    try:
        scratch.symlink_to(target)
        scratch.replace(link)
    finally:
        scratch.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written directly inside `folder`; what a living one is writing stays."""
    for left in folder.glob(f"{MARK}*"):
        owner = left.name.removeprefix(MARK).partition("-")[0]
        if owner.isdecimal() and _lives(int(owner)):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Whether a process runs. This one's own number on a leftover has come round again: it is only just beginning."""
    if process == os.getpid():
        return False
    if os.name == "nt":
        return True  # asking is not possible there without ending it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Say it in words for people when the disk is full while the block writes `path`."""
    try:
        yield
    except OSError as error:
        raise explained(error, path) from None


def explained(error: OSError, path: Path) -> Exception:
    """The same error, or one for people where the disk is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    there = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free / 1e6
    return OutOfResources(
        f"cannot write '{path}': {os.strerror(error.errno)} ({free:.0f} MB free)",
        "free some space and run the same command again; nothing that was complete before is touched",
    )


def _flush_all(folder: Path) -> None:
    """The same for everything in a folder. For thousands of small files one call for the whole disk is far quicker."""
    files = [folder, *folder.rglob("*")]
    if len(files) > 100 and hasattr(os, "sync"):
        os.sync()
    else:
        for file in files:
            _flush(file)


def _flush(path: Path) -> None:
    """Ask the system to put a file or folder on the disk before its name says that it is there."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder; renames there are journalled
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
