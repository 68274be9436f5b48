"""How much memory there is, and how much this process has taken, as the system tells it."""

import contextlib
import os
import sys
from pathlib import Path


def free_memory() -> int:
    """Bytes of memory that can be used without swapping, in a container those it may still take; 0 where nothing tells."""
    left = _left_in_container()
    return _left_on_machine() if left is None else min(left, _left_on_machine())


def _left_on_machine() -> int:
    if (told := _told("/proc/meminfo", "MemAvailable")) is not None:
        return told
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _left_in_container() -> int | None:
    """What a control group (Linux, version 2) leaves of its limit; None where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no group, or a limit of "max"
        return None


def forget_peak() -> None:
    """Let `peak` count from now on, where the system can. Linux: proc(5), /proc/pid/clear_refs."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most bytes of memory that this process has held; 0 where nothing tells."""
    if (told := _told("/proc/self/status", "VmHWM")) is not None:
        return told
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _told(file: str, name: str) -> int | None:
    """The bytes that stand behind a name in a file of Linux's, see proc(5); None where there is none."""
    with contextlib.suppress(OSError):
        for line in Path(file).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
