"""Signals that ask a run to end: the first is remembered until the step is done, a second one ends the process."""

import os
import signal
import time
from types import FrameType, TracebackType

ECHO = 1.0
"""Seconds in which a signal counts once: Ctrl-C under torchrun reaches a process from the terminal and from torchrun."""


class Stop:
    """While open, SIGINT, SIGTERM and SIGUSR1 (how Slurm warns) set `signal` instead of ending the program."""

    def __init__(self) -> None:
        self.signal = 0
        self._asked = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
            if hasattr(signal, name):
                number = getattr(signal, name)
                try:
                    self._before[number] = signal.signal(number, self._receive)
                except ValueError:  # only the main thread may set handlers; elsewhere the program's own stay
                    break
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        name = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        now = time.monotonic()
        if self.signal and now - self._asked > ECHO:
            os._exit(128 + name)  # every file is whole at any moment, so nothing can break
        if not self.signal:
            self.signal, self._asked = name, now
