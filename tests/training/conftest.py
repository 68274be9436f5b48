"""Tiny runs: their data, their folders, and how they are trained in this process or in another."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2i import models, runs
from i2i.config import Layer, from_assignments
from i2i.prepare import prepare
from i2i.training.trainer import Trainer

sys.path.append(str(Path(__file__).parent))
import kills


class Silent:
    """Watches a trainer and keeps what it says; `on_step` may interfere after a step."""

    def __init__(self, on_step: Callable[[int], None] | None = None):
        self.said: list[str] = []
        self.on_step = on_step

    def step(self, done: int, total: int, epoch: float, losses: dict[str, float] | None) -> None:
        if self.on_step:
            self.on_step(done)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def watch() -> type[Silent]:
    """`watch()`, or `watch(on_step)`: somebody for a trainer to talk to."""
    return Silent


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`images("cyclegan")`: a folder with five images a side that suits the method."""
    folder = tmp_path_factory.mktemp("images")
    places = {kind: kills.draw_images(folder / kind, kind) for kind in set(kills.KIND.values())}
    return lambda method: places[kills.KIND[method]]


@pytest.fixture
def new_run(images: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """`new_run("pix2pix", "name", "train.ema=0.9", steps=6)`: the folder of a run that was not started yet."""

    def create(method: str, name: str = "run", *settings: str, steps: int = 6, data: Path | None = None) -> Path:
        fast = [f"model.{s}" for s in kills.MODEL[method]] + [f"train.{s}" for s in kills.TRAIN]
        values = [*fast, f"train.steps={steps}", "train.save_every=2", "data.size=16", f"data.source={data or images(method)}"]
        prepared = prepare(models.configure(method, [from_assignments(values), from_assignments(list(settings))]))
        return runs.create(prepared, tmp_path / name, name)

    return create


@pytest.fixture
def trainer_of() -> Callable[..., Trainer]:
    """`trainer_of(run)`: a trainer for it, as `i2i resume` makes it. `changes` are settings that were edited meanwhile."""

    def make(run: Path, *changes: str, watcher: Any = None) -> Trainer:
        config = runs.saved_config(run)
        edited = models.configure(config.method, [Layer("the run", config.tree()), from_assignments(list(changes))])
        return runs.trainer(run, prepare(edited), watcher or Silent())

    return make


@pytest.fixture
def train_all() -> Callable[..., None]:
    """`train_all(run)`: all stages of it, as `i2i resume` trains them."""

    def train(run: Path, watcher: Any = None) -> None:
        for _, trainer in runs.trainers(run, prepare(runs.saved_config(run)), watcher or Silent()):
            if not trainer.finished:
                trainer.run()

    return train


@pytest.fixture
def i2i() -> Callable[..., subprocess.CompletedProcess]:
    """`i2i("resume", run)`: the command in a process of its own; `before` is Python that runs first in it."""

    def run(*words: object, before: str = "", **options: Any) -> subprocess.CompletedProcess:
        code = f"import sys; {before}\nfrom i2i.cli import main; main()"
        command = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False, env=kills.environment(), **options
        )

    return run
