"""What the files of a run say about it, as plain data. Whatever is not there yet, or was cut short, is left out."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from i2i import summary
from i2i.config import CONFIG, SECTIONS, STAGES, Tree, dump_value, flat
from i2i.methods import METHODS
from i2i.metrics import METRICS
from i2i.report.curves import curve, names
from i2i.training import folder
from i2i.training.best import series

SOURCES = "sources"
"""The key in `made_with` of a config.yaml under which it says where the values came from that are no defaults."""


@dataclass(frozen=True)
class Record:
    """What was read of a run: its settings as they are saved, the lines of its log, and what they come to."""

    folder: Path
    config: Tree
    rows: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.summary["state"] == "finished"


def read(run: Path) -> Record:
    """Raises UserError where the folder is no run."""
    config, rows = folder.settings(run).tree, folder.log(run)
    return Record(run, config, rows, summary.of(run, config, rows))


def name_of(folder: Path) -> str:
    """The real name, of "." too."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH100, PTH119


def about(record: Record) -> dict[str, Any]:
    """What the run is, and how far it has come."""
    known = METHODS.get(record.summary["method"])
    told = ("method", "data", "state", "step", "steps", "epoch", "seconds", "seconds_left")
    return {
        "name": name_of(record.folder),
        "summary": known.summary if known else "",
        "direction": "B to A" if record.summary["direction"] == "BtoA" else "A to B",
        **{name: record.summary[name] for name in told},
        "written": round(time.time()),
    }


def verdict(record: Record) -> dict[str, Any]:
    """Which checkpoint is the best, by what, and what there is on the disk."""
    told, by = record.summary["validation"] or {}, record.summary["best_by"]
    found = told.get("metrics", {}).get(by, {})
    kept = record.summary["best"]
    best = found["best"] | {"kept": False} if found else None
    if kept in record.summary["checkpoints"]:
        step = folder.step_of(Path(kept))
        best = {"step": step, "value": dict(series(record.rows, f"val/{by}")).get(step), "kept": True}
    saved, better = [folder.step_of(Path(name)) for name in record.summary["checkpoints"]], METRICS[by].better if by else None
    return {"by": by, "better": better, "best": best, "last": found.get("last"), "checkpoints": saved}


def charts(record: Record) -> list[dict[str, Any]]:
    """Every chart of the page: a title, what it shows, and its curves by name."""
    rows, by = record.rows, record.summary["best_by"]
    metrics = {name.partition("/")[2] for name in names(rows, "val/", "train/")}
    found = [
        {
            "title": name,
            "group": "metrics",
            "better": METRICS[name].better if name in METRICS else None,
            "about": METRICS[name].summary if name in METRICS else "",
            "curves": {side: curve(rows, f"{side}/{name}") for side in ("val", "train") if names(rows, f"{side}/{name}")},
        }
        for name in sorted(metrics, key=lambda name: (name != by, name))
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
    sides = {side: words for side in ("x", "y") if (words := record.summary[side])}
    named = {name: section[name] for name in ("source", "layout", "direction", "size") if section.get(name) is not None}
    fingerprint = folder.about(record.folder / folder.MODEL).get("data")
    return {"named": {**named, **sides}, "fingerprint": fingerprint, "made_with": made_with}


def commands(record: Record, *, has_best: bool) -> list[tuple[str, str]]:
    """What a person may want next, and how it is typed."""
    folder = os.fsencode(record.folder).decode("utf-8", "replace")
    best, run, config = f"{folder}/checkpoints/best", quote(folder), quote(f"{folder}/{CONFIG}")
    resume = [("go on, if it has stopped", f"i2i resume {run}")]
    latest = {**record.summary, "recommended": folder}
    translate = [("translate with the best checkpoint", summary.translating(latest | {"recommended": best}))]
    return [
        *([] if record.finished else resume),
        *(translate if has_best else []),
        ("translate a folder", summary.translating(latest)),
        ("measure it on held-out images", f"i2i evaluate {run}" + (" --checkpoint best" if has_best else "")),
        ("train with the same settings", f"i2i train {record.config.get('method')} --config {config}"),
        ("write this page again", f"i2i report {run}"),
    ]


def _section(config: Tree, name: str) -> Tree:
    section = config.get(name)
    return section if isinstance(section, dict) else {}
