"""A training that is interrupted once it has kept its state."""

from contextlib import contextmanager

import pytest


@contextmanager
def interrupted(after: int = 1):
    """Every training in this process is interrupted when states were kept so many times, by all of them together."""
    from unlearn_cli.jobs.training import State

    keep, kept = State.write, []

    def then_interrupt(self, progress):
        keep(self, progress)
        kept.append(progress.epoch)
        if len(kept) >= after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "write", then_interrupt)
        yield
