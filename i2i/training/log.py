"""The log of a run as it is read: `metrics.jsonl`, a JSON object a line. Needs no torch."""

import json
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`. A last line that a kill cut short is left out."""
    found = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found
