import functools
import http.server
import io
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from urllib.parse import urlsplit

import pytest

from i2i.data import catalogue, download
from i2i.data.catalogue import ENTRIES, fetch, find
from i2i.errors import OutOfResources, UserError

NAMES = [entry.name for entry in ENTRIES]


def make_zip(folder, name="horse2zebra", parts=("trainA", "trainB", "testA")):
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as file:
        for part in parts:
            file.writestr(f"{name}/{part}/1.jpg", part)
    return folder / f"{name}.zip"


def make_tar(folder, name="facades", members=("facades/train/1.jpg", "facades/val/1.jpg")):
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as file:
        for member in members:
            info = tarfile.TarInfo(member)
            info.size = 3
            file.addfile(info, io.BytesIO(b"jpg"))
    return folder / f"{name}.tar.gz"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that is served at the address in `I2I_MIRROR`."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("I2I_MIRROR", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setenv("no_proxy", "*")
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def sets(tmp_path):
    return tmp_path / "sets"


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(*_, **__):
        raise UserError("cannot download: no route to host", "check the network")

    monkeypatch.setattr(catalogue, "download", unreachable)


def test_every_row_has_its_own_name_and_archive():
    assert len(set(NAMES)) == len(NAMES)
    archives = [entry.archive for entry in ENTRIES if entry.url]
    assert len(set(archives)) == len(archives)


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_a_row_is_complete(entry):
    assert entry.url or entry.terms
    assert entry.images.startswith("train ")
    if entry.url:
        assert urlsplit(entry.url).scheme == "https"
        assert entry.archive.endswith(".tar.gz" if entry.layout == "paired" else ".zip")
        assert entry.archive.partition(".")[0] == entry.name.removesuffix("-unpaired")


def test_a_typo_brings_the_closest_names():
    assert find("maps-unpaired").layout == "unpaired"
    for typo, meant in {
        "horse2zebras": "horse2zebra",
        "Facades": "facades",
        "edge2shoes": "edges2shoes",
        "scene": "scenes",
    }.items():
        with pytest.raises(UserError, match=typo) as caught:
            find(typo)
        assert f"did you mean {meant}" in caught.value.hint
    with pytest.raises(UserError) as caught:
        find("qqqqqq")
    assert all(name in caught.value.hint for name in NAMES)
    with pytest.raises(UserError, match="drawn by the program"):
        find("scenes")


def test_a_set_is_downloaded_and_unpacked_and_its_archive_removed(mirror, sets):
    make_zip(mirror)
    make_tar(mirror)
    seen = []
    assert fetch("horse2zebra", sets, lambda *now: seen.append(now)) == sets / "horse2zebra"
    assert names(sets / "horse2zebra") == ["testA", "trainA", "trainB"]
    assert names(fetch("facades", sets)) == ["train", "val"]
    assert names(sets) == ["facades", "horse2zebra"]
    assert seen[-1] == (make_zip(mirror).stat().st_size,) * 2


def test_the_unpaired_set_of_a_name_stands_beside_the_paired_one(mirror, sets):
    make_zip(mirror, "facades")
    make_tar(mirror)
    assert names(fetch("facades-unpaired", sets)) == ["testA", "trainA", "trainB"]
    assert names(fetch("facades", sets)) == ["train", "val"]


def test_a_set_that_is_there_needs_no_network(sets, no_network):
    for part in ("trainA", "trainB"):
        (sets / "horse2zebra" / part).mkdir(parents=True)
    assert fetch("horse2zebra", sets) == sets / "horse2zebra"
    (sets / "cityscapes" / "train").mkdir(parents=True)
    assert fetch("cityscapes", sets) == sets / "cityscapes"


def test_a_folder_that_is_not_the_set_is_not_taken_for_it(sets, no_network):
    (sets / "horse2zebra" / "trainA").mkdir(parents=True)
    with pytest.raises(UserError, match="no folder 'trainB'"):
        fetch("horse2zebra", sets)


def test_an_archive_that_lies_there_is_used_and_kept(sets, no_network):
    sets.mkdir()
    make_zip(sets)
    assert names(fetch("horse2zebra", sets)) == ["testA", "trainA", "trainB"]
    assert names(sets) == ["horse2zebra", "horse2zebra.zip"]


def test_an_archive_without_a_top_folder_is_fine(sets, no_network):
    sets.mkdir()
    make_tar(sets, members=("train/1.jpg", "test/1.jpg"))
    assert names(fetch("facades", sets)) == ["test", "train"]


def test_without_a_network_the_message_says_what_to_put_where(sets, no_network):
    with pytest.raises(UserError, match="no route") as caught:
        fetch("horse2zebra", sets)
    hint = caught.value.hint
    for part in (
        find("horse2zebra").url,
        "about 111.5 MiB",
        f"'{sets / 'horse2zebra.zip'}'",
        f"'{sets / 'horse2zebra' / 'trainA'}'",
    ):
        assert part in hint
    with pytest.raises(UserError) as caught:
        fetch("night2day", sets)
    assert "about" not in caught.value.hint


def test_a_set_that_the_server_does_not_have_is_said_with_the_way_by_hand(mirror, sets):
    with pytest.raises(UserError, match="404") as caught:
        fetch("horse2zebra", sets)
    assert find("horse2zebra").url in caught.value.hint
    assert names(sets) == []


def test_a_set_that_may_not_be_distributed_says_how_to_make_it(sets, no_network):
    with pytest.raises(UserError, match="licence") as caught:
        fetch("cityscapes", sets)
    assert str(sets / "cityscapes" / "train") in caught.value.hint


def test_a_full_disk_is_not_taken_for_a_network_error(sets, monkeypatch):
    def full(*_, **__):
        raise OutOfResources("disk full", "free some space")

    monkeypatch.setattr(catalogue, "download", full)
    with pytest.raises(OutOfResources) as caught:
        fetch("horse2zebra", sets)
    assert caught.value.hint == "free some space"


@pytest.mark.parametrize("damage", ["cut", "other", "hostile", "wrong hash"])
def test_a_bad_archive_never_becomes_a_set_and_is_not_in_the_way_of_a_good_one(mirror, sets, monkeypatch, damage):
    archive = make_zip(mirror, parts=("trainA",) if damage == "other" else ("trainA", "trainB"))
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:-40])
    if damage == "hostile":
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("../../x.jpg", "x")
    if damage == "wrong hash":
        row = catalogue.Entry(**{**vars(find("horse2zebra")), "sha256": "0" * 64})
        monkeypatch.setattr(catalogue, "ENTRIES", (row,))
    with pytest.raises(UserError):
        fetch("horse2zebra", sets)
    assert names(sets) == []
    assert names(sets.parent) == ["mirror", "sets"]
    monkeypatch.setattr(catalogue, "ENTRIES", ENTRIES)
    make_zip(mirror)
    assert fetch("horse2zebra", sets) == sets / "horse2zebra"


def test_a_bad_archive_that_a_person_put_there_is_kept(sets, no_network):
    sets.mkdir()
    make_zip(sets, parts=("trainA",))
    with pytest.raises(UserError, match="no images in 'trainB'"):
        fetch("horse2zebra", sets)
    assert names(sets) == ["horse2zebra.zip"]


def test_an_interrupted_download_is_resumed(mirror, sets, monkeypatch):
    make_zip(mirror)
    monkeypatch.setattr(download, "PAUSE", 0.001)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("horse2zebra", sets, stop)
    assert names(sets) == ["horse2zebra.zip.part", "horse2zebra.zip.part.json"]
    assert names(fetch("horse2zebra", sets)) == ["testA", "trainA", "trainB"]
    assert names(sets) == ["horse2zebra"]


CHILD = "import sys; from pathlib import Path; from i2i.data.catalogue import fetch; fetch('horse2zebra', Path(sys.argv[1]))"


def test_a_process_killed_while_it_unpacks_leaves_no_half_set(sets):
    sets.mkdir()
    with zipfile.ZipFile(sets / "horse2zebra.zip", "w") as file:
        for i in range(20_000):
            file.writestr(f"horse2zebra/train{'AB'[i % 2]}/{i}.jpg", b"")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(sets)])
    while not any(sets.glob(".i2i-tmp-*/trainA/*")):
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (sets / "horse2zebra").exists()
    shutil.rmtree(next(sets.glob(".i2i-tmp-*")))
    make_zip(sets)
    assert names(fetch("horse2zebra", sets)) == ["testA", "trainA", "trainB"]
