"""The referee: gives a method its batches, in one loop for all methods, and never loses work."""

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

import torch
from torch import Tensor

from i2i import atomic
from i2i.config import Config, TrainSettings
from i2i.data import loader
from i2i.data.loader import batches, collate
from i2i.data.samples import FixedSamples, Samples
from i2i.errors import Diverged, Interrupted, UserError
from i2i.method import Batch, Method
from i2i.training import checkpoint, sheets
from i2i.training.average import Average
from i2i.training.best import best_of, spent
from i2i.training.folder import CHECKPOINTS, LOCK, SAMPLES, log, step_of
from i2i.training.health import examine
from i2i.training.journal import Journal
from i2i.training.memory import keep_freed_memory
from i2i.training.precision import Precision
from i2i.training.ranks import Ranks
from i2i.training.schedule import factor
from i2i.training.signals import Stop
from i2i.training.update import Updater


class Watcher(Protocol):
    """Who looks on, such as the screen."""

    def step(self, done: int, total: int, epoch: float, losses: dict[str, float] | None) -> None:
        """After every step; `losses` are the means since the last log line, when one was written."""

    def say(self, text: str) -> None: ...


class Nobody:
    """Looks on and says nothing."""

    def step(self, done: int, total: int, epoch: float, losses: dict[str, float] | None) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class Validation(Protocol):
    """What is measured now and then, on images that training does not see."""

    by: str | None
    """The metric that says which checkpoint is the best one; None where none can."""

    def __call__(self, method: Method, floats: Callable[[loader.Batch], Batch]) -> dict[str, float]:
        """Measure a method, in evaluation mode. `floats` turns what the loader gives into what methods take."""
        ...


@dataclass(frozen=True)
class Stage:
    """Where a stage lies in its run, in steps: what was done before it, its own length, and that of all stages."""

    first: int
    total: int
    whole: int


def length(settings: TrainSettings, samples: int, ranks: int) -> int:
    """The steps that the settings ask for."""
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    return math.ceil(settings.epochs * samples / (settings.batch * ranks))


class Trainer:
    """One stage of a run in the run's folder. `run` starts it, or goes on where the last checkpoint stands.

    Most runs have one stage only. `step` counts the steps of the stage; log, checkpoints and sheets carry those of the run.
    """

    def __init__(
        self,
        method: Method,
        samples: Samples,
        fixed: FixedSamples,
        config: Config,
        folder: Path,
        about: dict[str, Any],
        *,
        precision: Precision,
        ranks: Ranks,
        workers: int,
        watcher: Watcher,
        stage: Stage,
        validation: Validation | None = None,
        refresh: Callable[[], None] = lambda: None,
    ):
        """`refresh` brings up to date what shows the run to people."""
        self.method, self.samples, self.fixed = method.to(precision.device), samples, fixed
        self.config, self.settings, self.folder, self.about = config, config.train, folder, about
        self.precision, self.ranks, self.workers, self.watcher, self.stage = precision, ranks, workers, watcher, stage
        self.validation, self.refresh = validation, refresh
        self.update = Updater(
            method,
            lr=config.train.lr,
            player_lr=config.train.player_lr,
            optimizer=config.train.optimizer,
            betas=config.train.betas,
            clip=config.train.clip,
            precision=precision,
            ranks=ranks,
        )
        self.average = Average(method, config.train.ema)
        self.journal = Journal(folder if ranks.is_first else None)
        self.step, self.seconds, self.waited = 0, 0.0, 0.0
        self.warned: set[str] = set()

    @property
    def epoch(self) -> float:
        """Epochs done in this stage: how often every sample was seen."""
        return self.step * self.settings.batch * self.ranks.count / len(self.samples)

    @property
    def done(self) -> int:
        """Steps done in the whole run."""
        return self.stage.first + self.step

    @property
    def finished(self) -> bool:
        """Whether the last checkpoint stands at the end of the stage, or beyond it, or where patience came to its end."""
        last = checkpoint.latest(self.folder)
        if last is None:
            return False
        step = step_of(last)
        rows = [row for row in log(self.folder) if row["step"] <= step]
        return step >= self.stage.first + self.stage.total or self._spent(rows)

    def run(self) -> None:
        """Train to the end. Raises `Interrupted` after a signal and `Diverged` for a loss that is not finite."""
        with atomic.locked(self.folder / LOCK) if self.ranks.is_first else nullcontext():
            self._run()

    def _run(self) -> None:
        self._go_on()
        if self.precision.device.type == "cpu":
            keep_freed_memory()
        if self.settings.compile:
            for network in {n for player in self.method.players().values() for n in player}:
                network.compile()
        supply = batches(
            self.samples,
            self.settings.batch,
            self.step,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
            workers=self.workers,
        )
        try:
            with Stop() as stop, closing(supply):
                self._loop(supply, stop)
        except Diverged as error:
            raise self._explained(error) from None

    def _loop(self, supply: Any, stop: Stop) -> None:
        settings, total = self.settings, self.stage.total
        saved = clock = time.monotonic()
        if self.done == 0:
            self._show()
        while self.step < total:
            asked = time.monotonic()
            batch = next(supply)
            self.waited += time.monotonic() - asked
            self.learn(batch)
            self.journal.add(self.update.taken_terms())
            self.seconds, clock = self.seconds + time.monotonic() - clock, time.monotonic()

            # Tell.
            losses = None
            if self._is_due(settings.log_every):
                losses = self.journal.line(self._where(), self._rates())
            self.watcher.step(self.done, self.stage.whole, self.epoch, losses)
            if self._is_due(settings.sample_every):
                self._show()
                self._look()
            better = spent = False
            if self._is_due(settings.validate_every):
                better = self._validate()
                spent = self._spent(self.journal.rows)

            # Save, and end where asked to.
            overdue = time.monotonic() - saved > 60 * settings.save_minutes
            stopping, overdue, better, spent = self.ranks.any(bool(stop.signal), overdue, better, spent)
            if self._is_due(settings.save_every) or stopping or overdue or better or spent:
                self._save()
                saved = time.monotonic()
            if spent:
                return
            if stopping and self.step < total:
                raise Interrupted(
                    f"stopped by a signal after step {self.done} of {self.stage.whole}; everything is saved",
                    self._resume_command(self.ranks.count),
                    signal=stop.signal or signal.SIGTERM,
                )

    def _is_due(self, every: int) -> bool:
        """Whether something that comes once in so many steps comes now; never, if that is 0."""
        return every > 0 and (self.step % every == 0 or self.step == self.stage.total)

    def learn(self, batch: loader.Batch) -> None:
        """One step, on one batch."""
        self.update.set_rate(self._factor())
        self.update.step, self.update.epoch = self.step, self.epoch
        self.method.train()
        with self.precision.autocast():
            self.method.step(self._floats(batch), self.update)
        self.step += 1
        self.average.update(self.step)

    def _floats(self, batch: loader.Batch) -> Batch:
        """(B, H, W, C) in the files' dtype -> (B, C, H, W) as methods take it, on the device, in the plain memory layout."""
        of_x, of_y = self.samples.domains
        x, y = of_x.to_float(self._moved(batch.x)), of_y.to_float(self._moved(batch.y))
        instances = None if batch.instances is None else self._moved(batch.instances).long()
        region = None if batch.region is None else self._moved(batch.region).float()
        return Batch(x.contiguous(), y.contiguous(), instances, region)

    def _moved(self, side: Tensor) -> Tensor:
        device = self.precision.device
        side = side.pin_memory() if device.type == "cuda" else side
        return side.to(device, non_blocking=True).permute(0, 3, 1, 2)

    def _factor(self) -> float:
        """The schedule counts epochs where the run's length is given in epochs, as published, else steps."""
        s = self.settings
        tick, total = (self.step, s.steps) if s.steps is not None else (int(self.epoch), math.ceil(s.epochs or 0))
        return factor(s.schedule, tick, total, constant=round(s.decay_from * total))

    def _where(self) -> dict[str, float]:
        epoch, seconds, waited = round(self.epoch, 4), round(self.seconds, 3), round(self.waited, 3)
        stage = {"from": self.stage.first, "until": self.stage.first + self.stage.total}
        return {"step": self.done, "steps": self.stage.whole, **stage, "epoch": epoch, "seconds": seconds, "waited": waited}

    def _look(self) -> None:
        """Say what ails the stage, each thing once, and bring up to date what shows the run."""
        if not self.ranks.is_first:
            return
        for ailment in examine([row for row in self.journal.rows if row["step"] > self.stage.first], self.config.tree()):
            if ailment.name not in self.warned:
                self.warned.add(ailment.name)
                self.watcher.say(f"warning: {ailment}")
        self.refresh()

    def _rates(self) -> dict[str, float]:
        return {player: optimizer.param_groups[0]["lr"] for player, optimizer in self.update.optimizers.items()}

    @torch.no_grad()
    def _show(self) -> None:
        """Write the sample sheet of this step: what the (averaged) generators make of the fixed images."""
        if not self.ranks.is_first or not self.settings.samples:
            return
        self.method.eval()
        shown = []
        with self.average.in_place(), self.precision.autocast():
            count = min(self.settings.samples, len(self.fixed))
            for number in range(count):  # from everywhere: neighbours are often alike
                shown.append(self.method.sheet(self._floats(collate([self.fixed[number * len(self.fixed) // count]]))))
        (self.folder / SAMPLES).mkdir(exist_ok=True)
        picture = sheets.write(self.folder / SAMPLES / f"step-{self.done:09d}.png", sheets.cat(shown))
        self.journal.sheet(picture, self.done)

    @torch.no_grad()
    def _validate(self) -> bool:
        """Measure the (averaged) generators on held-out images. Returns whether they are the best of this stage so far."""
        if not self.ranks.is_first or not self.validation:
            return False
        self.method.eval()
        devices = [self.precision.device] if self.precision.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.average.in_place():
            found = self.validation(self.method, self._floats)
        self.journal.write(self._where(), found)
        top = self.best
        better = top is not None and top[0] == self.done
        values = "  ".join(f"{name[4:]} {value:.4g}" for name, value in found.items() if name.startswith("val/"))
        beside = "" if top is None else "  (the best so far)" if better else f"  (best: step {top[0]})"
        self.watcher.say(f"validation of step {self.done}: {values}{beside}")
        self._look()
        return better

    @property
    def best(self) -> tuple[int, float] | None:
        """The step and the value of the best validation of this stage."""
        by = self.validation.by if self.validation else None
        return best_of(self.journal.rows, by, self.stage.first) if by else None

    def _spent(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether so many validations in a row brought nothing better that the run ends: `train.patience`."""
        by = self.validation.by if self.validation else None
        return spent(rows, by, self.settings.patience, self.stage.first)

    def _save(self) -> None:
        """Write the model, then the checkpoint: so a run that has its last checkpoint lacks nothing."""
        self.ranks.average_statistics(self.method)
        self._require_finite()
        if self.ranks.is_first:
            self._write()
        self.ranks.any(False)  # nobody goes on, perhaps to the next stage, before everything is written

    def _write(self) -> None:
        state = {
            "step": self.step,
            "ranks": self.ranks.count,
            "seconds": self.seconds,
            "waited": self.waited,
            "update": self.update.state_dict(),
            "average": self.average.state_dict(),
            "journal": self.journal.state_dict(),
            "rng": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []},
        }
        checkpoint.export(self.folder / checkpoint.MODEL, self.average.weights(), self.about)
        checkpoint.save(self.folder, self.done, self.method.state_dict(), state, self.about)
        self._thin()

    def _thin(self) -> None:
        top = self.best
        checkpoint.thin(self.folder, self.settings.keep, top[0] if top else None)

    def _require_finite(self) -> None:
        """Raise `Diverged` on all ranks where a loss or a weight of one of them is not finite."""
        found = None
        try:
            self.journal.means()
            require_finite_weights(self.method)
        except Diverged as error:
            found = error
        if self.ranks.any(found is not None)[0]:
            raise found or Diverged("a loss of another process is not finite")

    def _go_on(self) -> None:
        """Take up the newest checkpoint, if there is one, and clear away what a killed process left half written."""
        if self.ranks.is_first:
            for folder in (self.folder, self.folder / CHECKPOINTS, self.folder / SAMPLES):
                atomic.sweep(folder)
        torch.manual_seed(self.settings.seed + self.ranks.rank)
        last = checkpoint.latest(self.folder)
        if last and (step_of(last) > self.stage.first or self.stage.first == 0):  # else it is of the stage before
            weights, about, state = checkpoint.load(last)
            self._require_ranks(state["ranks"])
            try:
                self._restore(weights, state)
            except (RuntimeError, ValueError, KeyError) as error:  # how torch's modules, optimizers and dicts say it
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"the checkpoint '{last}' does not fit the settings of the run ({reason})",
                    f"model and train.ema in {self.folder}/config.yaml must stay as they were",
                ) from error
            self._compare_data(about)
        self.journal.rewind(self.done)
        if self.ranks.is_first:
            self._thin()  # a kill may have come between a save and this

    def _require_ranks(self, count: int) -> None:
        """The order of the data, and what a step is, depend on how many processes there are."""
        if count != self.ranks.count:
            raise UserError(
                f"'{self.folder}' was trained by {count} processes, and now there are {self.ranks.count}",
                self._resume_command(count),
            )

    def _resume_command(self, count: int) -> str:
        command = f"i2i resume {quote(str(self.folder))}"
        return command if count == 1 else f"torchrun --nproc-per-node {count} -m {command}"

    def _restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        if bool(state["average"]) != bool(self.average.decay):
            raise ValueError("train.ema was switched on or off")
        self.method.load_state_dict(weights)
        self.update.load_state_dict(state["update"])
        self.average.load_state_dict(state["average"])
        self.journal.load_state_dict(state["journal"], self.precision.device)
        self.step, self.seconds, self.waited = state["step"], state["seconds"], state.get("waited", 0.0)
        if not self.ranks.is_first:  # draws of its own, but not those it has had
            torch.manual_seed(self.settings.seed + self.ranks.rank + self.ranks.count * self.step)
            return
        torch.set_rng_state(state["rng"]["cpu"])
        if len(state["rng"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["rng"]["cuda"])
        else:
            self.watcher.say(
                "warning: there are other GPUs than before, so noise drawn on them will not be what it would have been"
            )

    def _compare_data(self, about: dict[str, Any]) -> None:
        """The order of the samples follows from which images there are: say so if they are not those of before."""
        before, now = about.get("data"), self.about.get("data")
        if before and now and before != now and self.ranks.is_first:
            counts = f"{before['x']} and {before['y']} images then, {now['x']} and {now['y']} now"
            self.watcher.say(
                f"warning: the data has changed since this run was saved ({counts}); it goes on with what is there now"
            )

    def _explained(self, error: Diverged) -> Diverged:
        last = checkpoint.latest(self.folder)
        kept = f"'{last}' is the last good checkpoint" if last else "no checkpoint was written yet"
        return Diverged(
            f"training diverged around step {self.done + 1}: {error.message}; {kept}",
            f"lower train.lr, or set train.clip to 10, in {self.folder}/config.yaml; then i2i resume {self.folder}",
        )


def require_finite_weights(method: Method) -> None:
    """Raise `Diverged`, naming the first weight or buffer that holds an infinity or not a number."""
    for name, tensor in method.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Diverged(f"the weight {name} is not finite")
