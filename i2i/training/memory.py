"""How the C library keeps memory on the CPU, and whether it has run out."""

import contextlib
import ctypes
import sys

import torch

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


def give_back_freed_memory() -> None:
    """Hand back what was kept, so that what follows can be measured."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_about_memory(error: Exception) -> bool:
    """Whether there was too little of it, on any device. torch's allocator for the CPU raises a plain RuntimeError."""
    plain = "not enough memory" in str(error) or "can't allocate memory" in str(error)
    return plain or isinstance(error, (MemoryError, torch.OutOfMemoryError))
