"""The C allocator, told that a network's buffers come back every step."""

import ctypes
import platform

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # mallopt's names for them
LARGEST = 32 << 20  # glibc's own upper bound for the first
KEPT = 512 << 20


def keep_freed_memory() -> None:
    """Let glibc reuse large buffers instead of returning them to the system and faulting every page in again.

    A tenth of a training step on CPUs. It holds for the whole process and cannot be undone, so it is for programs of our
    own: libraries leave their host's allocator alone. Does nothing elsewhere than on glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, KEPT)
