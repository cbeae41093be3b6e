"""A method run on a loaded model, and what is to be told of it afterwards."""

import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from unlearn_cli import __version__, methods, settings
from unlearn_cli.cases import requests
from unlearn_cli.cases.case import Asked, Case
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.cases.references import begun_with
from unlearn_cli.cases.starts import training_of
from unlearn_cli.data.requests import Target
from unlearn_cli.data.splits import Splits, split
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.modes import batchnorms

SELECTION = 0.2
"""Part of the test images set aside for what a method has to choose."""


def unlearn(
    loaded: Loaded,
    chosen: methods.Method,
    values: dict[str, Any],
    target: Target,
    options: Options,
    selection_fraction: float = SELECTION,
    logged: bool = False,
    given: Collection[str] = (),
):
    """Run a method on a loaded model: the run, the tensors in the types in which they came, and the selection's share.

    A selection set is carved from the test images if the method or the log needs one, and only then.

    Args:
        given: the names of the settings that the user set.
    """
    reads = chosen.reads_with(values, target.kind)
    check_left(chosen, reads, target, loaded)
    carved = selection_fraction if logged or "selection" in reads else 0.0
    splits = split(loaded.folder, target, reads, carved)
    if "retain" in reads and len(splits.retain) == 0:
        refuse_to_retain(chosen, values, target, loaded)
    if "selection" in reads and len(splits.selection) == 0:
        raise UnlearnError(f"{chosen.name} needs a selection set, and there are too few test images to set one aside.",
                           "add test images, or pass a larger --selection-fraction.")  # fmt: skip
    run = loaded.run(options)
    if run.begun is not None:
        run.begun = _unseen(run, loaded, target)
    of_norms = [f"{name}={settings.typed(values[name])}" for name in given if name == "bn" or name.endswith("_bn")]
    if of_norms and not batchnorms(loaded.model):
        run.note(f"the network has no BatchNorm: {', '.join(of_norms)} changed nothing")
    with deterministic(run), run.adopted(loaded.model, loaded.head) as model:
        if logged:
            run.trajectory.look = _looker(run, model, split(loaded.folder, target, ("forget", "selection"), carved))
        with run.timed():
            chosen.run(run, model, splits, values)
    return run, in_own_types(loaded), carved


def check_left(chosen: methods.Method, reads: Sequence[str], target: Target, loaded: Loaded) -> None:
    """Refuse a method that reads the images to forget where they were erased."""
    if "forget" not in reads or len(target.images):
        return
    able = _without("forget", target)
    what = f"training image of {requests.in_words(requests.recorded(target))}" if target.kind == "classes" else "listed image"
    raise UnlearnError(f"no {what} is left in {loaded.folder.root}, and {chosen.name} reads them.",
                       f"methods that read none of them: {', '.join(able)}." if able else "put them back.")  # fmt: skip


def refuse_to_retain(chosen: methods.Method, values: dict[str, Any], target: Target, loaded: Loaded) -> None:
    """A method that reads the images to retain, of which the folder has none."""
    who, hint = chosen.name, f"methods that read none of them: {', '.join(_without('retain', target))}"
    if "retain" not in {*chosen.reads, *chosen.instances_read}:
        opened = {name: one.rules.opens.get(values.get(name)) for name, one in chosen.settings.items()}
        opening = " ".join(f"{name}={values[name]}" for name, part in opened.items() if part == "retain")
        who, hint = f"{who} with {opening}", f"leave out {opening}"
    raise UnlearnError(f"no training image to retain is in {loaded.folder.root}, and {who} reads them.",
                       f"{hint}; or pass the --data folder that has the other classes.")  # fmt: skip


def _unseen(run: Run, loaded: Loaded, target: Target) -> Callable[[int], torch.nn.Module]:
    """What the original's training began with, for a method that begins there too: refused where it saw what is to be forgotten."""
    begun = run.begun

    def begins(seed: int) -> torch.nn.Module:
        words = requests.recorded(target)
        case = Case({}, target, words)
        asked = Asked(case, [], words, 1, True, target.images, target.images, [])
        silent = replace(loaded, notes=[])  # its notes are on a model beside another
        if seen := begun_with(silent, asked, [loaded]):
            raise UnlearnError(f"{loaded.name} began with {seen}: to begin there again would bring that back.",
                               "train a model from scratch without the forget set: --without-class or --without.")  # fmt: skip
        if silent.notes:
            source = training_of(loaded.record.lineage).source
            run.note(f"{source.name}, which this training begins with too, was made for classes to forget as well")
        return begun(seed)

    return begins


def _without(part: str, target: Target) -> list[str]:
    """The methods for such a request that never read a split."""
    every = (methods.get(name) for name in methods.names())
    return [one.name for one in every if part not in {*one.reads, *one.instances_read} and target.scope in one.scope]


def _looker(run: Run, model: torch.nn.Module, splits: Splits) -> Callable[[], dict[str, float]]:
    """The accuracies of a trajectory's row."""

    def look() -> dict[str, float]:
        chosen = {name: getattr(splits, name) for name in ("forget", "selection")}
        return {f"{name}_accuracy": run.correct(model, part) / len(part) for name, part in chosen.items() if len(part)}

    return look


def in_own_types(loaded: Loaded) -> dict[str, torch.Tensor]:
    """The model's tensors in the checkpoint's own types; a tensor that did not change keeps its very bits.

    Raises:
        UnlearnError: a value is not finite, or does not fit the type.
    """
    tensors = {}
    for name, now in loaded.model.state_dict().items():
        before = loaded.checkpoint.tensors[name]
        now = now.detach().cpu().contiguous().to(before.dtype)
        tensors[name] = before if torch.equal(before, now) else now
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise UnlearnError(f"the method left {name} with values that are not finite.", "nothing was written.")
    return tensors


def unchanged(loaded: Loaded, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether a method left every tensor as it came."""
    return all(tensor is loaded.checkpoint.tensors[name] for name, tensor in tensors.items())


def what_happened(run: Run) -> dict[str, Any]:
    """The part of a lineage step that the run knows."""
    return {
        "seed": run.seed,
        "seconds": run.seconds,
        "images_read": dict(run.images_read),
        "stopped_by": run.stopped_by,
        "notes": run.notes,
        "device": run.device.type,
        "precision": str(run.precision).removeprefix("torch."),
        "versions": {"unlearn": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
