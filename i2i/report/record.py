"""What the files of a run say about it, as plain data. Whatever is not there yet, or was cut short, is left out."""

import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from i2i.config import CONFIG, SECTIONS, STAGES, Tree, dump_value, flat
from i2i.domain import Domain
from i2i.methods import METHODS
from i2i.metrics import METRICS
from i2i.report.curves import curve, names
from i2i.summary import best_by
from i2i.training import folder
from i2i.training.best import best_of, waits

EVALUATION = "evaluation.json"
SOURCES = "sources"
"""The key in `made_with` of a config.yaml under which it says where the values came from that are no defaults."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """What was read of a run: the lines of its log, and its configuration as a tree."""

    folder: Path
    config: Tree
    rows: list[dict[str, Any]]
    best_by: str

    @property
    def step(self) -> int:
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def finished(self) -> bool:
        """Whether the log has come to its end, or to that of the patience that the run was given."""
        steps, patience = self.rows[-1].get("steps") if self.rows else None, _train(self.config).get("patience")
        tired = patience is not None and self.best_by in METRICS and waits(self.rows, self.best_by) >= patience
        return bool(steps and self.step >= steps) or tired

    def best(self) -> dict[str, Any] | None:
        """Step and value of the checkpoint that is kept as the best; where none is kept, of the best validation."""
        name = f"val/{self.best_by}"
        kept = _step_of((self.folder / "checkpoints" / "best").resolve().name)
        values = {row["step"]: row[name] for row in self.rows if name in row}
        if kept is not None:
            return {"step": kept, "value": values.get(kept), "kept": True}
        found = best_of(self.rows, self.best_by) if self.best_by in METRICS else None
        return {"step": found[0], "value": found[1], "kept": False} if found else None

    def last(self) -> dict[str, Any] | None:
        """Step and value of the last validation."""
        name = f"val/{self.best_by}"
        return next(({"step": row["step"], "value": row[name]} for row in reversed(self.rows) if name in row), None)


def read(run: Path) -> Record:
    """Raises UserError where the folder is no run."""
    config = folder.settings(run).tree
    rows = [_numbers(row) for row in folder.log(run) if isinstance(row, dict) and isinstance(row.get("step"), int)]
    return Record(run, config, rows, best_by(config))


def _numbers(row: Row) -> dict[str, Any]:
    """What can be drawn of a line of the log."""
    return {name: value for name, value in row.items() if isinstance(value, int | float) and math.isfinite(value)}


def name_of(folder: Path) -> str:
    """The real name, of "." too."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH100, PTH119


def about(record: Record) -> dict[str, Any]:
    """What the run is, and how far it has come."""
    row, data = record.rows[-1] if record.rows else {}, _section(record.config, "data")
    method = str(record.config.get("method"))
    known = METHODS.get(method)
    return {
        "name": name_of(record.folder),
        "method": method,
        "summary": known.summary if known else "",
        "data": data.get("source"),
        "direction": "B to A" if data.get("direction") == "BtoA" else "A to B",
        "step": record.step,
        "steps": row.get("steps") or _train(record.config).get("steps"),
        "epoch": row.get("epoch"),
        "seconds": row.get("seconds"),
        "finished": record.finished,
        "written": round(time.time()),
    }


def verdict(record: Record) -> dict[str, Any]:
    """Which checkpoint is the best, by what, and what there is on the disk."""
    saved = (record.folder / "checkpoints").glob("step-*")
    steps = sorted(step for folder in saved if (step := _step_of(folder.name)) is not None)
    by = record.best_by
    better = METRICS[by].better if by in METRICS else None
    return {"by": by, "better": better, "best": record.best(), "last": record.last(), "checkpoints": steps}


def charts(record: Record) -> list[dict[str, Any]]:
    """Every chart of the page: a title, what it shows, and its curves by name."""
    rows = record.rows
    metrics = sorted(
        {name.partition("/")[2] for name in names(rows, "val/", "train/")}, key=lambda name: name != record.best_by
    )
    found = [
        {
            "title": name,
            "group": "metrics",
            "better": METRICS[name].better if name in METRICS else None,
            "about": METRICS[name].summary if name in METRICS else "",
            "curves": {side: curve(rows, f"{side}/{name}") for side in ("val", "train") if names(rows, f"{side}/{name}")},
        }
        for name in sorted(metrics, key=lambda name: name != record.best_by)
    ]
    of_players = [name for name in names(rows) if name.partition("/")[0] not in ("val", "train", "lr", "probe")]
    game = [name for name in of_players if re.match(r"D\w*/(real|fake)|\w+/gan", name)]
    if any(name.startswith("D") for name in game):
        found.append({"title": "balance", "group": "losses", "curves": {name: curve(rows, name) for name in game}})
    for player in dict.fromkeys(name.partition("/")[0] for name in of_players):
        mine = [name for name in of_players if name.startswith(f"{player}/")]
        found.append({
            "title": f"losses of {player}", "group": "losses", "curves": {n.partition("/")[2]: curve(rows, n) for n in mine}
        })  # fmt: skip
    for prefix, title in (("probe/", "probes"), ("lr/", "learning rates")):
        if mine := names(rows, prefix):
            found.append({"title": title, "group": "more", "curves": {n.removeprefix(prefix): curve(rows, n) for n in mine}})
    return found


def settings(record: Record) -> list[tuple[str, str, str]]:
    """Each setting: key, value and source. A run that does not say its sources has empty ones."""
    sources = _section(record.config, "made_with").get(SOURCES)
    tree = {name: _section(record.config, name) for name in (*SECTIONS, STAGES) if record.config.get(name)}
    default = "" if sources is None else "default"
    known = sources if isinstance(sources, dict) else {}
    return [(key, dump_value(value), str(known.get(key, default))) for key, value in flat(tree).items()]


def data(record: Record) -> dict[str, Any]:
    """What the run learns from, with the fingerprint that its model carries; and the versions of what it was made with."""
    section = _section(record.config, "data")
    made_with = {name: str(value) for name, value in _section(record.config, "made_with").items() if name != SOURCES}
    sides = {side: words for side in ("x", "y") if (words := _words(section.get(side)))}
    named = {name: section[name] for name in ("source", "layout", "direction", "size") if section.get(name) is not None}
    return {"named": {**named, **sides}, "fingerprint": _fingerprint(record.folder), "made_with": made_with}


def evaluation(record: Record) -> dict[str, Any] | None:
    """The result of the last `i2i evaluate`."""
    try:
        tree = json.loads((record.folder / EVALUATION).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) and isinstance(tree.get("metrics"), list) else None


def commands(record: Record, *, has_best: bool) -> list[tuple[str, str]]:
    """What a person may want next, and how it is typed."""
    folder = os.fsencode(record.folder).decode("utf-8", "replace")
    run, best, config = (quote(path) for path in (folder, f"{folder}/checkpoints/best", f"{folder}/{CONFIG}"))
    resume = [("go on, if it has stopped", f"i2i resume {run}")]
    translate = [("translate with the best checkpoint", f"i2i translate {best} FOLDER -o OUT")]
    return [
        *([] if record.finished else resume),
        *(translate if has_best else []),
        ("translate a folder", f"i2i translate {run} FOLDER -o OUT"),
        ("measure it on held-out images", f"i2i evaluate {run}" + (" --checkpoint best" if has_best else "")),
        ("train with the same settings", f"i2i train {record.config.get('method')} --config {config}"),
        ("write this page again", f"i2i report {run}"),
    ]


def _section(config: Tree, name: str) -> Tree:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _train(config: Tree) -> Tree:
    return _section(config, "train")


def _step_of(name: str) -> int | None:
    found = re.fullmatch(r"step-(\d+)", name)
    return int(found[1]) if found else None


def _words(domain: Any) -> str | None:
    try:
        return str(Domain.model_validate(domain)) if domain else None
    except ValidationError:
        return None


def _fingerprint(run: Path) -> dict[str, Any] | None:
    """How many images there are and a hash of their names, as the model of the run says; None before it was saved."""
    found = folder.about(run / folder.MODEL).get("data")
    return found if isinstance(found, dict) else None
