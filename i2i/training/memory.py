"""How the C library keeps memory on the CPU."""

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep what it frees instead of handing it back to the system. Linux with glibc; elsewhere nothing.

    A training step frees and takes the same large blocks again and again. glibc returns each of them at once, and every page
    that comes back must be cleared first: that was a tenth of a CPU step (tests/benchmarks/step.py).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, NEVER)
