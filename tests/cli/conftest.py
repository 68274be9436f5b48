"""How the command is run: in this process, where that is enough, and as a person's shell does."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from i2i.cli import main, messages
from i2i.methods.cyclegan import CycleGAN


class Done(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def i2i(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`i2i("train", "pix2pix")`: the exit status, and what was printed."""

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["i2i", *map(str, words)])
        monkeypatch.setattr("os._exit", sys.exit)  # how one process of several ends, which must not be this one
        messages.set_quiet(False)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`signalled(SIGINT)`: that signal comes while the third image is computed; the model returns its input."""

    def arrange(number: int) -> None:
        calls = []

        def interrupted(self, x, **_):
            calls.append(1)
            if len(calls) == 3:
                signal.raise_signal(number)
            return x

        monkeypatch.setattr(CycleGAN, "translate", interrupted)

    return arrange


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three side-by-side pairs, beside an empty working folder."""
    folder = tmp_path / "photos"
    (folder / "train").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    for number in range(3):
        Image.fromarray(np.roll(pixels, number, 1)).save(folder / "train" / f"{number}.png")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A config file for a run of a second."""
    file = tmp_path / "small.yaml"
    file.write_text(
        "method: pix2pix\n"
        "model: {generator: {depth: 3, width: 2}, discriminator: {layers: 1, width: 2}}\n"
        "data: {size: 16}\n"
        "train: {steps: 2, log_every: 1, samples: 1, device: cpu, precision: fp32}\n"
    )
    return file
