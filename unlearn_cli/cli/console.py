"""Where words go: results to `out` (stdout), all else to `err` (stderr); bars on a terminal only, NO_COLOR heeded."""

import json
import os
import time
from collections.abc import Callable
from math import isfinite
from typing import Any, Self

from rich.console import Console

REFRESH_SECONDS = 0.1
LOG_WIDTH = 160
SIZES = {"COLUMNS": (40, 10_000), "TERMINAL_WIDTH": (40, 10_000), "LINES": (5, 10_000)}
"""What a screen may measure, in characters; anything else in these variables counts as not set."""

FORCED = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""They make rich take a pipe for a terminal, and what a script reads there would be a coloured table."""


class Screen(Console):
    """A console that draws with what its stream can spell."""

    @property
    def encoding(self) -> str:
        return (getattr(self.file, "encoding", None) or "utf-8").lower()


def make(*, stderr: bool = False) -> Console:
    """A console that neither colours nor cuts what goes to a file, and leaves numbers and paths as they are."""
    left_out = (*odd_sizes(), *FORCED)
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    console = Screen(stderr=stderr, highlight=False, emoji=False, _environ=environment)
    if not console.is_terminal and "COLUMNS" not in environment:
        console.width = LOG_WIDTH
    return console


def odd_sizes() -> list[str]:
    """The variables that are set and say nothing of a screen's size."""
    return [name for name, allowed in SIZES.items() if name in os.environ and not is_size(os.environ[name], *allowed)]


def is_size(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most


def spelled(text: str, stream) -> str:
    """Text that a stream can take: characters that its encoding lacks are written as backslash escapes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    odd_bytes = "surrogateescape" if getattr(stream, "errors", None) == "surrogateescape" else "strict"
    try:
        text.encode(encoding, odd_bytes)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def as_json(document: Any, stream) -> str:
    """A JSON document, in ASCII where the stream could not spell it otherwise: it reads back as the same text."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document, allow_nan=False, indent=2) + "\n"
    return text


out = make()
err = make(stderr=True)
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """With --quiet, messages and progress are left out; errors and results are not."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    return _quiet


def say(message: str) -> None:
    """A message on stderr, unless --quiet."""
    if not _quiet:
        err.print(message, markup=False, soft_wrap=True)


def error(problem: str, hint: str = "") -> None:
    """What is wrong, then what to do, always on stderr."""
    for word, text, style in (("Error", problem, "bold red"), ("Hint", hint, "bold")):
        if text:
            err.print(f"{word}: ", style=style, end="")
            err.print(text, markup=False, soft_wrap=True)


class Progress:
    """Shows phases as they run: bars on a terminal, one line at the end of each elsewhere, nothing when quiet.

    `advance` is called once per batch: between two refreshes it only adds, and never asks for the loss. A phase inside
    a phase is part of the outer one and is not shown.
    """

    def __init__(self, console: Console, quiet: bool):
        self.console, self.quiet = console, quiet
        self.phase, self.bars, self.depth = "", None, 0

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.quiet:
            self.bars = bars(self.console)
            self.bars.start()
        return self

    def __exit__(self, *failure) -> None:
        if self.bars is not None:
            self.bars.stop()

    def start(self, phase: str, total: int | None = None) -> None:
        """A phase begins that will see `total` images; None when nobody knows."""
        self.depth += 1
        if self.depth > 1:
            return
        self.phase, self.done, self.loss = phase, 0, None
        self.began = self.shown = time.perf_counter()
        if self.bars is not None:
            self.task = self.bars.add_task(phase, total=total, rate="", loss="")
            self.bars.refresh()

    def advance(self, n: int, loss: float | Callable[[], float | None] | None = None) -> None:
        """`n` images more, and the latest loss: a number, or a function called only when it is shown."""
        if self.depth != 1:
            return
        self.done += n
        self.loss = loss
        if self.bars is None:
            return
        now = time.perf_counter()
        if now - self.shown >= REFRESH_SECONDS:
            self.shown = now
            self.show(now)

    def show(self, now: float) -> None:
        rate = per_second(self.done, now - self.began)
        self.bars.update(self.task, completed=self.done, rate=rate, loss=self.words())
        self.bars.refresh()

    def words(self) -> str:
        """The loss, if there is one to show."""
        loss = self.loss() if callable(self.loss) else self.loss
        return "" if loss is None or not isfinite(loss) else f"loss {loss:.4g}"

    def end(self) -> None:
        """The phase is over."""
        self.depth -= 1
        if self.depth > 0:
            return
        if self.bars is not None:
            self.bars.remove_task(self.task)
            self.bars.refresh()
        if not self.quiet and self.done:
            seconds = time.perf_counter() - self.began
            facts = [f"{self.done:,} images in {seconds:.1f} s", per_second(self.done, seconds), self.words()]
            self.console.print(f"{self.phase}: {', '.join(filter(None, facts))}", markup=False, soft_wrap=True)


def progress() -> Progress:
    """Progress on stderr: `with progress() as p: p.start("forgetting", 5000); p.advance(128); p.end()`."""
    return Progress(err, _quiet)


def per_second(images: int, seconds: float) -> str:
    return f"{images / seconds:,.0f} images/s" if seconds > 0 else ""


def bars(console: Console):
    """Phase, bar, share, images per second, loss and time left; drawn when told to, without a thread of its own."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    def text(field: str) -> TextColumn:
        return TextColumn(field, markup=False)

    return Progress(
        text("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn(markup=True),
        text("{task.fields[rate]}"), text("{task.fields[loss]}"), TimeRemainingColumn(compact=True),
        console=console, auto_refresh=False, transient=True,
    )
