"""`report.html`: data, style and script in one file. It asks nobody for anything: a policy in its head forbids it to."""

import html
import importlib.resources
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from i2i import atomic
from i2i.config import CONFIG
from i2i.errors import OutOfResources, UserError
from i2i.report import pictures, record
from i2i.training import folder

REPORT = "report.html"
SHARE = 0.02
"""The most of a run's time that its page may take while it trains."""


class Page:
    """The page of a run that trains, cheap enough to be asked for at every sheet. As a context: it tells how that ended."""

    def __init__(self, run: Path | None, say: Callable[[str], None] = lambda text: None):
        """run: its folder; None: nothing is written (ranks other than the first)."""
        self.run, self.say = run, say
        self.cache = pictures.Cache()
        self.due = 0.0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.refresh(last=True)

    def refresh(self, *, last: bool = False) -> None:
        """Write it again, unless that was done a moment ago; `last` always does. Training never ends for want of a page."""
        start = time.monotonic()
        if not self.run or (start < self.due and not last):
            return
        try:
            write(self.run, self.cache)
        except (OSError, OutOfResources, UserError) as error:
            self.say(f"warning: {self.run / REPORT} could not be written: {error}")
        except Exception as error:  # a mistake of ours: the page can be written again, a step that is lost cannot
            self.say(f"warning: {self.run / REPORT} could not be written, which is a bug of i2i: {error!r}")
        now = time.monotonic()
        self.due = now + (now - start) / SHARE


def write(run: Path, cache: pictures.Cache | None = None) -> Path:
    """Write the page of a run from what lies in its folder. Raises UserError where that is no run."""
    return _write(record.read(run), cache)


def _write(found: record.Record, cache: pictures.Cache | None = None) -> Path:
    run = found.folder
    verdict = record.verdict(found)
    best = verdict["best"]
    about = record.about(found)
    tree = {
        "about": about,
        "pictures": pictures.read(run, [best["step"]] if best else [], cache),
        "verdict": verdict,
        "warnings": found.summary["warnings"],
        "evaluation": folder.evaluation(run),
        "charts": record.charts(found),
        "settings": record.settings(found),
        "data": record.data(found),
        "commands": record.commands(found, has_best=bool(best and best["kept"])),
    }
    return _written(run / REPORT, about["name"], tree, "run.js")


def write_all(folder: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """Write the page of each run in a folder, and one that lists them. Raises UserError where there is none."""
    runs = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if not runs:
        raise UserError(f"'{folder}' is no run, and there is none in it", "i2i report RUN, or the folder that holds the runs")
    entries = []
    for run in runs:
        try:
            found = record.read(run)
            say(f"wrote {_write(found)}")
            entries.append(_entry(found))
        except (UserError, OutOfResources, OSError) as error:
            say(f"warning: '{run}' is left out: {error}")
    tree = {"runs": entries, "written": round(time.time())}
    return _written(folder / REPORT, record.name_of(folder) or "runs", tree, "runs.js")


def _entry(found: record.Record) -> dict[str, Any]:
    """What the list says of a run."""
    run = found.folder
    link = f"{quote_from_bytes(os.fsencode(run.name))}/{REPORT}"
    about, verdict = record.about(found), record.verdict(found)
    return {"about": about, "verdict": verdict, "thumbnails": pictures.thumbnails(run), "link": link}


def _written(path: Path, title: str, tree: dict[str, Any], script: str) -> Path:
    parts = {"title": _shown(title), "data": _embedded(tree), "style": _asset("style.css"), "common": _asset("common.js")}
    parts["script"] = _asset(script)
    page = _asset("page.html")
    before, *rest = page.split("{{")
    filled = [before]
    for piece in rest:
        name, _, after = piece.partition("}}")
        filled += [parts[name], after]
    atomic.write_text(path, "".join(filled))
    return path


def _asset(name: str) -> str:
    return (importlib.resources.files("i2i.report") / name).read_text("utf-8")


def _shown(text: str) -> str:
    """A name as it may stand in HTML; of one that is not UTF-8 what cannot be shown is a question mark."""
    return html.escape(text.encode("utf-8", "replace").decode())


def _embedded(tree: Any) -> str:
    """JSON that can stand in a script element whatever it holds: without < nothing in it can end the element."""
    return json.dumps(_finite(tree), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: null stands for them."""
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
