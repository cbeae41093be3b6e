"""Every metric is one decorated function of the evidence; this file knows them all, without importing torch.

To add a metric, write a function in a file of this folder. Names, units and directions must be known before torch is
loaded (`--require` is checked first), so the files of this folder import torch inside their functions only.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING

from unlearn_cli import metrics
from unlearn_cli.errors import UnlearnError
from unlearn_cli.kinds import STRANGERS, UNSEEN, Kind
from unlearn_cli.metrics.report import Column, Measure

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_cli.tasks.classes import Classes

DIRECTIONS = ("higher", "lower", "reference")
COSTLY = {"relearn", "random", "curves", "revival", "shadow", "blocks"}
"""Needs that take passes of their own, or training."""
CLASSES_ONLY = "defined for requests that name classes only"
IMAGES_ONLY = "defined for requests that name images only"
UNITS = ("fraction", "score", "seconds", "epochs", "steps")
ROWS = 4096
"""Images whose logits are read at a time where a number is computed in float64: no second copy of all logits is made."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one pass of a model over every image gave, in folder order.

    Args:
        logits: (N, K) float32.
        features: (N, d) float32, what the head reads.
        weights: every parameter by name, as the checkpoint holds it; no buffers.
        head: (K, d) weight and (K,) bias, None without one, of the layer that gives the logits from the features.
        learned: what metrics learned of it, by what they were asked: one report's rows share original and references.
    """

    logits: Tensor
    features: Tensor
    weights: dict[str, Tensor]
    head: tuple[Tensor, Tensor | None] | None = None
    learned: dict[tuple, object] = field(default_factory=dict, init=False, repr=False)


@dataclass(frozen=True)
class Curves:
    """What share of held-out forgotten images models get right while each goes on training, a list for every seed.

    Args:
        steps: of training, at which was looked; the first is 0, before anything changed.
        model: of the judged model, (seeds, steps); original and references: of those it is compared with.
    """

    steps: list[int]
    model: list[list[float]]
    original: list[list[float]] | None = None
    references: list[list[list[float]]] = field(default_factory=list)


@dataclass(frozen=True)
class Blocks:
    """How alike the judged model's blocks are to those of other models on the forget set: linear CKA by the block's name.

    Args:
        head: the block that holds the head.
        images: that were looked at.
        original: None where a block does not vary; references: one for each.
    """

    head: str
    images: int
    original: dict[str, float | None] | None = None
    references: list[dict[str, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Evidence:
    """What one pass of one model over all images showed, and what it may be compared with.

    Args:
        model: the model that is judged.
        labels: (N,) index of the true class.
        splits: name to (n,) int64 positions: train, test, forget, retain, forget_test, retain_test.
        forgotten: indices of the forgotten classes; empty when the request names images.
        original: the model before it forgot.
        references: models trained without the forget set; the judged one is not among them.
        seed: draws subsamples and folds.
        forget_seconds: the method's own time, where the checkpoint records it.
        relearn: epochs until the forget set is known again, where that was measured.
        curves: relearning by what was trained on, where that was measured, or the reason why it cannot be: "few_shot" (a few
            images of the forget set among retain images), "retain" (retain images alone) and "revival" (the same, few steps).
        random_logits: (n_forget, K) of a network with random weights on the forget set, in the order of its split.
        shadows: models that were trained with the forget set and forgot it by the judged one's method, with other seeds.
        blocks: how alike the blocks are to other models', where that was measured.
        names: of the classes, by their index.
    """

    model: Outputs
    labels: Tensor
    splits: dict[str, Tensor]
    forgotten: tuple[int, ...] = ()
    original: Outputs | None = None
    references: list[Outputs] = field(default_factory=list)
    seed: int = 0
    forget_seconds: float | None = None
    relearn: Measure | None = None
    curves: dict[str, Curves | str] = field(default_factory=dict)
    random_logits: Tensor | None = None
    shadows: list[Outputs] = field(default_factory=list)
    blocks: Blocks | None = None
    names: tuple[str, ...] = ()

    @property
    def logits(self) -> Tensor:
        """(N, K) of the judged model."""
        return self.model.logits

    @property
    def kind(self) -> Kind:
        """What the request names."""
        return "classes" if self.forgotten else "images"

    @cached_property
    def task(self) -> Classes:
        """What a label is, and which of them are to vanish."""
        from unlearn_cli.tasks.classes import Classes

        return Classes(self.logits.shape[1], self.forgotten)

    @property
    def unseen(self) -> Tensor | None:
        """The positions of the images of the forget set's classes that no model saw, or None where there are none."""
        return self.split(UNSEEN[self.kind])

    @property
    def strangers(self) -> str:
        """The split of the unseen images that an attacker may learn from."""
        return STRANGERS[self.kind]

    @property
    def correct(self) -> Tensor:
        """(N,) bool: the judged model's answer is the true one; no class is masked."""
        return self.right(self.model)

    def answers(self, outputs: Outputs) -> Tensor:
        """(N,) what a model takes every image for; its outputs keep it, for all rows of a report."""
        if (asked := ("answers", self.task)) not in outputs.learned:
            outputs.learned[asked] = self.task.answer(outputs.logits)
        return outputs.learned[asked]

    def right(self, outputs: Outputs) -> Tensor:
        """(N,) bool: a model's answer is the true one."""
        return self.answers(outputs) == self.labels

    def split(self, name: str) -> Tensor | None:
        """The positions of a split, or None when it has no images."""
        index = self.splits.get(name)
        return None if index is None or len(index) == 0 else index

    def losses(self, index: Tensor) -> Tensor:
        """(n,) the task's loss in float64: in float32 confident models would tie at zero."""
        return self.scores(self.task.loss, index)

    def scores(self, score: Callable[[Tensor, Tensor], Tensor], index: Tensor, outputs: Outputs | None = None) -> Tensor:
        """(n,) one number for each image of a split, some images at a time, so that memory does not grow with the split.

        Args:
            score: (m, K) float64 logits and (m,) labels -> (m,).
            outputs: of the model that is asked; the judged one when left out.
        """
        import torch

        logits = (outputs or self.model).logits
        found = [score(logits[part].double(), self.labels[part]) for part in index.split(ROWS)]
        return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)

    def not_comparable(self, kind: str = "reference", fewest: int = 1) -> str:
        """Why the outputs of the references, or of the "shadow" models, cannot be held against the judged one's, or nothing."""
        models = self.shadows if kind == "shadow" else self.references
        if not models:
            return f"needs {'shadow models' if kind == 'shadow' else 'a reference model'}"
        if len(models) < fewest:
            return f"needs at least {fewest} {kind} models, there is {len(models)}"
        if any(other.logits.shape != self.logits.shape for other in models):
            return f"a {kind} model has other classes"
        if not all(bool(other.logits.amax(1).isfinite().all()) for other in models):
            return f"a {kind} model's outputs are not finite"
        return ""


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before anything is measured."""

    name: str
    measure: Callable[[Evidence], float | Measure]
    better: str
    instances: str
    unit: str
    most: float
    about: str
    needs: tuple[str, ...]
    title: str
    short: str
    source: str

    @property
    def is_costly(self) -> bool:
        """Whether it asks for more than the readouts, and is measured only where it is asked for."""
        return not COSTLY.isdisjoint(self.needs)

    def is_defined_for(self, kind: Kind) -> bool:
        """Whether requests of this kind have such a number at all."""
        return ("class" not in self.needs or kind == "classes") and ("images" not in self.needs or kind == "images")

    @property
    def help(self) -> str:
        """The first line of the function's docstring."""
        return (self.measure.__doc__ or "").strip().partition("\n")[0]

    def direction(self, kind: Kind = "classes") -> str:
        """Which values are good: "higher", "lower", or those near the "reference"'s."""
        return self.better if kind == "classes" else self.instances

    def target(self, kind: Kind = "classes") -> float | str:
        """The best value there is: a number, or "reference" for the value of a model that never saw the forget set."""
        return {"higher": self.most, "lower": 0.0}.get(self.direction(kind), "reference")

    def column(self, kind: Kind = "classes") -> Column:
        return Column(self.name, self.title, self.short, self.unit, self.direction(kind))


_found: dict[str, Metric] = {}


def metric(
    name: str = "",
    *,
    better: str,
    instances: str = "",
    unit: str = "fraction",
    most: float | None = None,
    about: str = "forgetting",
    needs: tuple[str, ...] = (),
    title: str = "",
    short: str = "",
    source: str = "",
) -> Callable[[Callable], Callable]:
    """Make a function of the evidence a metric, under its own name unless another is given.

    Args:
        better: "higher", "lower" or "reference", for requests that name classes.
        instances: the same for requests that name images; as `better` when left out.
        unit: "fraction" (shown in per cent), "score", "seconds", "epochs" or "steps".
        most: the largest value possible; 1 for a fraction.
        about: "forgetting", or what else it speaks of: "keeping", "both", "cost".
        needs: any of "reference", "original", "class", "images" and those of COSTLY: without it no number.
        title, short: headings; the name with spaces when left out.
        source: where the definition comes from.
    """
    assert better in DIRECTIONS and (instances or better) in DIRECTIONS and unit in UNITS

    def register(function: Callable) -> Callable:
        own = name or function.__name__
        assert own not in _found, f"two metrics are called {own}"
        words = title or own.replace("_", " ")
        top = most if most is not None else (1.0 if unit == "fraction" else inf)
        _found[own] = Metric(
            own, function, better, instances or better, unit, top, about, tuple(needs), words, short or words, source
        )
        return function

    return register


@cache
def known() -> dict[str, Metric]:
    """Every metric by name, in the order of the tables: files by name, functions as written."""
    for module in sorted(info.name for info in pkgutil.iter_modules(metrics.__path__)):
        import_module(f"{metrics.__name__}.{module}")
    # One file may have imported another: the order is that of the files all the same.
    return dict(sorted(_found.items(), key=lambda item: item[1].measure.__module__))


def columns(names: Iterable[str] | None = None, kind: Kind = "classes") -> list[Column]:
    """Headings for a report."""
    return [known()[name].column(kind) for name in (known() if names is None else names)]


def measure(evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, Measure]:
    """Each metric's value on the evidence; all metrics unless names are given.

    Raises:
        UnlearnError: the model's outputs are not numbers, so nothing about it can be said.
    """
    # A logit of minus infinity is a class that is never predicted; its row is still a distribution.
    bad = int((~evidence.logits.amax(1).isfinite()).sum())
    if bad:
        raise UnlearnError(
            f"the model's outputs are not finite for {bad} of {len(evidence.logits)} images.",
            "the checkpoint is damaged, or the run that wrote it diverged.",
        )
    measured = {}
    for name in known() if names is None else names:
        value = known()[name].measure(evidence)
        measured[name] = value if isinstance(value, Measure) else Measure(float(value))
    return measured
