"""`evaluate`: what a model still knows of what it was to forget, and whether that keeps the limits."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_cli.checkpoints.record import Record, RequestRecord
from unlearn_cli.data.splits import ALL, Request, split
from unlearn_cli.engine.readout import readout
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.loading import Loaded, Plain, load
from unlearn_cli.metrics import registry, verdict
from unlearn_cli.metrics.registry import Evidence, Outputs
from unlearn_cli.metrics.report import Measure, Report, Row

ELSEWHERE = ("relearn_epochs",)
"""Metrics that another command measures."""


@dataclass
class Case:
    """A request on open data: the split positions that every metric reads."""

    splits: dict[str, Tensor]
    forgotten: tuple[int, ...]
    request: RequestRecord | None

    @property
    def is_class(self) -> bool:
        return bool(self.forgotten)


def evaluate(
    checkpoint: str,
    *,
    original: str | None = None,
    references: Sequence[str] = (),
    require: Sequence[str] = (),
    request: Request = Request(),
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Measure CHECKPOINT on all its images and judge the limits.

    Args:
        original: the model before it forgot; references: models trained without the forget set.
        require: limits such as `forget_test_accuracy<=0.01` or `forget_accuracy=reference±0.05`.
        request: what was to be forgotten, where the checkpoint does not remember it.
    """
    limits = verdict.parse(require)
    loaded = load(checkpoint, plain, options)
    case = open_case(loaded, request)
    if case.request is not None:
        verdict.check_measurable(limits, bool(references), bool(original), case.is_class)
    elif limits and any(limit.metric not in ("test_accuracy",) for limit in limits):
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    others = [load(name, plain, options, loaded) for name in references]
    before = load(original, plain, options, loaded) if original else None

    own = read(loaded, options)
    against = [read(other, options) for other in others]
    base = read(before, options) if before else None
    names = [name for name in registry.known() if name not in ELSEWHERE]

    def row(model: Loaded, outputs: Outputs, role: str) -> Row:
        beside = [x for x in against if x is not outputs]
        return Row(model.name, role, measures(model, outputs, case, base, beside, options.seed, names))

    rows = [row(before, base, "original")] if before else []
    rows += [row(other, outputs, "reference") for other, outputs in zip(others, against, strict=True)]
    changed = case.request is None or loaded.record.request == case.request
    mine = row(loaded, own, "unlearned" if changed else "evaluated")
    judged = verdict.judge(
        limits, mine.measures, [r.measures for r in rows if r.role == "reference"],
        next((r.measures for r in rows if r.role == "original"), None),
    )  # fmt: skip
    return Report(
        command="evaluate",
        title=f"{loaded.name}: {'forgot' if changed else 'what it knows of'} {requests.in_words(case.request)}",
        facts=facts(loaded, case, options),
        columns=registry.columns(names, case.is_class),
        rows=[*rows, mine],
        limits=judged.limits,
        verdict=judged.verdict,
        notes=[note for model in [loaded, *others, *([before] if before else [])] for note in model.notes],
        exit_code=judged.exit_code,
    )


def selection_of(record: Record) -> float:
    """The share of the test images that chose something on the way to this model, and says nothing of it any more."""
    return max((step.selection_fraction for step in record.lineage), default=0.0)


def open_case(loaded: Loaded, given: Request, carved: float | None = None) -> Case:
    """The splits of the request that was given or is remembered; without any, train and test alone.

    Args:
        carved: the share of the test images that is left out; by default what the model's own lineage set aside.
    """
    found = requests.asked(given, loaded.record, loaded.folder)
    if found is None:
        test = loaded.folder.images.test
        return Case({"train": (~test).nonzero()[:, 0], "test": test.nonzero()[:, 0]}, (), None)
    carved = selection_of(loaded.record) if carved is None else carved
    splits = split(loaded.folder, found[0], reads=ALL, selection_fraction=carved)
    return Case({name: getattr(splits, name).index for name in ALL}, splits.forgotten, found[1])


def read(model: Loaded, options: Options) -> Outputs:
    """What a model says of all images, without a pass where its backbone has read these images before."""
    tensors = model.checkpoint.tensors
    logits, features = readout(model.run(options), model.model, model.head, model.folder, tensors, model.name)
    return Outputs(logits, features, {name: tensors[name] for name, _ in model.model.named_parameters()})


def measures(
    model: Loaded, own: Outputs, case: Case, original: Outputs | None, references: list[Outputs], seed: int,
    names: Sequence[str],
) -> dict[str, Measure]:  # fmt: skip
    step = model.record.last
    evidence = Evidence(
        model=own,
        labels=model.folder.images.labels,
        splits=case.splits,
        forgotten=case.forgotten,
        original=original,
        references=references,
        seed=seed,
        forget_seconds=step.seconds if step and step.operation == "forget" else None,
    )
    return registry.measure(evidence, names)


def facts(model: Loaded, case: Case, options: Options) -> dict[str, str]:
    """What was looked at, for the head of a report."""
    sizes = ", ".join(f"{len(index):,} {name}" for name, index in case.splits.items() if len(index) and name != "train")
    step = model.record.last
    return {
        "data": str(model.folder.root),
        "images": sizes,
        "last_step": f"{step.operation} by {step.method}" if step else "not recorded",
        "digest": model.checkpoint.digest[:16],
        "threads": torch.get_num_threads(),
    }
