"""Training as a person sees it: a live line on a terminal, plain lines at a decent rate elsewhere."""

import sys
import time
from typing import Any

from i2i.cli import messages

EVERY = 10.0
"""Seconds between plain lines."""


class Screen:
    """Watches a trainer. Use it as a context manager, so that the terminal is given back as it was."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty() and not messages.is_quiet()
        self.losses: dict[str, float] = {}
        self._start: tuple[float, int] | None = None
        self._told = 0.0
        self._bar: Any = None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            messages.say(text)

    def step(self, done: int, total: int, epoch: float, losses: dict[str, float] | None) -> None:
        """Take in one finished step."""
        now = time.monotonic()
        self._start = self._start or (now, done)
        self.losses = losses or self.losses
        if self.live:
            self._draw(done, total, epoch)
        elif done == total or now - self._told >= EVERY:
            self._told = now
            messages.say(f"step {done}/{total}  epoch {epoch:.2f}  {self._pace(done, total)}  {self._losses()}".rstrip())

    def _pace(self, done: int, total: int) -> str:
        """Steps a second since the start (the first step, which warms up, not counted), and the time left."""
        assert self._start
        seconds, steps = time.monotonic() - self._start[0], done - self._start[1]
        if not steps:
            return "…"
        rate = steps / max(seconds, 1e-9)
        return f"{speed(rate)}  {clock((total - done) / rate)} left"

    def _losses(self) -> str:
        return "  ".join(f"{name} {value:.3f}" for name, value in self.losses.items())

    def _draw(self, done: int, total: int, epoch: float) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[pace]}")]
            self._bar = Progress(
                *columns, TextColumn("{task.fields[losses]}", style="dim"), console=Console(stderr=True), refresh_per_second=4
            )
            self._bar.start()
            self._bar.console.show_cursor(True)  # else a process that is killed leaves the terminal without one
            self._bar.add_task("", total=total, pace="", losses="")
        self._bar.update(
            self._bar.task_ids[0],
            completed=done,
            description=f"{done}/{total}  epoch {epoch:.2f}",
            pace=self._pace(done, total),
            losses=self._losses(),
        )


def speed(rate: float, unit: str = "step") -> str:
    """So many a second, or the seconds of each."""
    return f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"


def clock(seconds: float) -> str:
    """Seconds as 4s, 3m20s, 2h05m or 1d03h."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    return f"{s // 3600}h{s % 3600 // 60:02d}m" if s < 86400 else f"{s // 86400}d{s % 86400 // 3600:02d}h"
