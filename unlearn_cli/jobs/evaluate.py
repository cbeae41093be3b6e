"""`evaluate`: what a model still knows of what it was to forget, and whether that keeps the limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearn_cli.checkpoints.record import Record, RequestRecord
from unlearn_cli.data.splits import ALL, Request, split
from unlearn_cli.engine.readout import readout
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import attacks, requests
from unlearn_cli.jobs.loading import Loaded, Plain, load, original_of
from unlearn_cli.jobs.references import distinct
from unlearn_cli.metrics import blocks as by_block
from unlearn_cli.metrics import policy, registry, relearning, requirements, verdict
from unlearn_cli.metrics.registry import Evidence, Outputs
from unlearn_cli.metrics.report import Measure, Report, Row

ANYWHERE = ("test_accuracy", "top_two_accuracy")
"""Metrics of a model that nobody asked to forget."""


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
    shadows: Sequence[str] = (),
    verify: str | None = None,
    require: Sequence[str] = (),
    blocks: bool = False,
    record: str | None = None,
    request: Request = Request(),
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Measure CHECKPOINT on all its images and judge the limits.

    Args:
        original: the model before it forgot; for `verify` and `blocks` by default the file that the record names, found beside.
        references: models trained without the forget set.
        shadows: models that were trained with the forget set and forgot it by the same method, with other seeds.
        verify: "full" or "output", the levels of the built-in policy that are asked for (`metrics.policy`).
        require: further limits such as `forget_test_accuracy<=0.01` or `forget_accuracy=reference±0.05`.
        blocks: whether to compare the networks block by block with the original's and the references'.
        record: a JSON file for the deletion record: the request, the models, the data and the numbers.
        request: what was to be forgotten, where the checkpoint does not remember it.
    """
    limits = requirements.parse(require)
    policy.check(verify)
    if record is not None:
        from unlearn_cli.jobs import deletion  # `forget` must not wait for it

        deletion.claim(record, [checkpoint, *references, *([original] if original else [])], options)
    loaded = load(checkpoint, plain, options)
    case = open_case(loaded, request)
    if case.request is not None:
        requirements.check_measurable(limits, bool(references), bool(original or verify or blocks), case.is_class,
                                      has_passes=True, has_shadow=bool(shadows))  # fmt: skip
    elif verify or blocks or record is not None or any(limit.metric not in ANYWHERE for limit in limits):
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    before = original_of(loaded, plain, options, original) if original or verify or blocks else None
    subjects = [loaded, before] if before else [loaded]
    others = distinct([load(name, plain, options, loaded) for name in references], subjects, case.splits.get("forget"))
    shadowing = distinct([load(name, plain, options, loaded) for name in shadows], subjects, None, "shadow")
    if blocks and not (before or others):
        raise UnlearnError("--blocks compares with other models, and there is none.", "pass --original or --reference.")
    if verify:
        limits = policy.limits(verify, case.is_class, len(others)) + limits

    changed = case.request is None or loaded.record.request == case.request
    models = [*([before] if before else []), *others, loaded]
    roles = ["original"] * bool(before) + ["reference"] * len(others) + ["unlearned" if changed else "evaluated"]
    outputs = [read(model, options) for model in models]
    base = outputs[0] if before else None
    beside = [read(shadow, options) for shadow in shadowing]
    names = measured({limit.metric for limit in limits}, case, bool(shadows), blocks)
    more = attacks.attacked(models, roles, case, names, options)

    def row(i: int) -> Row:
        rest = [x for j, x in enumerate(outputs) if roles[j] == "reference" and j != i]
        found = measures(models[i], outputs[i], case, base, rest, options.seed, names, shadows=beside, **more[i])
        return Row(models[i].name, roles[i], found)

    *rows, mine = map(row, range(len(models)))
    judged = verdict.judge(
        limits, mine.measures, [r.measures for r in rows if r.role == "reference"],
        next((r.measures for r in rows if r.role == "original"), None),
    )  # fmt: skip
    report = Report(
        command="evaluate",
        title=f"{loaded.name}: {'forgot' if changed else 'what it knows of'} {requests.in_words(case.request)}",
        facts=facts(loaded, case, options),
        columns=registry.columns(names, case.is_class),
        rows=[*rows, mine],
        series=by_block.series([*rows, mine]) if blocks else [],
        limits=judged.limits,
        verdict=judged.verdict,
        notes=[note for model in [loaded, *others, *shadowing, *([before] if before else [])] for note in model.notes],
        exit_code=judged.exit_code,
    )
    if record is not None:
        deletion.write(record, report, case, loaded, before, others, plain.test_fraction, options)
    return report


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
    try:
        logits, features = readout(model.run(options), model.model, model.head, model.folder, tensors, model.name)
    except UnlearnError as error:  # of several models, which
        raise UnlearnError(f"{model.name}: {error.problem}", error.hint) from None
    return Outputs(logits, features, {name: tensors[name] for name, _ in model.model.named_parameters()})


def measured(asked: set[str], case: Case, shadows: bool, blocks: bool) -> list[str]:
    """The metrics of a report: what costs nothing more, and of the others those asked for and what comes with them."""
    known = registry.known()
    asked |= {name for name in known if shadows and "shadow" in known[name].needs}
    asked |= set(by_block.NAMES) if blocks else set()
    for arm in attacks.arms(asked, case.is_class):
        asked |= {name for name in relearning.measured_by(arm, case.is_class) if "curves" in known[name].needs}
    return [name for name, metric in known.items() if not metric.is_costly or name in asked]


def measures(
    model: Loaded, own: Outputs, case: Case, original: Outputs | None, references: list[Outputs], seed: int,
    names: Sequence[str], **extra: Any,
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
        **extra,
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
