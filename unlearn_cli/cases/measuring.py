"""What a model says of all images, and the metrics of it that a case asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from unlearn_cli.cases import attacks
from unlearn_cli.cases.case import Case
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.engine.readout import readout
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics import blocks as by_block
from unlearn_cli.metrics import registry, relearning
from unlearn_cli.metrics.registry import Evidence, Outputs
from unlearn_cli.metrics.report import Measure, Row


@dataclass(frozen=True)
class Subjects:
    """The models of an evaluation, the judged one last.

    Args:
        roles: of each; outputs: what each says of all images; shadows: what the shadow models say.
    """

    models: list[Loaded]
    roles: list[str]
    outputs: list[Outputs]
    shadows: list[Outputs] = field(default_factory=list)


def rows_of(case: Case, subjects: Subjects, names: Sequence[str], options: Options) -> list[Row]:
    """The metrics of these names of every model, beside the others."""
    models, roles, outputs = subjects.models, subjects.roles, subjects.outputs
    more = attacks.attacked(models, roles, case, names, options)
    base = outputs[roles.index("original")] if "original" in roles else None

    def row(i: int) -> Row:
        rest = [x for j, x in enumerate(outputs) if roles[j] == "reference" and j != i]
        found = measures(models[i], outputs[i], case, base, rest, options.seed, names, shadows=subjects.shadows, **more[i])
        return Row(models[i].name, roles[i], found)

    return [row(i) for i in range(len(models))]


def read(model: Loaded, options: Options) -> Outputs:
    """What a model says of all images, without a pass where its backbone has read these images before."""
    tensors = model.checkpoint.tensors
    try:
        logits, features = readout(model.run(options), model.model, model.head, model.folder, tensors, model.name,
                                   model.computes)  # fmt: skip
    except UnlearnError as error:  # of several models, which
        raise UnlearnError(f"{model.name}: {error.problem}", error.hint) from None
    head = tensors[f"{model.head}.weight"], tensors.get(f"{model.head}.bias")
    return Outputs(logits, features, {name: tensors[name] for name, _ in model.model.named_parameters()}, head)


def measured(asked: set[str], case: Case, shadows: bool, blocks: bool) -> list[str]:
    """The metrics of a report: what costs nothing more, and of the others those asked for and what comes with them."""
    known = registry.known()
    asked |= {name for name in known if shadows and "shadow" in known[name].needs}
    asked |= set(by_block.NAMES) if blocks else set()
    for arm in attacks.arms(asked, case.kind):
        asked |= {name for name in relearning.measured_by(arm, case.kind) if "curves" in known[name].needs}
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
        names=tuple(model.record.classes),
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
