"""The methods: one algorithm per file, the file's name is the method's. Adding the file is all there is to do."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from unlearn_cli import settings
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.kinds import Kind, Scope
from unlearn_cli.settings import Setting, setting

if TYPE_CHECKING:
    from torch import nn

    from unlearn_cli.data.splits import Splits
    from unlearn_cli.engine.run import Run

__all__ = ["RECALIBRATE", "BatchNorm", "Method", "get", "method", "names", "setting"]


def _recalibrated(run: "Run", model: "nn.Module", splits: "Splits") -> None:
    from unlearn_cli.techniques.calibration import recalibrate

    recalibrate(run, model, splits.retain)


RECALIBRATE: dict[str, Any] = {"opens": {"recalibrate": "retain"}, "afterwards": {"recalibrate": _recalibrated}}
"""For the declaration of a setting whose value `recalibrate` estimates BatchNorm's statistics anew when the method is over."""
BatchNorm = Annotated[
    Literal["eval", "train", "recalibrate"],
    setting("BatchNorm: keep its statistics, update them, or update and then estimate them anew on the retain set", **RECALIBRATE),
]
"""The type of the setting `bn`, one and the same in every method that trains."""
ASKED = {"instances": "listed images", "class": "one class", "classes": "several classes"}


@dataclass(frozen=True)
class Method:
    """A method: what it is, what it may read, and the function that runs it on (run, model, splits)."""

    name: str
    title: str
    paper: str
    scope: tuple[Scope, ...]
    reads: tuple[str, ...]
    instances_read: tuple[str, ...]
    quick: dict[str, Any]
    function: Callable

    @property
    def summary(self) -> str:
        """What happens to the weights, in one sentence: the first line of the file's docstring."""
        return self._text.partition("\n")[0].split(": ", 1)[-1]

    @property
    def notes(self) -> str:
        """The rest of the file's docstring: formula, source, departures."""
        return self._text.partition("\n")[2].strip("\n")

    @property
    def _text(self) -> str:
        return inspect.getdoc(import_module(self.function.__module__))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the requests that it is defined for."""
        return tuple(dict.fromkeys("images" if one == "instances" else "classes" for one in self.scope))

    @cached_property
    def settings(self) -> dict[str, Setting]:
        return settings.declared(self.function)

    def parse(self, given: dict[str, Any], kind: Kind = "classes") -> dict[str, Any]:
        """Every setting that acts for a request of a kind: the given ones checked, the others at their defaults."""
        return settings.complete(self.settings, given, self.name, kind)

    def acting(self, given: dict[str, Any], kind: Kind = "classes") -> dict[str, Any]:
        """Those of the given settings that act for a request of a kind."""
        return settings.acting(self.settings, given, self.name, kind)

    @cached_property
    def opens(self) -> dict[str, str]:
        """The split that a setting opens beyond `reads`, by the setting as it is typed; a switch by its name."""
        return {one.name if value is True else f"{one.name}={value}": split
                for one in self.settings.values() for value, split in one.rules.opens.items()
                if split not in self.reads}  # fmt: skip

    def reads_with(self, values: dict[str, Any], kind: Kind = "classes") -> tuple[str, ...]:
        """The splits it may touch under these settings, for a request that names classes or images."""
        opened = [one.rules.opens.get(values.get(name)) for name, one in self.settings.items()]
        more = [split for split in opened if split] + list(self.instances_read if kind == "images" else ())
        return tuple(dict.fromkeys([*self.reads, *more]))

    def run(self, run: "Run", model: "nn.Module", splits: "Splits", values: dict[str, Any]) -> None:
        """Change an adopted model in place."""
        self.function(run, model, splits, **values)
        for name, one in self.settings.items():
            if then := one.rules.afterwards.get(values.get(name)):
                then(run, model, splits)

    def check_scope(self, asked: Scope) -> None:
        """Refuse a request of a kind that the method does not define."""
        if asked not in self.scope:
            able = " and ".join(ASKED[s] for s in self.scope)
            raise UnlearnError(f"{self.name} is not defined for {ASKED[asked]}: it forgets {able}.", "see `unlearn methods`.")


def method(
    title: str, *, paper: str, scope: str, reads: str, instances_read: str = "", quick: dict[str, Any] | None = None
) -> Callable[[Callable], Callable]:
    """Declare a method.

    Args:
        scope: words out of class, classes, instances.
        reads: the splits it may touch, out of forget, retain, train, selection; empty for none.
        instances_read: the splits it touches besides when listed images are to be forgotten.
        quick: settings for a first try: all of the method runs, in seconds, and forgets less well. One epoch, where there are
            epochs and nothing is said.
    """

    def declare(function: Callable) -> Callable:
        name = function.__module__.rpartition(".")[2].replace("_", "-")
        brief = quick if quick is not None else {"epochs": 1} if "epochs" in settings.declared(function) else {}
        function.method = Method(name, title, paper, tuple(scope.split()), tuple(reads.split()), tuple(instances_read.split()),
                                 brief, function)  # fmt: skip
        return function

    return declare


def names() -> list[str]:
    """Every method's name, read off the folder; nothing is imported."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def get(name: str) -> Method:
    """A method by its name; only its own file is imported."""
    if name not in names():
        hint = did_you_mean(name, names())
        raise UnlearnError(f"no method called '{name}'.", f"{hint} `unlearn methods` lists all {len(names())}.".strip())
    stem = name.replace("-", "_")
    return getattr(import_module(f"{__name__}.{stem}"), stem).method
