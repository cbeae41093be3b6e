"""`forget`: a copy of a checkpoint without the influence of the named classes or images."""

from pathlib import Path
from typing import Any

from unlearn_cli import methods
from unlearn_cli.cases import requests
from unlearn_cli.cases.loading import Loaded, Plain, load
from unlearn_cli.cases.unlearning import SELECTION, unlearn, what_happened
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record, RequestRecord, Source, Step, folder_from, folder_to
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.report import Report


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
    if not request:
        raise UnlearnError("nothing to forget was named.", "pass --class NAME or --instances FILE.")
    chosen.check_scope(request.scope)
    values = chosen.parse(settings or {}, request.kind)
    if output:
        store.claim(output, force=options.force, inputs=(checkpoint,))
    loaded = load(checkpoint, plain, options)
    target = resolve(request, loaded.folder)
    wanted = requests.recorded(target, loaded.folder)
    chosen.check_scope(target.scope)
    output = output or _default_name(loaded, method, requests.slug(target))
    store.claim(output, force=options.force, inputs=(checkpoint,))
    if log:
        store.claim(log, force=options.force, inputs=(checkpoint, output), option="--log")

    run, tensors, carved = unlearn(loaded, chosen, values, target, options, selection_fraction, logged=bool(log))
    step = Step(
        operation="forget",
        method=chosen.name,
        settings=values | run.settled,
        request=wanted,
        selection_fraction=carved,
        source=Source(name=loaded.name, digest=loaded.checkpoint.digest),
        **what_happened(run),
    )
    record = moved(loaded.record.after(step), loaded.checkpoint.path, output)
    if run.ranks.first:
        store.write(output, tensors, record, force=options.force)
        if log:
            store.replace_whole(log, lambda temporary: _write_log(run, temporary))
    return _report(loaded, run, chosen, wanted, output)


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
