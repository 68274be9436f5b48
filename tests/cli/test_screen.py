"""Training as a person sees it: plain lines in a file, a live line on a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

from i2i.cli import messages, screen
from i2i.cli.screen import Screen, clock


@pytest.fixture
def time(monkeypatch):
    """A clock that is set by hand."""
    now = [1000.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    messages.set_quiet(False)
    return now


def on_terminal(command: list[str], **environment: str) -> tuple[int, str]:
    """The exit status of a command and all that it writes to a terminal."""
    ours, theirs = pty.openpty()
    settings = os.environ | {"TERM": "xterm", "COLUMNS": "200", "OMP_NUM_THREADS": "1"} | environment
    process = subprocess.Popen(
        [sys.executable, "-m", "i2i", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=settings
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return process.wait(60), seen.decode()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (200000, "2d07h"),
    ],
)
def test_seconds_are_said_in_two_units(seconds, text):
    assert clock(seconds) == text


def test_elsewhere_a_line_comes_every_ten_seconds_and_at_the_end(time, capsys):
    with Screen() as seen:
        for done in range(1, 101):
            seen.step(done, 100, done / 10, {"G/l1": 1 / done})
            time[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/100" for n in (*range(1, 100, 10), 100)]
    assert lines[1] == "step 11/100  epoch 1.10  1.0 steps/s  1m29s left  G/l1 0.091"
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", "".join(lines))


def test_slow_steps_are_given_in_seconds_and_no_time_at_all_is_no_error(time, capsys):
    seen = Screen()
    seen.step(1, 10, 0, None)
    time[0] += 20
    seen.step(2, 10, 0, None)
    assert "20.0 s/step  2m40s left" in capsys.readouterr().err
    fast = Screen()
    fast.step(1, 2, 0, None)
    fast.step(2, 2, 0, None)


def test_quiet_shows_no_progress(time, capsys):
    messages.set_quiet(True)
    Screen().step(1, 1, 0, None)
    messages.set_quiet(False)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_live_line_and_keeps_its_cursor(photos, small):
    words = ["train", "pix2pix", "--config", str(small), "--data", str(photos), "--steps", "40"]
    status, seen = on_terminal(words)
    assert status == 0
    assert "\x1b[2K" in seen
    assert "40/40" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")
    assert "next:" in seen


def test_a_terminal_without_colour_gets_none(photos, small):
    status, seen = on_terminal(["train", "pix2pix", "--config", str(small), "--data", str(photos)], NO_COLOR="1")
    assert status == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", seen)
