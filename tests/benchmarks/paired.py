"""Time variants of one thing against each other, in turn, so that a noisy machine disturbs all alike."""

import gc
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Taken(NamedTuple):
    """Seconds on the wall, and of processor time, which neighbours on the machine cannot add to."""

    wall: float
    cpu: float


def taken(run: Callable[[], Any]) -> Taken:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def compare(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Taken]]:
    """What each run takes in every round, in this process."""
    return in_turn({name: lambda run=run: taken(run) for name, run in runs.items()}, rounds, warm_up=1)  # type: ignore[misc]


def in_turn(runs: dict[str, Callable[[], Taken]], rounds: int, *, warm_up: int) -> dict[str, list[Taken]]:
    """What each run says that it took in every round; the order turns around from round to round."""
    times: dict[str, list[Taken]] = {name: [] for name in runs}
    for round_ in range(-warm_up, rounds):
        for name in list(runs) if round_ % 2 else reversed(runs):
            gc.collect()
            took = runs[name]()
            if round_ >= 0:
                times[name].append(took)
    return times


def tell(title: str, times: dict[str, list[Taken]], unit: str, shown: Callable[[float], float]) -> None:
    """A line for each variant: the median in a `unit`, and how much faster than the first it was, as min / median / max."""
    first = next(iter(times))
    for name, rounds in times.items():
        line = f"{title:<9} {name:<7} {shown(statistics.median(t.wall for t in rounds)):8.3f} {unit}"
        if name != first:
            wall, cpu = (ratios([t[i] for t in times[first]], [t[i] for t in rounds]) for i in (0, 1))
            line += f"   {first}/{name} wall {wall}   cpu {cpu}"
        print(line, flush=True)


def ratios(one: list[float], other: list[float]) -> str:
    """Minimum / median / maximum over the rounds."""
    found = sorted(a / b for a, b in zip(one, other, strict=True))
    return f"{found[0]:.2f} / {statistics.median(found):.2f} / {found[-1]:.2f}"


class Worker:
    """A variant in a process of its own, a benchmark with these arguments that calls `serve`."""

    def __init__(self, arguments: Sequence[str]):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, *arguments], stdin=pipe, stdout=pipe, text=True)

    def run(self) -> Taken:
        return Taken(*self._asked("run"))

    def peak_memory(self) -> float:
        """Megabytes at most so far. Ends the process."""
        return self._asked("memory")[0]

    def _asked(self, what: str) -> list[float]:
        assert self.process.stdin
        assert self.process.stdout
        print(what, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def serve(run: Callable[[], Any]) -> None:
    """The other end of a `Worker`: run once whenever it is asked to."""
    for line in sys.stdin:
        if line.strip() == "run":
            print(json.dumps(taken(run)), flush=True)
        else:
            print(json.dumps([peak_memory()]), flush=True)
            return


def peak_memory() -> float:
    """Megabytes that this process had at most, on the GPU if it used one. ru_maxrss would count what the parent had, too."""
    if on_gpu := torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return on_gpu / 1024**2
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024
