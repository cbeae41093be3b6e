"""What the engine tells whoever watches; the command line draws it, a notebook may ignore it."""

from collections.abc import Callable


class Silent:
    """A watcher that looks away."""

    def start(self, phase: str, total: int) -> None:
        """A phase begins that will see `total` images."""

    def advance(self, n: int, loss: Callable[[], float] | None = None) -> None:
        """`n` images more; `loss`, called only when it is shown, gives the latest value."""

    def end(self) -> None:
        """The phase is over."""
