"""Where a run stands, as plain values. torch is not needed for that, which makes it a matter of half a second."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from i2i import atomic
from i2i.config import Tree, completed
from i2i.domain import Domain
from i2i.methods import METHODS
from i2i.metrics import METRICS
from i2i.training import best, folder, health

RECENT = 20
"""So many lines of the log tell how fast it goes now."""

Row = Mapping[str, Any]


def summary(run: Path) -> dict[str, Any]:
    """All that its folder tells of a run: one that is being trained, was killed, or has ended, of this version or an older one.

    `step` is the last one that is known of, `saved` the one that `i2i resume` goes on from. Raises UserError for no run.
    """
    return of(run, folder.settings(run).tree, folder.log(run))


def of(run: Path, settings: Tree, log: Sequence[Row]) -> dict[str, Any]:
    """The same of a run whose saved settings and log are at hand."""
    tree = completed(settings)
    data, losses = tree["data"], [row for row in log if not is_validation(row)]
    saved = _Saved.of(run, tree)
    progress, names = _progress(saved, tree, log), [checkpoint.name for checkpoint in folder.checkpoints(run)]
    row = losses[-1] if losses else {}
    return {
        "run": str(run),
        "state": _state(run, tree, log, progress),
        "method": tree["method"],
        "data": data["source"],
        "direction": data["direction"],
        "x": _domain(data["x"]),
        "y": _domain(data["y"]),
        "instances": bool((data["x"] or {}).get("instances")),
        **progress,
        "losses": {name: value for name, value in row.items() if "/" in name and not name.startswith("lr/")},
        "rates": {name.removeprefix("lr/"): value for name, value in row.items() if name.startswith("lr/")},
        "best_by": _best_by(tree),
        "validation": _validation(log),
        "checkpoints": names,
        "last": names[-1] if names else None,
        "best": (kept := folder.pointed_at(run, folder.BEST)),
        "recommended": str(run / folder.CHECKPOINTS / folder.BEST if kept and kept != names[-1] else run),
        "model": str(run / folder.MODEL) if (run / folder.MODEL).exists() else None,
        "warnings": [ailment._asdict() for ailment in health.of_run(log, tree)] if _learns_from(tree) else [],
    }


def translating(about: Mapping[str, Any]) -> str:
    """The command that translates a folder with the best that a run has, by its summary."""
    return f"i2i translate {quote(about['recommended'])} FOLDER -o OUT" + (" --instances DIR" if about["instances"] else "")


def is_validation(row: Row) -> bool:
    return any(name.startswith(("val/", "probe/")) for name in row)


def _stage(row: Row) -> int:
    """The step after which the stage of a line begins."""
    return row.get("from", 0)


def _best_by(tree: Tree) -> str | None:
    """The metric by which the best checkpoint is kept."""
    train, data = tree["train"], _learns_from(tree)
    return best.measured(data, train["metrics"], train["best_by"])[1] if data else None


def _learns_from(tree: Tree) -> str | None:
    """What it learns from, "paired" or "unpaired" images; None of a method that this version does not know."""
    return METHODS[tree["method"]].data if tree["method"] in METHODS else None


def _validation(log: Sequence[Row]) -> dict[str, Any] | None:
    """The metrics that were measured in the last stage, each with its last and its best value; None where none was."""
    rows = [row for row in log if is_validation(row)]
    rows = [row for row in rows if _stage(row) == _stage(rows[-1])]
    names = dict.fromkeys(name.removeprefix("val/") for row in rows for name in row if name.startswith("val/"))
    found = {
        name: {"better": METRICS[name].better, "last": _at(best.series(rows, f"val/{name}")[-1]), "best": _at(top)}
        for name in names
        if name in METRICS and (top := best.best_of(rows, name))
    }
    return {"count": len(rows), "metrics": found} if found else None


def _at(found: tuple[int, float]) -> dict[str, float]:
    return {"step": found[0], "value": found[1]}


def _domain(tree: Any) -> str | None:
    try:
        return str(Domain.model_validate(tree)) if tree else None
    except ValidationError:
        return None


# Progress


@dataclass(frozen=True)
class _Saved:
    """The last checkpoint: its step, how many samples an epoch had, and the plain values of the trainer's state."""

    step: int = 0
    samples: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Path, tree: Tree) -> "_Saved":
        checkpoints = folder.checkpoints(run)
        if not checkpoints:
            return cls()
        at = checkpoints[-1]
        seen = folder.about(at / folder.MODEL).get("data") or {}
        counts = seen.get("x", 0), seen.get("y", 0)
        return cls(folder.step_of(at), counts[0] if _learns_from(tree) == "paired" else max(counts), folder.trainer_numbers(at))

    def stages(self, tree: Tree) -> Iterator[tuple[int, int, int]]:
        """The first step of each stage, the one behind its last, and its samples a step."""
        train, ranks, first = tree["train"], self.state.get("ranks", 1), 0
        for stage in (tree.get("stages") or {"": {}}).values():
            own = {**train, **(stage.get("train") or {})}
            each = own["batch"] * ranks
            steps = own["steps"] or math.ceil((own["epochs"] or 0) * self.samples / each)
            yield first, first + steps, each
            first += steps

    @property
    def stage(self) -> int:
        """The step after which its stage begins, of which alone the trainer counts steps and seconds."""
        return self.step - self.state.get("step", self.step)

    def epoch(self, tree: Tree) -> float:
        """In the stage that it is in; 0 where nothing tells."""
        each = next((each for first, end, each in self.stages(tree) if first < self.step <= end), 0)
        return round(self.state.get("step", 0) * each / self.samples, 4) if self.samples else 0


def _progress(saved: _Saved, tree: Tree, log: Sequence[Row]) -> dict[str, Any]:
    """How far it is and how long that took: by the log, or by the last checkpoint where that is further."""
    row, ahead = log[-1] if log else {}, saved.step > (log[-1].get("step", 0) if log else 0)
    clocks = {_stage(line): line["seconds"] for line in log if "seconds" in line}  # each stage has its own
    if ahead and "seconds" in saved.state:
        clocks[saved.stage] = saved.state["seconds"]
    step, seconds = max(saved.step, row.get("step", 0)), sum(clocks.values())
    whole = None if tree.get("stages") else tree["train"]["steps"]
    steps = whole or row.get("steps") or max(end for _, end, _ in saved.stages(tree)) or None
    stage = saved.stage if ahead else _stage(row)
    pace = _pace([line for line in log if _stage(line) == stage]) or (seconds / step if seconds else None)
    return {
        "step": step,
        "saved": saved.step,
        "steps": steps,
        "epoch": saved.epoch(tree) if ahead else row.get("epoch", 0),
        "seconds": round(seconds, 3),
        "seconds_per_step": pace and round(pace, 6),
        "seconds_left": round(pace * max(0, steps - step), 1) if pace and steps else None,
    }


def _pace(log: Sequence[Row]) -> float | None:
    """Seconds a step, by the last lines of a stage."""
    recent = [(row["step"], row["seconds"]) for row in log if "seconds" in row][-RECENT:]
    steps = recent[-1][0] - recent[0][0] if recent else 0
    return (recent[-1][1] - recent[0][1]) / steps if steps else None


def _state(run: Path, tree: Tree, log: Sequence[Row], progress: Mapping[str, Any]) -> str:
    """running, stopped or finished; a run whose patience has ended is finished too."""
    if atomic.is_locked(run / folder.LOCK):
        return "running"
    kept = [row for row in log if row["step"] <= progress["saved"]]  # the others are forgotten when it goes on
    ended = progress["steps"] is not None and progress["saved"] >= progress["steps"]
    ended |= best.spent(kept, _best_by(tree), tree["train"]["patience"])
    return "finished" if ended else "stopped"
