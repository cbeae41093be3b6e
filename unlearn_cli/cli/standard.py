"""Standard output and standard error for the length of one command: neither stops the work, neither decides the exit code.

Libraries leave with 1 when a reader goes away or a disk is full, and 1 is kept for a limit that was not met. So what a stream
cannot take is dropped and remembered here, and counted once at the end.
"""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from unlearn_cli.cli import console


class Outlet:
    """A text stream, or none, whose writes never fail.

    Args:
        stream: the real one; None where it was closed before the program began.
    """

    def __init__(self, stream):
        self.stream = stream
        self.failure: Exception | None = None

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def buffer(self):
        if self.stream is None:
            raise closed()
        return self.stream.buffer

    def isatty(self) -> bool:
        return self.stream is not None and self.failure is None and self.stream.isatty()

    def fileno(self) -> int:
        if self.stream is None:
            raise closed()
        return self.stream.fileno()

    def write(self, text: str) -> int:
        text = console.spelled(text, self)
        self.attempt(lambda: self.stream.write(text))
        return len(text)

    def write_bytes(self, content: bytes) -> None:
        """Bytes as they are, in whatever encoding the stream has its text; as text, where it takes nothing else."""
        self.flush()
        if self.stream is None or hasattr(self.stream, "buffer"):
            self.attempt(lambda: self.stream.buffer.write(content))
        else:
            self.write(content.decode(errors="backslashreplace"))

    def writelines(self, lines) -> None:
        for text in lines:
            self.write(text)

    def flush(self) -> None:
        if self.stream is not None:
            self.attempt(self.stream.flush)

    def attempt(self, action) -> None:
        """Do it unless something failed before."""
        if self.failure is not None:
            return
        if self.stream is None:
            self.failure = closed()
            return
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            self.failure = error

    @property
    def lost(self) -> str:
        """Why something that was written did not arrive, or nothing. A reader who left has seen what it wanted."""
        if self.failure is None or getattr(self.failure, "errno", None) == errno.EPIPE:
            return ""
        return (getattr(self.failure, "strerror", None) or str(self.failure)).lower()


def closed() -> OSError:
    return OSError(errno.EBADF, "it is closed", "standard output")


@contextmanager
def outlets() -> Iterator[tuple[Outlet, Outlet]]:
    """Standard output and error, which print, rich and Typer then write to."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = both = tuple(map(Outlet, before))
    try:
        yield both
    finally:
        sys.stdout, sys.stderr = before


def settled(code: int, out: Outlet, err: Outlet) -> int:
    """The exit code, once everything is out: 2 in place of 0 where a result could not be delivered."""
    out.flush()
    if out.lost:
        console.error(f"standard output could not be written: {out.lost}.", "send it elsewhere; files that were written are whole.")
        code = code or 2
    err.flush()
    return code
