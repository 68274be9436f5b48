"""Videos as files, small ones that OpenCV writes here; and broken on purpose."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2i import video
from i2i.images import ImageError


def greys(number: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Frames that say which they are: each brighter than the one before."""
    return [np.full((height, width, 3), 20 + 20 * n, np.uint8) for n in range(number)]


def read(path: Path) -> list[np.ndarray]:
    with video.opened(path) as clip:
        return list(clip.frames())


def overwritten(path: Path, mark: bytes, skip: int, content: bytes) -> Path:
    """The same file with other bytes so far behind a mark in it."""
    data = bytearray(path.read_bytes())
    at = data.index(mark) + len(mark) + skip
    data[at : at + len(content)] = content
    path.write_bytes(data)
    return path


# Reading


@pytest.mark.parametrize("suffix", sorted(video.SUFFIXES))
def test_every_frame_comes_once_in_order_at_the_rate_and_size_of_the_file(suffix, tmp_path, film) -> None:
    path = film(tmp_path / f"a{suffix}", greys(10))
    with video.opened(path) as clip:
        assert (clip.rate, clip.height, clip.width, clip.count) == (12.5, 32, 48, 10)
        levels = [frame.mean() for frame in clip.frames()]
        assert clip.notes == []
    np.testing.assert_allclose(levels, [20 + 20 * n for n in range(10)], atol=6)


def test_colours_are_not_swapped(tmp_path, film) -> None:
    red = np.zeros((32, 48, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_array_equal(read(film(tmp_path / "a.mkv", [red] * 3)), [red] * 3)


def test_a_clip_that_was_filmed_upright_is_upright(tmp_path, film) -> None:
    path = film(tmp_path / "a.mp4", greys(3))
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    with video.opened(overwritten(path, b"tkhd", 40, quarter)) as clip:
        assert (clip.height, clip.width) == (48, 32)
        assert [frame.shape for frame in clip.frames()] == [(48, 32, 3)] * 3


def test_what_a_stream_says_about_its_length_is_not_believed(tmp_path, film) -> None:
    path = film(tmp_path / "a.avi", greys(4))
    overwritten(path, b"RIFF", 0, b"\xff" * 4)
    for mark in (b"avih", b"strh"):
        overwritten(path, mark, 4 + (16 if mark == b"avih" else 32), struct.pack("<I", 2**30))
    with video.opened(path) as clip:
        assert clip.count is None
        assert len(list(clip.frames())) == 4


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("suffix", sorted(video.SUFFIXES))
def test_a_file_that_is_cut_off_is_an_error_that_names_it(suffix, share, tmp_path, film) -> None:
    path = film(tmp_path / f"a{suffix}", greys(10))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match=f"a{suffix}"):
        read(path)


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path, film) -> None:
    noise = [np.random.default_rng(n).integers(0, 256, (32, 48, 3), np.uint8) for n in range(6)]
    path = film(tmp_path / "a.avi", noise)
    data = path.read_bytes()
    at = [n for n in range(len(data)) if data[n : n + 4] == b"00dc"][3]
    (length,) = struct.unpack("<I", data[at + 4 : at + 8])
    path.write_bytes(data[: at + 8] + b"\xff" * length + data[at + 8 + length :])
    with pytest.raises(ImageError, match=r"frame [34] .*cannot be decoded"):  # a decoder may work on two at once
        read(path)


def test_frames_that_are_announced_and_not_there_are_an_error(tmp_path, monkeypatch, film) -> None:
    path = film(tmp_path / "a.mp4", greys(5))
    with video.opened(path) as clip:
        clip.count = 6
        with pytest.raises(ImageError, match="frame 6 of 6 cannot be decoded"):
            list(clip.frames())


def test_frames_that_an_edit_list_leaves_out_are_not_missed(tmp_path, monkeypatch, film) -> None:
    path = film(tmp_path / "a.mp4", greys(5))
    with video.opened(path) as clip:
        clip.count = 6
        monkeypatch.setattr(video, "_uncut", lambda path: 6)
        assert len(list(clip.frames())) == 5
    monkeypatch.undo()
    assert video._uncut(path) == 5
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_a_rate_that_varies_or_is_not_known_is_told(tmp_path, film) -> None:
    with video.opened(film(tmp_path / "a.mkv", greys(10))) as clip:
        clip.rate = 50.0
        list(clip.frames())
    assert clip.notes == ["its frame rate varies, the output's does not: 0.2 seconds instead of 0.7"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("no video"), "damaged, or no video"),
        (lambda path: path.write_bytes(b"\0" * 5000), "damaged, or no video"),
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.mkdir(), "it is a folder"),
        (lambda path: None, "there is no such file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "no frame in it"),
    ],
    ids=["text", "zeros", "empty", "folder", "nothing", "device", "image"],
)
def test_what_is_no_video_is_an_error_that_says_what_it_is(make, words, tmp_path, capfd) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match=rf"cannot read '.*a\.mp4': .*{words}"), video.opened(tmp_path / "a.mp4"):
        pass
    assert capfd.readouterr().err == ""


def test_a_video_without_a_frame_is_an_error(tmp_path) -> None:
    with video.written(tmp_path / "none.avi", 25, (32, 48)):
        pass
    with pytest.raises(ImageError, match=r"cannot read '.*none\.avi'"):
        read(tmp_path / "none.avi")


def test_frames_that_are_too_large_are_refused(tmp_path, film) -> None:
    path = film(tmp_path / "a.mkv", greys(2))
    with pytest.raises(ImageError, match=r"48x32 pixels are over 0\.001 megapixels"), video.opened(path, max_pixels=1000):
        pass


@pytest.mark.parametrize("name", [b"\xff.mp4", b"http:a.mp4", b"a%03d.mp4", b"a\nb.mp4", b"-y.mp4", b"a b'c.mp4"])
def test_odd_names_are_read_and_written(name, tmp_path, film) -> None:
    path = tmp_path / os.fsdecode(name)
    try:
        path.write_bytes(film(tmp_path / "plain.mp4", greys(3)).read_bytes())
    except OSError:
        pytest.skip("this file system refuses the name")
    assert len(read(path)) == 3
    with video.written(path, 25, (32, 48)) as add:
        for frame in greys(4):
            add(frame)
    assert len(read(path)) == 4


# Writing


@pytest.mark.parametrize("suffix", video.CODECS)
@pytest.mark.parametrize("rate", [12.5, 30000 / 1001, 60.0])
def test_what_is_written_comes_back(suffix, rate, tmp_path) -> None:
    path = tmp_path / f"a{suffix}"
    with video.written(path, rate, (32, 48)) as add:
        for frame in greys(10):
            add(frame)
    with video.opened(path) as clip:
        assert abs(clip.rate - rate) < 0.01
        np.testing.assert_allclose([frame.mean() for frame in clip.frames()], [20 + 20 * n for n in range(10)], atol=6)


def test_an_odd_side_becomes_even(tmp_path) -> None:
    with video.written(tmp_path / "a.mp4", 25, (33, 47)) as add:
        add(greys(1, 33, 47)[0])
    assert read(tmp_path / "a.mp4")[0].shape == (34, 48, 3)


def test_frames_that_did_not_reach_the_disk_are_an_error(tmp_path, monkeypatch) -> None:
    real = cv2.VideoWriter

    class Full:
        """Like OpenCV's on a full disk: nothing arrives, and nothing is said."""

        fourcc = real.fourcc

        def __init__(self, *how: object):
            self.isOpened, self.release = (writer := real(*how)).isOpened, writer.release

        def write(self, frame: np.ndarray) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    with pytest.raises(ImageError, match="only 0 of 3 frames"), video.written(tmp_path / "a.mp4", 25, (32, 48)) as add:
        for frame in greys(3):
            add(frame)


# Sound


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch) -> Callable[[str], Path]:
    """`ffmpeg("exit 0")`: a program of that name, and the file that lists how it was called."""

    def make(ends: str) -> Path:
        folder, calls = tmp_path / "bin", tmp_path / "calls"
        folder.mkdir()
        program = folder / "ffmpeg"
        program.write_text(f'#!/bin/sh\necho "$*" >> "{calls}"\nfor last; do :; done\n{ends}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return calls

    return make


def test_sound_is_put_in_by_ffmpeg_and_the_frames_are_left_as_they_are(ffmpeg, tmp_path) -> None:
    calls = ffmpeg('echo both > "${last#file:}"')
    (tmp_path / "a.mp4").write_text("silent")
    assert video.add_sound(tmp_path / "a.mp4", tmp_path / "in.mp4") is None
    assert (tmp_path / "a.mp4").read_text() == "both\n"
    (call,) = calls.read_text().splitlines()
    assert f"-i file:{tmp_path / 'in.mp4'} -map 0:v -map 1:a? -c:v copy -c:a copy" in call


def test_sound_that_the_format_cannot_hold_as_it_is_is_encoded_anew(ffmpeg, tmp_path) -> None:
    calls = ffmpeg('case "$*" in *"-c:a copy"*) exit 1;; esac\necho both > "${last#file:}"')
    (tmp_path / "a.mp4").write_text("silent")
    assert video.add_sound(tmp_path / "a.mp4", tmp_path / "in.mov") is None
    assert len(calls.read_text().splitlines()) == 2


def test_where_sound_cannot_be_carried_over_the_frames_stay_and_a_word_says_so(ffmpeg, tmp_path, monkeypatch) -> None:
    ffmpeg("echo half > \"${last#file:}\"; echo 'no such codec' >&2; exit 1")
    (tmp_path / "a.mp4").write_text("silent")
    said = video.add_sound(tmp_path / "a.mp4", tmp_path / "in.mp4")
    assert said == "without sound: ffmpeg cannot carry it over (no such codec)"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "no ffmpeg program" in str(video.add_sound(tmp_path / "a.mp4", tmp_path / "in.mp4"))
    assert (tmp_path / "a.mp4").read_text() == "silent"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "bin", "calls"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg program here")
def test_the_frames_are_the_same_behind_ffmpeg(tmp_path, film) -> None:
    path, source = film(tmp_path / "a.mp4", greys(10)), film(tmp_path / "in.mp4", greys(3))
    before = read(path)
    assert video.add_sound(path, source) is None
    np.testing.assert_array_equal(read(path), before)
