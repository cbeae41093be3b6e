"""Trials: methods with their settings, each run on a copy of one checkpoint, in memory alone."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn_cli import methods
from unlearn_cli.cases import kept, requests
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.cases.unlearning import SELECTION, unlearn, what_happened
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Step
from unlearn_cli.data.requests import Target
from unlearn_cli.engine.kept import everywhere
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.kinds import Kind
from unlearn_cli.ops.presented import take
from unlearn_cli.settings import parse


@dataclass(frozen=True)
class Trial:
    """A method and all its settings."""

    method: methods.Method
    values: dict[str, Any]

    @property
    def name(self) -> str:
        return self.method.name

    def carves(self, kind: Kind) -> float:
        """The share of the test images that this method wants to choose by."""
        return SELECTION if "selection" in self.method.reads_with(self.values, kind) else 0.0


def check(names: Sequence[str], settings: dict[str, Any]) -> None:
    """Refuse what can be refused before anything is opened.

    Raises:
        UnlearnError: no such method, a setting that none of them has, or a value that is out of range.
    """
    chosen = [methods.get(name) for name in dict.fromkeys(names)]
    _check_meant(settings, chosen)
    for method in chosen:
        parse(method.settings, meant_for(method, settings), method.name)


def trials(names: Sequence[str], settings: dict[str, Any], kind: Kind) -> list[Trial]:
    """The methods named, each with the settings that are meant for it: `name` for all in which it acts, or `method.name`.

    Raises:
        UnlearnError: as `check` does, or a setting could do nothing for a request of this kind.
    """
    check(names, settings)
    chosen = [methods.get(name) for name in dict.fromkeys(names)]
    made = []
    for method in chosen:
        meant, own = meant_for(method, settings), _own(method, settings)
        made.append(Trial(method, method.parse(method.acting(meant, kind) | own, kind)))
    for name in settings:
        having = [method for method in chosen if name in method.settings]
        if having and not any(name in method.acting(meant_for(method, settings), kind) for method in having):
            having[0].parse(meant_for(having[0], settings), kind)  # which says why
    return made


def meant_for(method: methods.Method, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings meant for one method: `name`, or `method.name` with underscores for hyphens."""
    return {k: v for k, v in settings.items() if k in method.settings} | _own(method, settings)


def _own(method: methods.Method, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings typed with the method's name before them."""
    prefix = method.name.replace("-", "_") + "."
    return {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}


def _check_meant(settings: dict[str, Any], chosen: Sequence[methods.Method]) -> None:
    """Refuse a setting that none of the chosen methods takes."""
    known = [own for method in chosen for name in method.settings
             for own in (name, f"{method.name.replace('-', '_')}.{name}")]  # fmt: skip
    prefixes = tuple(method.name.replace("-", "_") + "." for method in chosen)
    for name in settings:
        if name not in known and not name.startswith(prefixes):  # `lau.x` is for lau itself to refuse
            hint = did_you_mean(name, known) or "`unlearn methods NAME` lists a method's settings."
            raise UnlearnError(f"no method given with --methods has a setting called '{name}'.", hint)


def run(
    first: Loaded, trial: Trial, target: Target, options: Options, fresh: bool = False
) -> tuple[Loaded, bool]:
    """A copy of a checkpoint after a method, and whether the run was kept from before.

    Args:
        fresh: run the method even where its result is kept.
    """
    model = replace(first, network=replace(first.network, model=copy.deepcopy(first.model)))
    surroundings = first.run(options)
    place = kept.place(first, trial.method, trial.values, target, SELECTION, surroundings)
    found = None if fresh else kept.find(place)
    known = everywhere(surroundings, found is not None)
    tensors, step = found if known else _run(model, trial, target, options)
    after = model.record.after(step)
    if not known and surroundings.ranks.first:
        kept.keep(place, tensors, after)
    surroundings.ranks.wait()
    take(model.model, tensors)
    name = f"{trial.name} with seed {options.seed}"  # what the progress calls it: there is no such file
    checkpoint = replace(first.checkpoint, tensors=tensors, digest=store.digest(tensors), path=Path(name))
    return replace(model, checkpoint=checkpoint, record=after), known


def _run(model: Loaded, trial: Trial, target: Target, options: Options) -> tuple[dict[str, Tensor], Step]:
    try:
        done, tensors, carved = unlearn(model, trial.method, trial.values, target, options)
    except UnlearnError as error:  # one of several runs: which?
        raise UnlearnError(f"{trial.name} with seed {options.seed}: {error.problem}", error.hint) from None
    step = Step(
        operation="forget",
        method=trial.name,
        settings=trial.values | done.settled,
        request=requests.recorded(target),
        selection_fraction=carved,
        source=model.source,
        withheld=len(requests.asked(model.record.lineage)),
        **what_happened(done),
    )
    return tensors, step
