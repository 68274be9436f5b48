"""The log of a run: mean losses since the last line, in `metrics.jsonl` and in TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i import atomic
from i2i.training.update import require_finite

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"


class Journal:
    """Adds up losses where they are computed and reads them only when a line is due: on a GPU each read would be a wait."""

    def __init__(self, run: Path | None):
        """run: the folder to write to; None: nothing is written (ranks other than the first)."""
        self.run = run
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self._board: Any = None

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Take in the losses of one step."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.count += 1

    def means(self) -> dict[str, float]:
        """The mean of each loss since the last line. Raises `Diverged` if one is not finite."""
        if not self.sums:
            return {}
        values = (torch.stack(list(self.sums.values())) / self.count).tolist()
        means = dict(zip(self.sums, values, strict=True))
        require_finite(means)
        return means

    def line(self, step: int, epoch: float, seconds: float, rates: Mapping[str, float]) -> dict[str, float]:
        """Write the means under this step and start anew. Returns them."""
        means = self.means()
        self.sums, self.count = {}, 0
        if self.run:
            values = {**means, **{f"lr/{player}": rate for player, rate in rates.items()}}
            row = {"step": step, "epoch": round(epoch, 4), "seconds": round(seconds, 3), **values}
            with (self.run / METRICS).open("a") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        return means

    def sheet(self, image: Any, step: int) -> None:
        """image: (H, W, 3) uint8, shown in TensorBoard."""
        if self.run:
            self.board.add_image("samples", image, step, dataformats="HWC")

    @property
    def board(self) -> Any:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.run / TENSORBOARD)) if self.run else None
        return self._board

    def rewind(self, step: int) -> None:
        """Forget the lines after `step`, which a killed run wrote past its last checkpoint and will write again."""
        path = self.run / METRICS if self.run else None
        if path and path.exists():
            atomic.write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows(path) if row["step"] <= step))

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: value.cpu() for name, value in self.sums.items()}, "count": self.count}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.count = state["count"]


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`. A last line that a kill cut short is left out."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found
