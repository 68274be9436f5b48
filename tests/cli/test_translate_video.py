"""`i2i translate` with videos and raw frames, as people type it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from i2i import cli, images, video
from i2i.cli import progress
from i2i.images import Picture

RAW = ["-", "-o", "-", "--stdin-raw", "12x8"]
FRAME = 12 * 8 * 3


@pytest.fixture
def model(saved, tmp_path, monkeypatch, film) -> Path:
    """A tiny untrained model, in the current folder, beside a clip of nine frames and an image in `in`."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "model.safetensors")
    Path("in").mkdir()
    film(Path("in/clip.mp4"), [np.full((16, 24, 3), 20 * n, np.uint8) for n in range(9)])
    images.write(Path("in/photo.png"), Picture(np.zeros((9, 12, 3), np.uint8)))
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg
    return Path("model.safetensors")


def frames(path: str) -> int:
    with video.opened(Path(path)) as clip:
        return len(list(clip.frames()))


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["in/clip.mp4", "-o", "out.mp4"], 0, "1 of 1 translated"),
        (["in/clip.mp4", "-o", "out.avi", "--freeze-norm", "--batch", 2], 0, "1 of 1 translated"),
        (["in", "-o", "out"], 0, "2 of 2 translated"),
        (["in/*.mp4", "-o", "out", "--name", "{stem}_{model}{ext}"], 0, "1 of 1 translated"),
        (["in", "-o", "out", "--dry-run"], 0, "2 of 2 images would be"),
        (["in", "-o", "full"], 2, "exist already, such as 'full/clip.mp4'"),
        (["in", "-o", "full", "--skip-existing"], 0, "1 of 2 translated, 1 skipped"),
        (["in", "-o", "full", "--overwrite"], 0, "2 of 2 translated"),
        (["in/clip.mp4", "-o", "out.webm"], 2, "cannot write .webm files"),
        (["in/clip.mp4", "-o", "out.png"], 2, "cannot write .png files"),
        (["in/clip.mp4", "-o", "in"], 2, "would replace the input"),
        (["in", "-o", "in"], 2, "lies in the input folder"),
        (["in", "-o", "out", "--compare"], 2, "the video 'in/clip.mp4' cannot be shown beside"),
        (["bad", "-o", "out"], 4, "no image could be translated"),
        (["bad", "in", "-o", "out"], 3, "2 of 4 translated, 2 failed"),
        (["in/clip.mp4", "-o", "out", "--max-pixels", 99], 4, "24x16 pixels are over"),
        (["in", "-o", "out", "--stdin-raw", "3x4"], 2, "--stdin-raw is for frames from stdin"),
        (["-", "-o", "-", "--stdin-raw", "3"], 2, "not '3'"),
        (["-", "-o", "-", "--stdin-raw", "0x4"], 2, "not '0x4'"),
        ([*RAW, "--format", "jpg"], 2, "raw frames are no files"),
        ([*RAW, "--keep-metadata"], 2, "raw frames are no files"),
        ([*RAW, "--max-pixels", 9], 2, "frames of 12x8 pixels are over"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_how_it_ends(i2i, model, words, status, said) -> None:
    Path("full").mkdir()
    Path("full/clip.mp4").write_text("mine")
    Path("bad").mkdir()
    Path("bad/cut.mp4").write_bytes(Path("in/clip.mp4").read_bytes()[:-9])
    Path("bad/text.avi").write_text("no video")
    before = files(".")
    ended = i2i("translate", model, *words)
    assert ended.status == status, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    if status in (2, 4):
        assert files(".") == before


def test_all_frames_are_there_and_a_record_says_so(i2i, model) -> None:
    ended = i2i("translate", model, "in/clip.mp4", "-o", "out.mp4", "--json", "--log", "log.jsonl")
    record, summary = map(json.loads, ended.out.splitlines())
    assert (record["status"], record["frames"], record["width"], record["height"]) == ("done", 9, 24, 16)
    assert json.loads(Path("log.jsonl").read_text()) == record
    assert summary["summary"]["done"] == 1
    assert frames("out.mp4") == 9
    assert "note: without sound, if it had any: there is no ffmpeg program" in ended.err


def test_a_damaged_video_is_named_and_the_rest_is_done(i2i, model) -> None:
    Path("in/a.mp4").write_bytes(Path("in/clip.mp4").read_bytes()[:-99])
    ended = i2i("translate", model, "in", "-o", "out", "--errors-to", "failed")
    assert (ended.status, files("out"), Path("failed").read_text()) == (3, ["clip.mp4", "photo.png"], "in/a.mp4\n")
    assert "error: cannot read 'in/a.mp4': it is " in ended.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_part_of_a_video(i2i, model, signalled, number, status) -> None:
    signalled(number)
    ended = i2i("translate", model, "in", "-o", "out", "--batch", "1")
    assert (ended.status, list(Path("out").iterdir())) == (status, [])
    assert "--skip-existing goes on" in ended.err
    assert i2i("translate", model, "in", "-o", "out", "--skip-existing").status == 0
    assert files("out") == ["clip.mp4", "photo.png"]


def test_how_far_a_long_video_is_is_told(i2i, model, monkeypatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = i2i("translate", model, "in/clip.mp4", "-o", "out.mp4").err
    assert "in/clip.mp4: frame 4 of 9 (44%)" in said
    assert "\r" not in said


def test_freezing_without_a_video_is_no_error_and_said(i2i, model) -> None:
    ended = i2i("translate", model, "in/photo.png", "-o", "out.png", "--freeze-norm")
    assert ended.status == 0
    assert "--freeze-norm is for videos" in ended.err


# Raw frames


def piped(model: Path, source: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    code = "import torch; torch.set_num_threads(1); from i2i.cli import main; main()"
    where = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-c", code, "translate", str(model), *RAW, "--device", "cpu", *words]
    return subprocess.run(command, input=source, capture_output=True, check=False, env=where)


def test_raw_frames_go_from_stdin_to_stdout(model) -> None:
    done = piped(model, np.random.default_rng(0).bytes(3 * FRAME), "--freeze-norm")
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, b"", 3 * FRAME)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_short_last_frame_is_an_error_behind_the_whole_ones(batch, model) -> None:
    done = piped(model, bytes(2 * FRAME + 5), "--batch", str(batch))
    assert (done.returncode, len(done.stdout)) == (2, 2 * FRAME)
    assert done.stderr.startswith(b"error: frame 3 has 5 bytes, but 12x8 in rgb24 are 288")


def test_nobody_who_takes_the_frames_is_no_error(model) -> None:
    code = "import torch; torch.set_num_threads(1); from i2i.cli import main; main()"
    command = [sys.executable, "-c", code, "translate", str(model), *RAW, "--device", "cpu"]
    where = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE, env=where) as process:
        os.close(write)
        said = process.communicate(bytes(50 * FRAME))[1]
    assert (process.returncode, said) == (0, b"")
