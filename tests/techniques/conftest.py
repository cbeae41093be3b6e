"""The shipped model and its splits, as the engine's tests have them."""

from tests.engine.conftest import loaded, new_run, splits

__all__ = ["loaded", "new_run", "splits"]
