"""The log of a run: mean losses since the last line, and what validations found, in `metrics.jsonl` and for TensorBoard."""

import io
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i import atomic
from i2i.training.folder import METRICS, log
from i2i.training.update import require_finite

TENSORBOARD = "tensorboard"


class Journal:
    """Adds up losses where they are computed and reads them only when a line is due: on a GPU each read would be a wait."""

    def __init__(self, run: Path | None):
        """run: the folder to write to; None: nothing is written (ranks other than the first)."""
        self.run = run
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []
        self.board = Board(run / TENSORBOARD) if run else None

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Take in the losses of one step."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean of each loss since the last line. Raises `Diverged` if one is not finite."""
        if not self.sums:
            return {}
        sums = torch.stack(list(self.sums.values())).tolist()
        means = {name: total / self.counts[name] for name, total in zip(self.sums, sums, strict=True)}
        require_finite(means)
        return means

    def line(self, where: Mapping[str, float], rates: Mapping[str, float]) -> dict[str, float]:
        """Write the means and the learning rates under `where` (its "step" and more), and start anew. Returns the means."""
        means = self.means()
        self.sums, self.counts = {}, {}
        self.write(where, {**means, **{f"lr/{player}": rate for player, rate in rates.items()}})
        return means

    def write(self, where: Mapping[str, float], values: Mapping[str, float]) -> None:
        """Write one line of values under `where`."""
        if self.run and self.board:
            row = {**where, **values}
            _append(self.run / METRICS, f"{json.dumps(row)}\n".encode())
            self.rows.append(row)
            self.board.scalars(values, int(where["step"]))

    def sheet(self, image: Any, step: int) -> None:
        """image: (H, W, 3) uint8, shown in TensorBoard."""
        if self.board:
            self.board.image("samples", image, step)

    def rewind(self, step: int) -> None:
        """Forget the lines after `step`, which a killed run wrote past its last checkpoint and will write again."""
        path = self.run / METRICS if self.run else None
        if self.run and path and path.exists():
            self.rows = [row for row in log(self.run) if row["step"] <= step]
            atomic.write_text(path, "".join(f"{json.dumps(row)}\n" for row in self.rows))
        if self.board and self.board.path.parent.exists():
            self.board.rewind(step)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: value.cpu() for name, value in self.sums.items()}, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.counts = dict(state["counts"])


class Board:
    """A file of TensorBoard events, one for each start of a run.

    Not torch's SummaryWriter: that writes from a thread, which loses two minutes when it is killed and, when the disk is full,
    dies with a traceback that nobody catches.
    """

    def __init__(self, folder: Path):
        self.path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        from torch.utils.tensorboard.summary import scalar

        self._write(*({"step": step, "summary": scalar(name, value)} for name, value in values.items()))

    def image(self, name: str, image: Any, step: int) -> None:
        from torch.utils.tensorboard.summary import image as summary

        self._write({"step": step, "summary": summary(name, image, dataformats="HWC")})

    def rewind(self, step: int) -> None:
        """Tell TensorBoard to forget what earlier files say of later steps."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write({"step": step + 1, "session_log": SessionLog(status=SessionLog.START)})

    def _write(self, *events: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        first = [] if self.path.exists() else [{"file_version": "brain.Event:2"}]
        buffer = io.BytesIO()
        writer = RecordWriter(buffer)
        for event in (*first, *events):
            writer.write(Event(wall_time=time.time(), **event).SerializeToString())
        _append(self.path, buffer.getvalue())


def _append(path: Path, data: bytes) -> None:
    with atomic.explaining(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
