"""`forget`: a copy of a checkpoint without the influence of the named classes or images."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unlearn_cli import __version__, methods
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record, RequestRecord, Source, Step, folder_from, folder_to
from unlearn_cli.data.splits import Request, Splits, split
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.loading import Loaded, Plain, load
from unlearn_cli.metrics.report import Report

SELECTION = 0.2
"""Part of the test images set aside for what a method has to choose."""


def forget(
    checkpoint: str,
    method: str,
    request: Request,
    *,
    output: str | None = None,
    settings: dict[str, Any] | None = None,
    log: str | None = None,
    selection_fraction: float = SELECTION,
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Run a method on CHECKPOINT and write the unlearned model; the input file is not touched.

    Args:
        output: where to write; by default beside the input, named after method and request; `-` is standard output.
        settings: the method's own, by name.
        log: a CSV file for the trajectory: a row per epoch, with the accuracy on forget and selection set.
        selection_fraction: part of the test images set aside where the method, or the log, needs a selection set.
        plain: what a state dict without a record does not say of itself.
    """
    chosen = methods.get(method)
    values = chosen.parse(settings or {})
    if not request.classes and not request.instances:
        raise UnlearnError("nothing to forget was named.", "pass --class NAME or --instances FILE.")
    chosen.check_scope(len(set(request.classes)))
    if output:
        store.claim(output, force=options.force, inputs=(checkpoint,))
    loaded = load(checkpoint, plain, options, original=True)
    request, wanted = requests.resolve(request, loaded.folder)
    chosen.check_scope(len(request.classes))
    target = output or _default_name(loaded, method, requests.slug(wanted, loaded.folder))
    store.claim(target, force=options.force, inputs=(checkpoint,))
    if log:
        store.claim(log, force=options.force, inputs=(checkpoint, target), option="--log")

    run, tensors, carved = unlearn(loaded, chosen, values, request, options, selection_fraction, logged=bool(log))
    step = Step(
        operation="forget",
        method=chosen.name,
        settings=values,
        request=wanted,
        selection_fraction=carved,
        source=Source(name=loaded.name, digest=loaded.checkpoint.digest),
        **what_happened(run),
    )
    record = moved(loaded.record.after(step), loaded.checkpoint.path, target)
    if run.ranks.first:
        store.write(target, tensors, record, force=options.force)
        if log:
            store.replace_whole(log, lambda temporary: _write_log(run, temporary))
    return _report(loaded, run, chosen, wanted, target)


def unlearn(
    loaded: Loaded,
    chosen: methods.Method,
    values: dict[str, Any],
    request: Request,
    options: Options,
    selection_fraction: float = SELECTION,
    logged: bool = False,
):
    """Run a method on a loaded model: the run, the tensors in the types in which they came, and the selection's share.

    A selection set is carved from the test images if the method or the log needs one, and only then.
    """
    reads = chosen.reads_with(values, instances=bool(request.instances))
    carved = selection_fraction if logged or "selection" in reads else 0.0
    splits = split(loaded.folder, request, reads, carved)
    if "selection" in reads and len(splits.selection) == 0:
        raise UnlearnError(f"{chosen.name} needs a selection set, and there are too few test images to set one aside.",
                           "add test images, or pass a larger --selection-fraction.")  # fmt: skip
    run = loaded.run(options)
    with deterministic(run), run.adopted(loaded.model, loaded.head) as model:
        if logged:
            run.trajectory.look = _looker(run, model, split(loaded.folder, request, ("forget", "selection"), carved))
        with run.timed():
            chosen.run(run, model, splits, values)
    return run, in_own_types(loaded), carved


def _looker(run: Run, model: torch.nn.Module, splits: Splits) -> Callable[[], dict[str, float]]:
    """The accuracies of a trajectory's row."""

    def look() -> dict[str, float]:
        chosen = {name: getattr(splits, name) for name in ("forget", "selection")}
        return {f"{name}_accuracy": run.correct(model, part) / len(part) for name, part in chosen.items() if len(part)}

    return look


def _write_log(run: Run, path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        run.trajectory.write(file)


def in_own_types(loaded: Loaded) -> dict[str, torch.Tensor]:
    """The model's tensors in the checkpoint's own types; a tensor that did not change keeps its very bits.

    Raises:
        UnlearnError: a value is not finite, or does not fit the type.
    """
    tensors = {}
    for name, now in loaded.model.state_dict().items():
        before = loaded.checkpoint.tensors[name]
        now = now.detach().cpu().contiguous()
        tensors[name] = before if torch.equal(before.to(now.dtype), now) else now.to(before.dtype)
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise UnlearnError(f"the method left {name} with values that are not finite.", "nothing was written.")
    return tensors


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


def moved(record: Record, source: Path | None, target: str) -> Record:
    """The record as it reads from the target's place: only the way to the data folder differs."""
    if record.data is None:
        return record
    place = None if target == store.PIPE else Path(target)
    folder = folder_to(place, folder_from(source, record.data.folder))
    return record.model_copy(update={"data": record.data.model_copy(update={"folder": folder})})


def _default_name(loaded: Loaded, method: str, slug: str) -> str:
    path = loaded.checkpoint.path
    if path is None:
        return store.PIPE
    return str(path.with_name(f"{path.name.removesuffix('.safetensors')}.{method}-{slug}.safetensors"))


def _report(loaded: Loaded, run: Run, chosen: methods.Method, wanted: RequestRecord, target: str) -> Report:
    read = ", ".join(f"{n:,} {name}" for name, n in run.images_read.items()) or "none"
    facts = {
        "method": chosen.name,
        "forgotten": requests.in_words(wanted),
        "stopped_by": run.stopped_by,
        "forget_seconds": round(run.seconds, 3),
        "optimizer_steps": run.steps,
        "images_read": read,
        "device": str(run.device),
        "precision": str(run.precision).removeprefix("torch."),
        "seed": run.seed,
    }
    return Report(
        command="forget",
        title=f"{loaded.name}: {chosen.title}",
        facts=facts,
        notes=[*loaded.notes, *run.notes],
        written=target,
    )
