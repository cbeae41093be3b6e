"""`forget`: a copy of a checkpoint without the influence of the named classes or images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn_cli import methods
from unlearn_cli.cases import duplicates, requests
from unlearn_cli.cases.evidence import beside, gathered
from unlearn_cli.cases.loading import Loaded, Plain, load
from unlearn_cli.cases.unlearning import SELECTION, unchanged, unlearn, what_happened
from unlearn_cli.checkpoints import hub, store
from unlearn_cli.checkpoints.evidence import Evidence, Meant
from unlearn_cli.checkpoints.folder_writing import write_folder
from unlearn_cli.checkpoints.record import Record, RequestRecord, Step, folder_from, folder_to
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
    keep_evidence: bool = False,
    selection_fraction: float = SELECTION,
    lists: Sequence[Request] = (),
    evidence: str | None = None,
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Run a method on CHECKPOINT and write the unlearned model; the input file is not touched.

    Args:
        output: where to write; by default beside the input, named after method and request; `-` is standard output. Of a
            folder a folder is made, unless a name ends in `.safetensors`.
        settings: the method's own, by name.
        log: a CSV file for the trajectory: a row per epoch, with the accuracy on forget and selection set.
        keep_evidence: write beside the output which images all its requests mean, for when these are erased.
        selection_fraction: part of the test images set aside where the method, or the log, needs a selection set.
        lists: lists that earlier steps forgot and that the checkpoint's record keeps by their digest alone.
        evidence: what an earlier step kept; by default the file beside the checkpoint.
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
        _claim(output, checkpoint, log, evidence, keep_evidence, options.force, _is_folder(checkpoint, output))
    loaded = load(checkpoint, plain, options, original=True, erased=request.classes, evidence=evidence)
    asked, earlier = resolve(request, loaded.folder), loaded.record.lineage
    chosen.check_scope(asked.scope)
    reads, kept = chosen.reads_with(values, asked.kind), loaded.evidence
    target = requests.after(asked, earlier, loaded.folder, loaded.name, reads, lists, kept)
    wanted = requests.recorded(target)
    output = output or _default_name(loaded, method, requests.slug(target))
    as_folder = _is_folder(checkpoint, output)
    _claim(output, checkpoint, log, evidence, keep_evidence, options.force, as_folder)
    before = requests.resolvable(earlier, loaded.folder, lists, kept)
    meant = _evidence(wanted, target, loaded, lists) if keep_evidence else []

    run, tensors, carved = unlearn(loaded, chosen, values, target, options, selection_fraction, bool(log), settings or {})
    if unchanged(loaded, tensors) and not requests.is_covered(target, earlier, loaded.folder, kept):
        raise UnlearnError(f"{method} changed no tensor of {loaded.name}: it stopped at {run.stopped_by}.",
                           "choose other settings or another method; `unlearn evaluate` shows what the model knows.")  # fmt: skip
    tensors = loaded.network.as_file(tensors, prefixed=as_folder)
    positions = requests.meant_by([target, *before], loaded.folder)
    found = duplicates.copies_of(loaded, positions, options)
    sidecar = Evidence(checkpoint=store.digest(tensors), requests=meant).signed() if keep_evidence else None
    step = Step(
        operation="forget",
        method=chosen.name,
        settings=values | run.settled,
        request=wanted,
        selection_fraction=carved,
        source=loaded.source,
        withheld=len(requests.asked(earlier)),
        evidence=sidecar.digest if sidecar else None,
        **what_happened(run),
    )
    record = moved(loaded.record.after(step), loaded.checkpoint.path, output)
    left_behind = []
    if run.ranks.first and as_folder:
        left_behind = write_folder(output, tensors, record, loaded.checkpoint.folder, step.source.name, force=options.force)
    elif run.ranks.first:
        store.write(output, tensors, record, force=options.force)
    if run.ranks.first:
        if sidecar:
            store.replace_whole(beside(output), lambda temporary: temporary.write_bytes(sidecar.to_json()))
        if log:
            store.replace_whole(log, lambda temporary: _write_log(run, temporary))
    said = [*target.said, *(words for one in before for words in one.said), *_unknown(meant), *left_behind]
    return _report(loaded, run, chosen, target, output, found, positions, said, sidecar)


def _is_folder(checkpoint: str, output: str) -> bool:
    """Whether a folder is written: where one was read, unless a file is named."""
    if output == store.PIPE or output.endswith(".safetensors"):
        return False
    return checkpoint.startswith(hub.SCHEME) or Path(checkpoint).is_dir()


def _claim(
    output: str, checkpoint: str, log: str | None, evidence: str | None, keeps: bool, force: bool, as_folder: bool
) -> None:
    """Check that all files may be written, none over an input, none over another and none in a folder that is written."""
    inputs = [checkpoint, *([evidence] if evidence else [])]
    store.claim(output, force=force, inputs=tuple(inputs), folder=as_folder)
    if keeps and output == store.PIPE:
        raise UnlearnError("--keep-evidence writes a file beside the output, and standard output has none beside it.",
                           "name a file with --output.")  # fmt: skip
    inputs.append(output)
    if keeps:
        inputs.append(store.claim(beside(output), force=force, inputs=tuple(inputs)))
    if log:
        store.claim(log, force=force, inputs=tuple(inputs), option="--log")
        places = {Path(name).resolve() for name in inputs}
        if Path(log).resolve() in places or (as_folder and Path(output).resolve() in Path(log).resolve().parents):
            raise UnlearnError(f"--log {log} is written by this command already.", "pass another --log.")


def _evidence(wanted: RequestRecord, target: Target, loaded: Loaded, lists: Sequence[Request]) -> list[Meant]:
    """What is kept of the lineage's requests and of this one, in their order."""
    folder, kept = loaded.folder, loaded.evidence
    asked = requests.asked(loaded.record.lineage, requests.paths_of(lists, folder), kept)
    on_folder = [
        requests.target_of(one, folder, loaded.name, kept) if one.classes or one.instances is not None else None for one in asked
    ]
    pairs = list(zip(asked, on_folder, strict=True))
    if wanted.key not in {one.key for one in asked}:
        whole = wanted.model_copy(update={"instances": list(target.paths)}) if target.paths else wanted
        pairs.append((whole, target))
    return gathered(pairs, folder, kept)


def _unknown(meant: Sequence[Meant]) -> list[str]:
    """What to say of lists whose images could not be kept."""
    lost = [one.request for one in meant if not one.request.classes and one.request.instances is None]
    return [f"the evidence lacks {requests.in_words(one)} of an earlier step: pass the list, --forgotten FILE" for one in lost]


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
    stem, end = path.name.removesuffix(".safetensors"), "" if loaded.checkpoint.folder else ".safetensors"
    if len(stem.encode()) > LONGEST and (steps := [s for s in loaded.record.lineage if s.source and s.operation != "train"]):
        stem = f"{steps[0].source.name.removesuffix('.safetensors')}.{len(steps)}-steps"
    return str(path.with_name(f"{stem}.{method}-{slug}{end}"))


def _report(
    loaded: Loaded, run: Run, chosen: methods.Method, target: Target, output: str, found: Copies, meant: Tensor,
    said: Sequence[str], sidecar: Evidence | None,
) -> Report:  # fmt: skip
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
        **({"evidence": beside(output)} if sidecar else {}),
    }
    return Report(
        command="forget",
        title=f"{loaded.name}: {chosen.title}",
        facts=facts,
        notes=[*loaded.notes, *said, *run.notes, *duplicates.said(found, meant)],
        written=output,
    )
