"""Writes that are whole or not there: a temporary name beside the final one, flushed to the disk, then renamed."""

import errno
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from i2i.errors import OutOfResources, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MARK = ".i2i-tmp-"
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
DAY = 86400
LOOKS, LOOK = 10, 0.02
"""So often, and so many seconds apart, a lock is tried that somebody may hold for a moment."""
_mine: set[str] = set()
"""The temporary names that this process is writing under."""


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` that nobody else uses, and that says whose it is. Whatever is left under it is removed.

    Short, since `path` may use all 255 bytes a name can have.
    """
    scratch = path.parent / f"{MARK}{HOST}-{os.getpid()}-{os.urandom(4).hex()}{path.suffix[:16]}"
    _mine.add(scratch.name)
    try:
        yield scratch
    finally:
        _remove(scratch)
        _mine.discard(scratch.name)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file name; when the block ends well, what was written there stands under `path`.

    A block that raises leaves nothing behind, and under `path` what stood there before. Raises `OutOfResources` when the disk
    is full.
    """
    with temporary(path) as scratch, explaining(path):
        yield scratch
        _flush(scratch)
        scratch.replace(path)
        _flush(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a new folder: it stands under `path` with everything in it, or not at all. `path` must not exist yet."""
    with temporary(path) as scratch, explaining(path):
        scratch.mkdir()
        yield scratch
        _flush_all(scratch)
        scratch.rename(path)
        _flush(path.parent)


def remove_folder(path: Path) -> None:
    """Take a folder away so that it is never seen half removed. What cannot be removed now is left for `sweep`."""
    with temporary(path) as scratch:
        path.rename(scratch)


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, replacing an older link in one move."""
    with temporary(link) as scratch:
        scratch.symlink_to(target)
        scratch.replace(link)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for as long as the block runs; the system lets go of it when the process ends, however it does.

    Raises UserError if another process holds it. On systems and disks without locks nothing is held.
    """
    with path.open("a") as handle:
        if not _lock(handle):
            raise UserError(f"another process is working in '{path.parent}'", "wait until it is done, or stop it first")
        yield


def _lock(handle: IO[str]) -> bool:
    """False where another process holds it. Whoever only looks, `is_locked`, lets go of it in a moment."""
    for _ in range(LOOKS):
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOOK)
        except OSError:
            return True  # a file system without locks, as on some clusters
    return False


def is_locked(path: Path) -> bool:
    """Whether somebody holds a lock file, this process included."""
    try:
        with path.open() as handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that those who only look do not see each other
    except BlockingIOError:
        return True
    except OSError:  # there is none, or no locks
        return False
    return False


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written directly inside `folder`; what a living one is writing stays."""
    for left in folder.glob(f"{MARK}*"):
        if _abandoned(left):
            _remove(left)


def _abandoned(left: Path) -> bool:
    """Whether nobody will finish it. Processes of another machine cannot be asked; a day is more than any write takes."""
    host, _, rest = left.name.removeprefix(MARK).partition("-")
    process = rest.partition("-")[0]
    if host != HOST or not process.isdecimal() or os.name == "nt":  # asking there would end the process
        return time.time() - left.lstat().st_mtime > DAY
    if int(process) == os.getpid():
        return left.name not in _mine  # the number has come round again
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
    if error.errno == errno.EFBIG:
        return OutOfResources(
            f"cannot write '{path}': {os.strerror(error.errno)}",
            "larger files are not allowed here; `ulimit -f` says how large",
        )
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
