"""Writes are whole or not there, whatever happens in between."""

import errno
import os
import subprocess
import sys

import pytest

from i2i import atomic
from i2i.errors import OutOfResources


class Killed(BaseException):
    """As good as a kill: nothing but `finally` runs."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_replaces_the_old_one(tmp_path):
    file = tmp_path / "a.txt"
    for text in ("old", "new"):
        atomic.write_text(file, text)
    assert file.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [Killed, ValueError, OSError])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, error):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write_half():
        with atomic.replacing(file) as scratch:
            scratch.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [Killed, OSError])
def test_a_folder_block_that_raises_leaves_nothing(tmp_path, error):
    def write_half():
        with atomic.replacing_folder(tmp_path / "new") as scratch:
            (scratch / "inside").mkdir()
            (scratch / "inside" / "file").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == []


def test_a_folder_stands_under_its_name_with_everything_in_it(tmp_path):
    with atomic.replacing_folder(tmp_path / "new") as scratch:
        (scratch / "file").write_text("whole")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "file").read_text() == "whole"
    assert names(tmp_path) == ["new"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (done.append(name), real(*a))[1])
    atomic.write_text(tmp_path / "a", "text")
    assert done == ["fsync", "replace", "fsync"]  # the file, its new name, the folder that holds the name


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_the_name_and_the_free_space(tmp_path, code):
    with (
        pytest.raises(OutOfResources, match=rf"cannot write '{tmp_path / 'a'}': .* \(\d+ MB free\)"),
        atomic.replacing(tmp_path / "a"),
    ):
        raise OSError(code, os.strerror(code))


def test_a_limit_on_file_sizes_is_not_taken_for_a_full_disk(tmp_path):
    told = atomic.explained(OSError(errno.EFBIG, os.strerror(errno.EFBIG)), tmp_path / "a")
    assert isinstance(told, OutOfResources)
    assert "free" not in told.message
    assert "ulimit -f" in (told.hint or "")


def test_the_free_space_is_found_where_the_folder_is_not_there_yet(tmp_path):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "MB free" in str(atomic.explained(error, tmp_path / "a" / "b" / "c"))


def test_another_refusal_of_the_system_is_passed_on(tmp_path):
    with pytest.raises(PermissionError), atomic.explaining(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    file = tmp_path / ("x" * 251 + ".png")
    atomic.write_text(file, "text")
    assert file.read_text() == "text"


def test_a_link_is_moved_in_one_step(tmp_path):
    for name in ("one", "two"):
        atomic.point(tmp_path / "last", name)
    assert (tmp_path / "last").readlink().name == "two"
    assert names(tmp_path) == ["last"]


def test_a_removed_folder_is_never_seen_half_removed(tmp_path, monkeypatch):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "file").touch()
    monkeypatch.setattr(atomic.shutil, "rmtree", lambda *a, **k: None)  # a kill right before it
    atomic.remove_folder(folder)
    assert not folder.exists()
    monkeypatch.undo()
    atomic.sweep(tmp_path)
    assert names(tmp_path) == []


def test_sweeping_removes_what_the_dead_left_and_keeps_what_the_living_write(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f"{atomic.MARK}{atomic.HOST}-{ended.pid}-aa.png").touch()
    (tmp_path / f"{atomic.MARK}{atomic.HOST}-{ended.pid}-bb").mkdir()
    (tmp_path / f"{atomic.MARK}{atomic.HOST}-{os.getpid()}-cc").touch()  # a number that has come round again
    (tmp_path / f"{atomic.MARK}{atomic.HOST}-{os.getppid()}-dd").touch()
    (tmp_path / "mine.png").touch()
    (tmp_path / f"{atomic.MARK}0000beef-1-ee").touch()  # of another machine, which cannot be asked
    with atomic.temporary(tmp_path / "now.png") as scratch:
        scratch.touch()
        atomic.sweep(tmp_path)
        assert scratch.exists()
    (tmp_path / f"{atomic.MARK}0000beef-1-ee").unlink()
    assert names(tmp_path) == [f"{atomic.MARK}{atomic.HOST}-{os.getppid()}-dd", "mine.png"]


def test_sweeping_a_folder_that_is_not_there_does_nothing(tmp_path):
    atomic.sweep(tmp_path / "nowhere")
