"""Decoding in worker processes: plain subprocesses that speak over their pipes.

Not `multiprocessing`: its children import the main script again, which starts torch (or a whole unguarded script) in
each, and they get the terminal's Ctrl-C. These import Pillow only, sit in a session of their own, and end when their
pipe does.
"""

import json
import os
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import Event
from typing import NamedTuple, Self

import numpy as np

from unlearn_cli.data import decode
from unlearn_cli.inputs import Size, sides

MOST = 16  # more workers than this wait for the disk or for us


class Chunk(NamedTuple):
    """What came of some files: digests (n, 32) and pixels (n, height, width, channels), uint8; problems by position."""

    digests: np.ndarray
    pixels: np.ndarray
    problems: list[tuple[int, str]]


class Request(NamedTuple):
    """Files to read, and how, as `decode.read` takes it; with size 0 their headers alone."""

    root: str
    names: list[str]
    size: Size
    channels: int
    resize: tuple[Size, str, str] | None = None


def read_here(asked: Request) -> Chunk:
    digests, pixels, problems = decode.read(*asked)
    return _chunk(asked, bytearray(digests), bytearray(pixels), problems)


class Workers:
    """As many worker processes as there are cores; where none can be started, decoding happens in this one instead."""

    def __init__(self, count: int | None = None):
        self._count = min(count or cores(), MOST)
        self._processes = []
        self._idle = SimpleQueue()
        command = [sys.executable or "python", "-P", decode.__file__]
        quiet = {"stderr": subprocess.DEVNULL, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        apart = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}  # Ctrl-C is ours alone
        try:
            for _ in range(self._count if self._count > 1 else 0):
                self._processes.append(subprocess.Popen(command, **quiet, **apart))
        except OSError:
            pass  # no processes to be had: those that started, or none, will do
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(max(1, len(self._processes)), thread_name_prefix="decode")
        self._closing = Event()
        self._end = weakref.finalize(self, _end, self._processes, self._threads, self._closing)

    def __len__(self) -> int:
        return max(1, len(self._processes))

    def map(self, requests: Iterable[tuple]) -> Iterator[Chunk]:
        """The answers to each `Request`, in order; a few requests ahead are always under way."""
        waiting = deque()
        try:
            for request in requests:
                waiting.append(self._threads.submit(self._read, Request(*request)))
                if len(waiting) > 2 * len(self):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _read(self, asked: Request) -> Chunk:
        if not self._processes or not asked.names:
            return read_here(asked)
        process = self._idle.get()
        try:
            chunk = _ask(process, asked)
        except (OSError, ValueError):  # it died, or never came up: do its work here, and every later turn of its too
            if self._closing.is_set():
                raise
            process.kill()
            chunk = None
        self._idle.put(process)
        return chunk or read_here(asked)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ask(process: subprocess.Popen, asked: Request) -> Chunk:
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    process.stdin.flush()
    problems = [tuple(problem) for problem in json.loads(process.stdout.readline())]
    height, width = sides(asked.size)
    digests, pixels = bytearray(32 * len(asked.names)), bytearray(len(asked.names) * height * width * asked.channels)
    if process.stdout.readinto(digests) < len(digests) or process.stdout.readinto(pixels) < len(pixels):
        raise OSError("the worker's answer was cut short")
    return _chunk(asked, digests, pixels, problems)


def _chunk(asked: Request, digests: bytearray, pixels: bytearray, problems: list) -> Chunk:
    n = len(asked.names)
    as_array = np.frombuffer(pixels, np.uint8).reshape(n, *sides(asked.size), asked.channels)
    return Chunk(np.frombuffer(digests, np.uint8).reshape(n, 32), as_array, problems)


def _end(processes: list[subprocess.Popen], threads: ThreadPoolExecutor, closing: Event) -> None:
    closing.set()
    for process in processes:
        process.kill()
    threads.shutdown(wait=True, cancel_futures=True)
    for process in processes:
        process.wait()
        process.stdout.close()
        with suppress(OSError):  # a request that it never read
            process.stdin.close()
