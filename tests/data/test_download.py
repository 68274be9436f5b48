import errno
import hashlib
import http.server
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from i2i.data import download as module
from i2i.data.download import download, verify
from i2i.errors import OutOfResources, UserError

DATA = random.Random(0).randbytes(400_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves `data` at every path and does what a bad day brings; counts the bytes of bodies and remembers the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.modified, self.kind = DATA, '"one"', None, "application/octet-stream"
        self.ranges, self.lies, self.length = True, None, True  # honours Range; a false Content-Range; sends Content-Length
        self.drops, self.errors, self.pause = [], [], 0.0  # bytes before each drop; status of the next answers
        self.sent, self.requests = 0, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.zip"

    def handle_error(self, request, client_address):
        pass  # a client that was killed


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if server.errors:
            return self.send_error(server.errors.pop(0))
        start = self.start() if server.ranges else 0
        if start and start >= len(server.data):
            return self.send_error(416)
        body = server.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", server.lies or f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        for name, value in (("ETag", server.etag), ("Last-Modified", server.modified), ("Content-Type", server.kind)):
            if value:
                self.send_header(name, value)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return self.pour(body[: server.drops.pop(0)] if server.drops else body)

    def start(self):
        known = self.headers.get("If-Range")
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked and known in (None, self.server.etag, self.server.modified) else 0

    def pour(self, body):
        for at in range(0, len(body), 10_000):
            piece = body[at : at + 10_000]
            self.wfile.write(piece)
            self.server.sent += len(piece)
            time.sleep(self.server.pause)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "PAUSE", 0.001)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_with_nothing_beside_it(server, tmp_path):
    seen = []
    digest = hashlib.sha256(DATA).hexdigest()
    path = download(
        server.url, tmp_path / "new" / "set.zip", size=len(DATA), sha256=digest, on_progress=lambda *now: seen.append(now)
    )
    assert path.read_bytes() == DATA
    assert names(path.parent) == ["set.zip"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)


def test_dropped_connections_cost_no_byte_twice(server, tmp_path):
    server.drops = [10_000, 0, 123_456, 1, 70_000, 50_000, 50_000, 20_000]  # more than five: each brought something new
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert server.sent == len(DATA)
    assert names(tmp_path) == ["set.zip"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.drops = [100_000, 0, 0]
    with pytest.raises(UserError, match="100000 of 400000") as caught:
        download(server.url, tmp_path / "set.zip", attempts=2)
    assert "0.1 MB that arrived are kept" in caught.value.hint
    assert names(tmp_path) == ["set.zip.part", "set.zip.part.json"]
    server.drops = []
    download(server.url, tmp_path / "set.zip")
    assert server.sent == len(DATA)
    assert server.requests[-1]["Range"] == "bytes=100000-"


def test_last_modified_serves_where_there_is_no_strong_etag(server, tmp_path):
    server.etag, server.modified = 'W/"weak"', "Wed, 21 Oct 2015 07:28:00 GMT"
    server.drops = [100_000]
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert server.requests[-1]["If-Range"] == server.modified
    assert server.sent == len(DATA)


def test_without_a_version_the_file_is_fetched_from_the_start(server, tmp_path):
    server.etag = None
    server.drops = [100_000]
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert "Range" not in server.requests[-1]


def test_a_server_that_ignores_ranges_sends_it_all_again(server, tmp_path):
    server.ranges = False
    server.drops = [100_000, 200_000, 50_000]
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert server.sent == len(DATA) + 350_000


def test_a_server_that_always_drops_at_the_same_place_is_given_up(server, tmp_path):
    server.ranges = False
    server.drops = [100_000] * 50
    with pytest.raises(UserError, match="connection ended"):
        download(server.url, tmp_path / "set.zip")
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    "lie", ["bytes 0-399999/400000", "bytes 100000-399999/500000", "items 1-2/3", "bytes 99999-399999/400000"]
)
def test_a_part_that_was_not_asked_for_is_never_glued_on(server, tmp_path, lie):
    server.drops, server.lies = [100_000], lie
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert "Range" not in server.requests[-1]


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_changed_between_two_calls_is_fetched_anew(server, tmp_path, monkeypatch, knows_if_range):
    server.drops = [100_000, 0]
    with pytest.raises(UserError):
        download(server.url, tmp_path / "set.zip", attempts=2)
    server.data, server.etag = bytes(reversed(DATA)), '"two"'
    if not knows_if_range:
        monkeypatch.setattr(Handler, "start", lambda self: int(self.headers.get("Range", "bytes=0-")[6:-1]))
    assert download(server.url, tmp_path / "set.zip").read_bytes() == server.data


def test_the_part_of_another_address_is_not_used(server, tmp_path):
    server.drops = [100_000, 0]
    with pytest.raises(UserError):
        download(server.url, tmp_path / "set.zip", attempts=2)
    assert download(server.url + "?other", tmp_path / "set.zip").read_bytes() == DATA
    assert "Range" not in server.requests[-1]


def test_a_part_longer_than_the_file_starts_again(server, tmp_path):
    server.drops = [100_000, 0]
    with pytest.raises(UserError):
        download(server.url, tmp_path / "set.zip", attempts=2)
    with (tmp_path / "set.zip.part").open("ab") as part:
        part.write(bytes(500_000))
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA


def test_a_damaged_note_starts_again(server, tmp_path):
    for text in ("", "{", "[]", '"x"'):
        (tmp_path / "set.zip.part").write_bytes(b"junk")
        (tmp_path / "set.zip.part.json").write_text(text)
        assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA


def test_a_file_of_unknown_length_arrives(server, tmp_path):
    server.length = False
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA


def test_an_empty_file_arrives(server, tmp_path):
    server.data = b""
    assert download(server.url, tmp_path / "set.zip").read_bytes() == b""


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_that_is_not_there_is_an_error_at_once(server, tmp_path, status):
    server.errors = [status] * 9
    with pytest.raises(UserError, match=str(status)):
        download(server.url, tmp_path / "set.zip")
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.errors = [500, 503, 429, 502]
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    server.errors = [500] * 9
    with pytest.raises(UserError, match="500"):
        download(server.url, tmp_path / "b.zip")
    assert names(tmp_path) == ["set.zip"]


def test_a_web_page_instead_of_a_file_is_refused(server, tmp_path):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(UserError, match="web page"):
        download(server.url, tmp_path / "set.zip")
    assert names(tmp_path) == []


def test_a_wrong_hash_deletes_the_file(server, tmp_path):
    with pytest.raises(UserError, match="SHA-256"):
        download(server.url, tmp_path / "set.zip", sha256="0" * 64)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_a_wrong_size_is_refused(server, tmp_path, length):
    server.length = length
    with pytest.raises(UserError, match="400000 bytes, expected 7"):
        download(server.url, tmp_path / "set.zip", size=7)
    assert names(tmp_path) == []


def test_a_server_that_is_not_there_is_an_error_for_people(server, tmp_path):
    with pytest.raises(UserError, match="refused"):
        download("http://127.0.0.1:1/set.zip", tmp_path / "set.zip", attempts=2)
    assert names(tmp_path) == []


def test_a_server_that_falls_silent_is_left(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    server.pause = 0.5
    with pytest.raises(UserError, match="timed out"):
        download(server.url, tmp_path / "set.zip", attempts=1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "data:,x", "/etc/passwd", "C:\\x"])
def test_only_http_is_allowed(tmp_path, url):
    with pytest.raises(UserError, match="only http"):
        download(url, tmp_path / "x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_something_else_than_http_is_not_followed(server, tmp_path, monkeypatch, target):
    def redirect(self):
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    monkeypatch.setattr(Handler, "do_GET", redirect)
    with pytest.raises(UserError):
        download(server.url, tmp_path / "x", attempts=1)
    assert names(tmp_path) == []


def test_a_full_disk_is_said_and_what_arrived_is_kept(server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, chunk):
            if self.file.tell() + len(chunk) > 100_000:
                raise OSError(errno.ENOSPC, "full")
            self.file.write(chunk)

        def __getattr__(self, name):
            return getattr(self.file, name)

    original = module.Path.open
    monkeypatch.setattr(
        module.Path,
        "open",
        lambda self, mode="r", **k: Full(original(self, mode)) if mode == "ab" else original(self, mode, **k),
    )
    with pytest.raises(OutOfResources, match="No space left"):
        download(server.url, tmp_path / "set.zip")
    assert len(server.requests) == 1
    monkeypatch.setattr(module.Path, "open", original)
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert int(server.requests[-1]["Range"][6:-1]) > 0


CHILD = "import sys; from pathlib import Path; from i2i.data.download import download; download(sys.argv[1], Path(sys.argv[2]))"


def start_child(server, path):
    part = path.with_name(path.name + ".part")
    child = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(path)], env={**os.environ, "no_proxy": "*"})
    while not (part.exists() and part.stat().st_size > 50_000):
        assert child.poll() is None
        time.sleep(0.005)
    return child


def test_a_killed_process_costs_only_what_had_not_arrived(server, tmp_path):
    server.pause, path = 0.01, tmp_path / "set.zip"
    child = start_child(server, path)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not path.exists()
    had = (tmp_path / "set.zip.part").stat().st_size
    assert 50_000 < had < len(DATA)
    server.pause = 0
    assert download(server.url, path).read_bytes() == DATA
    assert server.requests[-1]["Range"] == f"bytes={had}-"
    assert names(tmp_path) == ["set.zip"]


def test_two_processes_do_not_write_the_same_file(server, tmp_path):
    pytest.importorskip("fcntl")
    server.pause, path = 0.03, tmp_path / "set.zip"
    child = start_child(server, path)
    with pytest.raises(UserError, match="another process"):
        download(server.url, path)
    assert child.wait() == 0
    assert path.read_bytes() == DATA
    assert names(tmp_path) == ["set.zip"]


def test_a_process_killed_before_the_final_name_needs_no_network(server, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module.Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download(server.url, tmp_path / "set.zip")
    asked = len(server.requests)
    assert download(server.url, tmp_path / "set.zip").read_bytes() == DATA
    assert len(server.requests) == asked


def test_verify_names_the_file_and_keeps_it(tmp_path):
    file = tmp_path / "x.zip"
    file.write_bytes(b"x")
    verify(file, 1, hashlib.sha256(b"x").hexdigest().upper())
    with pytest.raises(UserError, match=r"x\.zip"):
        verify(file, sha256="0" * 64)
    assert file.exists()
