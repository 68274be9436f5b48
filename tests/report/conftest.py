"""Runs as they lie on the disk, made by hand: what a page shows needs no training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.config import Layer, dump
from i2i.models import configure
from i2i.report.pictures import GIVEN
from i2i.training import sheets
from i2i.training.health import Ailment

COLUMNS = {
    "pix2pix": ("input", "output", "target"),
    "pix2pixhd": ("input", "boundaries", "output", "target"),
    "cyclegan": ("x", "G(x)", "F(G(x))", "y", "F(y)", "G(F(y))"),
    "bicyclegan": ("input", "target", "encoded", "random 1", "random 2", "random 3", "random 4"),
    "simgan": ("synthetic", "refined", "real"),
    "crn": ("input", "output", "output 2", "target"),
}


@pytest.fixture(scope="session")
def paint() -> Callable[..., None]:
    """`paint(run, step, ("input", "output"), rows=2, side=16)`: a sample sheet in which what is made differs from step to step,
    and what is given does not."""
    return _paint


@pytest.fixture(scope="session")
def write_log() -> Callable[..., None]:
    """`write_log(run, rows)`"""
    return _write_log


def _paint(run: Path, step: int, columns: Sequence[str], *, rows: int = 2, side: int = 16) -> None:
    (run / "samples").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    given = {name: torch.rand(rows, 3, side, side) * 2 - 1 for name in columns}
    torch.manual_seed(step + 1)
    made = {name: torch.rand(rows, 3, side, side) * 2 - 1 for name in columns}
    sheets.write(
        run / "samples" / f"step-{step:09d}.png",
        {name: given[name] if name in GIVEN else made[name] for name in columns},
    )


@pytest.fixture
def ail(monkeypatch) -> Callable[..., None]:
    """`ail("name", "evidence", "remedy")`: this is what ails every run."""
    return lambda *words: monkeypatch.setattr("i2i.training.health.of_run", lambda *_: [Ailment(*words)])


def line(step: int, steps: int, **values: float) -> dict[str, float]:
    return {"step": step, "steps": steps, "epoch": step / 100, "seconds": step / 2, **values}


@pytest.fixture
def painted(tmp_path: Path) -> Callable[..., Path]:
    """`painted("run", "simgan", steps=40)`: the folder of a run with five sheets, a log, a validation every 20 steps and the
    checkpoint of one of them as the best."""

    def make(name: str = "run", method: str = "pix2pix", *, at: int = 80, steps: int = 80, **settings: dict[str, Any]) -> Path:
        run = tmp_path / "runs" / name
        for step in range(0, at + 1, 20):
            _paint(run, step, COLUMNS[method])
        config = configure(method, [Layer("--set", settings)])
        sources = {key: source for key, source in config.sources.items() if source != "default"}
        (run / "config.yaml").write_text(dump({**config.tree(), "made_with": {"torch": "2", "sources": sources}}))
        by = {"cyclegan": "swd", "simgan": "swd"}.get(method, "ssim")
        rows = [
            line(step, steps, **{"D/real": 0.3, "D/fake": 0.2, "G/gan": 1.1, "lr/G": 2e-4}) for step in range(10, at + 1, 10)
        ]
        rows += [line(step, steps, **{f"val/{by}": 0.2 + 0.1 * (step == 40)}) for step in range(20, at + 1, 20)]
        _write_log(run, sorted(rows, key=lambda row: row["step"]))
        for step in (40, at):
            (run / "checkpoints" / f"step-{step:09d}").mkdir(parents=True, exist_ok=True)
        (run / "checkpoints" / "best").symlink_to("step-000000040")
        return run

    return make


def _write_log(run: Path, rows: Sequence[dict[str, Any]]) -> None:
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
