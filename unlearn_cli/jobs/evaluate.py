"""`evaluate`: what a model still knows of what it was to forget, and whether that keeps the limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearn_cli.checkpoints.record import Record, RequestRecord
from unlearn_cli.data.splits import ALL, Request, Split, split
from unlearn_cli.engine.readout import readout
from unlearn_cli.engine.relearning import relearn_curve
from unlearn_cli.engine.run import Options, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.loading import Loaded, Plain, load, original_of
from unlearn_cli.jobs.references import distinct
from unlearn_cli.metrics import policy, registry, verdict
from unlearn_cli.metrics.registry import Curves, Evidence, Outputs
from unlearn_cli.metrics.report import Measure, Report, Row

ANYWHERE = ("test_accuracy", "top_two_accuracy")
"""Metrics of a model that nobody asked to forget."""
STEPS, LOOK = 20, 5
"""Of training on retain images in a revival, and between two looks: what bad statistics hide comes back in five."""


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
    record: str | None = None,
    request: Request = Request(),
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Measure CHECKPOINT on all its images and judge the limits.

    Args:
        original: the model before it forgot; for `verify` by default the file that the record names, found beside it.
        references: models trained without the forget set.
        shadows: models that were trained with the forget set and forgot it by the same method, with other seeds.
        verify: "full" or "output", the levels of the built-in policy that are asked for (`metrics.policy`).
        require: further limits such as `forget_test_accuracy<=0.01` or `forget_accuracy=reference±0.05`.
        record: a JSON file for the deletion record: the request, the models, the data and the numbers.
        request: what was to be forgotten, where the checkpoint does not remember it.
    """
    limits = verdict.parse(require)
    if verify not in (None, *policy.VERIFY):
        raise UnlearnError(f"--verify {verify} is not known.", f"it is one of {', '.join(policy.VERIFY)}.")
    if record is not None:
        from unlearn_cli.jobs import deletion  # `forget` must not wait for it

        deletion.claim(record, [checkpoint, *references, *([original] if original else [])], options)
    loaded = load(checkpoint, plain, options)
    case = open_case(loaded, request)
    if case.request is not None:
        verdict.check_measurable(limits, bool(references), bool(original or verify), case.is_class, has_passes=True,
                                 has_shadow=bool(shadows))  # fmt: skip
    elif verify or record is not None or any(limit.metric not in ANYWHERE for limit in limits):
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    before = original_of(loaded, plain, options, original) if original or verify else None
    subjects = [loaded, before] if before else [loaded]
    others = distinct([load(name, plain, options, loaded) for name in references], subjects, case.splits.get("forget"))
    shadowing = distinct([load(name, plain, options, loaded) for name in shadows], subjects, None, "shadow")
    if verify:
        limits = policy.limits(verify, case.is_class, len(others)) + limits

    own = read(loaded, options)
    against = [read(other, options) for other in others]
    base = read(before, options) if before else None
    beside = [read(shadow, options) for shadow in shadowing]
    asked = {limit.metric for limit in limits}
    asked |= {name for name, metric in registry.known().items() if shadows and "shadow" in metric.needs}
    names = [name for name, metric in registry.known().items() if not metric.is_costly or name in asked]
    needs = {need for name in names for need in registry.known()[name].needs}
    extra = {"random_logits": untrained(loaded, case, options) if "random" in needs else None, "shadows": beside}

    def row(model: Loaded, outputs: Outputs, role: str) -> Row:
        others = [x for x in against if x is not outputs]
        more = extra | ({"curves": revival(model, case, options)} if "revival" in needs else {})
        return Row(model.name, role, measures(model, outputs, case, base, others, options.seed, names, **more))

    rows = [row(before, base, "original")] if before else []
    rows += [row(other, outputs, "reference") for other, outputs in zip(others, against, strict=True)]
    changed = case.request is None or loaded.record.request == case.request
    mine = row(loaded, own, "unlearned" if changed else "evaluated")
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


def untrained(model: Loaded, case: Case, options: Options) -> Tensor:
    """(n_forget, K) logits that a network of this architecture with random weights gives the forget set."""
    run = model.run(options)
    with run.adopted(model.model, model.head) as network:
        forget = Split("forget", model.folder.images, case.splits["forget"])
        return run.logits(run.newborn(network, "zrf"), forget, "random network").float().cpu()


def revival(model: Loaded, case: Case, options: Options) -> dict[str, Curves]:
    """What comes back of the forgotten while a model goes on training for a few steps on retain images alone."""
    held = "forget_test" if case.is_class else "forget"
    retain, held = (Split(name, model.folder.images, case.splits[name]) for name in ("retain", held))
    if len(held) == 0 or len(retain) == 0:
        return {}
    run = model.run(options)
    try:
        with deterministic(run), run.adopted(model.model, model.head) as network:
            curve = relearn_curve(run, network, None, retain, held, case.forgotten, steps=STEPS, every=LOOK, seeds=1)
    except UnlearnError as error:  # a training that diverges says nothing; the other numbers stand
        model.notes.append(f"{model.name}, trained on retain images: {error.problem}")
        return {}
    return {"retain": Curves(*curve)}


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
