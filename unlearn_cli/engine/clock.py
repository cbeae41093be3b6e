"""The time that counts as a method's own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Seconds of a block, with the device idle at both ends; what happens while the clock is paused does not count."""

    def __init__(self, device: torch.device):
        self.device = device
        self._began: float | None = None
        self._paused = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        self.settle()
        self._began, self._paused = time.perf_counter(), 0.0
        try:
            yield
        finally:
            self._began = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._paused += time.perf_counter() - began

    def elapsed(self) -> float:
        """Seconds so far, of a clock that runs."""
        return time.perf_counter() - self._began - self._paused

    def settle(self) -> None:
        """Wait for what the device still has to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
