"""Fetch one file over http: a dropped connection or a killed process costs only what had not arrived yet.

What arrived stands in `NAME.part`; the note `NAME.part.json` beside it says which version of the file it belongs to, so that
the rest of a file that changed in the meantime is never glued to it. The final name appears when every check has passed.
"""

import hashlib
import http.client
import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from i2i.atomic import explained
from i2i.errors import UserError

try:
    import fcntl
except ImportError:  # Windows; two downloads of the same file at the same time are on their own there
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[int, int | None], None]  # bytes that are there, bytes of the whole file where known

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds to connect, and for each wait for more bytes
PAUSE = 0.5  # seconds before the second try; doubles
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that another try may change


class _Dropped(Exception):
    """This try is over, another one may do better."""


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    on_progress: Progress | None = None,
    attempts: int = 5,
) -> Path:
    """Fetch `url` into the file `path`, going on where an earlier call was cut off.

    Gives up after `attempts` tries in a row that brought nothing new, or at once when the server says that there is no such
    file. A file of another size or hash than expected is deleted.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"cannot download '{url}': only http and https are allowed", "check the address")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as note:
            _persist(_Transfer(url, part, note, size), on_progress, attempts)
            _verify_or_delete(part, url, size, sha256)
            part.replace(path)
    except OSError as error:
        raise explained(error, path) from error
    return path


def verify(file: Path, size: int | None = None, sha256: str | None = None, *, name: str | None = None) -> None:
    """Raise `UserError` unless the file has the expected size and hash, where they are known."""
    hint = "it was changed or damaged on the way; download it again, or from another place"
    if size is not None and file.stat().st_size != size:
        raise UserError(f"'{name or file}' has {file.stat().st_size} bytes, expected {size}", hint)
    if sha256 is not None and _sha256(file) != sha256.lower():
        raise UserError(f"'{name or file}' is not the expected file: its SHA-256 is not {sha256}", hint)


def _verify_or_delete(part: Path, url: str, size: int | None, sha256: str | None) -> None:
    try:
        verify(part, size, sha256, name=url)
    except UserError:
        part.unlink()
        raise


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _alone(part: Path) -> Iterator[IO[str]]:
    """Give the note beside `part`, locked against other processes until the block or this process ends."""
    note, locked = part.with_name(f"{part.name}.json"), False
    try:
        with note.open("a+", encoding="utf-8") as handle:
            _lock(handle, part)
            locked = True
            yield handle
    finally:
        if locked and not part.exists():
            note.unlink(missing_ok=True)


def _lock(handle: IO[str], part: Path) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another process is downloading '{part}'", "wait until it is done and run this again") from None
    except OSError:
        pass  # a file system without locks, as on some clusters


def _persist(transfer: "_Transfer", on_progress: Progress | None, attempts: int) -> None:
    """Try until the file is whole. A try that brings it further than any before starts the count of failures again."""
    failures, furthest = 0, transfer.done
    while True:
        try:
            return transfer.advance(on_progress)
        except _Dropped as dropped:
            failures = 1 if transfer.done > furthest else failures + 1
            furthest = max(furthest, transfer.done)
            if failures >= attempts:
                kept = f"; the {transfer.done / 1e6:.1f} MB that arrived are kept" if transfer.done else ""
                raise UserError(
                    f"cannot download '{transfer.url}': {dropped}",
                    f"check the network and run the same command again{kept}",
                ) from None
            time.sleep(PAUSE * 2 ** (failures - 1))


class _Transfer:
    """One file on its way: its bytes in `part`, its version and length in `note`."""

    def __init__(self, url: str, part: Path, note: IO[str], size: int | None):
        self.url, self.part, self.note, self.size = url, part, note, size
        known = _read(note)
        if known.get("url") != url:  # another server may hold another file under the same name and date
            known = {}
        self.version, self.total = known.get("version"), known.get("total")

    @property
    def done(self) -> int:
        """The bytes that can be kept: none where nothing says which version of the file they belong to."""
        return self.part.stat().st_size if self.version and self.part.exists() else 0

    def advance(self, on_progress: Progress | None) -> None:
        """Use one connection for as long as it lasts; raises `_Dropped` when it brought less than all the rest."""
        if self.done and self.done == self.total:
            return  # the last process ended between the last byte and the final name
        with self._ask() as response:
            if response.status == 206:
                self._continue(response.headers)
            else:
                self._begin(response.headers)
            arrived = self._append(response, on_progress)
        if self.total is not None and arrived != self.total:
            raise _Dropped(f"the connection ended after {arrived} of {self.total} bytes")

    def _ask(self) -> http.client.HTTPResponse:
        # identity: a length and a range count the bytes that travel
        request = urllib.request.Request(self.url, headers={"User-Agent": "i2i", "Accept-Encoding": "identity"})
        if self.done:
            request.add_header("Range", f"bytes={self.done}-")
            request.add_header("If-Range", str(self.version))
        try:
            return _opener().open(request, timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            if error.code == 416:
                self._forget()
            elif error.code not in PASSING:
                raise UserError(
                    f"cannot download '{self.url}': the server answers {error.code} {error.reason}",
                    "the file may have moved; check the address",
                ) from None
            raise _Dropped(f"the server answers {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Dropped(str(getattr(error, "reason", error)) or type(error).__name__) from None

    def _begin(self, headers: Message) -> None:
        """The server sends the whole file: start at zero, and note its version before the first byte."""
        if headers.get_content_type() == "text/html":
            raise UserError(
                f"'{self.url}' is a web page, expected a file", "the file may have moved, or the network asks for a login"
            )
        length = headers.get("Content-Length", "")
        self.total = int(length) if length.isdecimal() else None
        if None not in (self.size, self.total) and self.size != self.total:
            raise UserError(f"'{self.url}' has {self.total} bytes, expected {self.size}", "the file has changed at its source")
        self._forget()
        self.version = _version(headers)
        self.note.truncate(0)
        json.dump({"url": self.url, "version": self.version, "total": self.total}, self.note)
        self.note.flush()

    def _continue(self, headers: Message) -> None:
        """The server sends a part: it must be the missing one, of the same version."""
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        expected = (self.done, self.total or (span and int(span[2])))
        if not span or (int(span[1]), int(span[2])) != expected or _version(headers) not in (None, self.version):
            self._forget()
            raise _Dropped("the server sends another part of the file than the one that was asked for")
        self.total = int(span[2])

    def _append(self, response: http.client.HTTPResponse, on_progress: Progress | None) -> int:
        with self.part.open("ab") as out:
            for chunk in _chunks(response):
                out.write(chunk)
                if on_progress:
                    on_progress(out.tell(), self.total)
            out.flush()
            os.fsync(out.fileno())
            return out.tell()

    def _forget(self) -> None:
        self.part.write_bytes(b"")


def _read(note: IO[str]) -> dict[str, Any]:
    note.seek(0)
    try:
        known = json.load(note)
    except ValueError:  # empty, or a process was killed while it wrote it
        return {}
    return known if isinstance(known, dict) else {}


def _version(headers: Message) -> str | None:
    """What tells one version of a file from another, byte for byte: so not a weak ETag."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The bytes as they come; an error of the network, unlike one of the disk, is worth another try."""
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(str(error) or type(error).__name__) from None


def _opener() -> urllib.request.OpenerDirector:
    """http and https only, also after a redirect: `urlopen` would read local files and ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
