"""`forget`: a copy of a checkpoint without the influence of the named classes or images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn_cli import methods
from unlearn_cli.cases import duplicates, requests
from unlearn_cli.cases.loading import Loaded, Plain, load
from unlearn_cli.cases.unlearning import SELECTION, unchanged, unlearn, what_happened
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record, Source, Step, folder_from, folder_to
from unlearn_cli.data.copies import Copies
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.report import Report

LONGEST = 120
"""Bytes of the input's name that the output's is made from; beyond, it says how many steps there were."""


def forget(
    checkpoint: str,
    method: str,
    request: Request,
    *,
    output: str | None = None,
    settings: dict[str, Any] | None = None,
    log: str | None = None,
    selection_fraction: float = SELECTION,
    lists: Sequence[Request] = (),
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Run a method on CHECKPOINT and write the unlearned model; the input file is not touched.

    Args:
        output: where to write; by default beside the input, named after method and request; `-` is standard output.
        settings: the method's own, by name.
        log: a CSV file for the trajectory: a row per epoch, with the accuracy on forget and selection set.
        selection_fraction: part of the test images set aside where the method, or the log, needs a selection set.
        lists: lists that earlier steps forgot and that the checkpoint's record keeps by their digest alone.
        plain: what a state dict without a record does not say of itself.

    Raises:
        UnlearnError: among all else, a method that changed no tensor, unless all of it was asked for before.
    """
    chosen = methods.get(method)
    if not request:
        raise UnlearnError("nothing to forget was named.", "pass --class NAME or --instances FILE.")
    chosen.check_scope(request.scope)
    values = chosen.parse(settings or {}, request.kind)
    if output:
        store.claim(output, force=options.force, inputs=(checkpoint,))
    loaded = load(checkpoint, plain, options, original=True, erased=request.classes)
    asked, earlier = resolve(request, loaded.folder), loaded.record.lineage
    chosen.check_scope(asked.scope)
    target = requests.after(asked, earlier, loaded.folder, loaded.name, chosen.reads_with(values, asked.kind), lists)
    wanted = requests.recorded(target)
    output = output or _default_name(loaded, method, requests.slug(target))
    store.claim(output, force=options.force, inputs=(checkpoint,))
    if log:
        store.claim(log, force=options.force, inputs=(checkpoint, output), option="--log")

    run, tensors, carved = unlearn(loaded, chosen, values, target, options, selection_fraction, logged=bool(log))
    if unchanged(loaded, tensors) and not requests.is_covered(target, earlier, loaded.folder):
        raise UnlearnError(f"{method} changed no tensor of {loaded.name}: it stopped at {run.stopped_by}.",
                           "choose other settings or another method; `unlearn evaluate` shows what the model knows.")  # fmt: skip
    meant = requests.meant_by([target, *requests.resolvable(earlier, loaded.folder, lists)], loaded.folder)
    found = duplicates.copies_of(loaded, meant, options)
    step = Step(
        operation="forget",
        method=chosen.name,
        settings=values | run.settled,
        request=wanted,
        selection_fraction=carved,
        source=Source(name=loaded.name, digest=loaded.checkpoint.digest),
        withheld=len(requests.asked(earlier)),
        **what_happened(run),
    )
    record = moved(loaded.record.after(step), loaded.checkpoint.path, output)
    if run.ranks.first:
        store.write(output, tensors, record, force=options.force)
        if log:
            store.replace_whole(log, lambda temporary: _write_log(run, temporary))
    return _report(loaded, run, chosen, target, output, found, meant)


def _write_log(run: Run, path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        run.trajectory.write(file)


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
    stem = path.name.removesuffix(".safetensors")
    if len(stem.encode()) > LONGEST and (steps := [step for step in loaded.record.lineage if step.source]):
        stem = f"{steps[0].source.name.removesuffix('.safetensors')}.{len(steps)}-steps"
    return str(path.with_name(f"{stem}.{method}-{slug}.safetensors"))


def _report(
    loaded: Loaded, run: Run, chosen: methods.Method, target: Target, output: str, found: Copies, meant: Tensor
) -> Report:
    read = ", ".join(f"{n:,} {name}" for name, n in run.images_read.items()) or "none"
    facts = {
        "method": chosen.name,
        "forgotten": requests.in_words(requests.recorded(target)),
        **target.counts,
        **duplicates.counted(found),
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
        notes=[*loaded.notes, *target.said, *run.notes, *duplicates.said(found, meant)],
        written=output,
    )
