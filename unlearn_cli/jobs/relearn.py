"""`relearn`: how soon the forgotten comes back when training goes on, beside models that never knew it."""

from collections.abc import Sequence
from typing import Any

import torch

from unlearn_cli.cases import attacks, requests
from unlearn_cli.cases.case import Case, open_case
from unlearn_cli.cases.loading import Loaded, Plain, load, original_of
from unlearn_cli.cases.measuring import measures
from unlearn_cli.cases.references import distinct
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Options, deterministic
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.metrics import registry, relearning
from unlearn_cli.metrics.registry import Outputs
from unlearn_cli.metrics.report import Measure, Report, Row
from unlearn_cli.settings import Setting, declared, parse
from unlearn_cli.techniques.relearning import relearn_curve, relearn_epochs

ATTACKS = ("epochs", "few-shot", "retain")
"""Training on all training images; on a few forgotten ones among retain images; on retain images alone."""


def settings_of(attack: str) -> dict[str, Setting]:
    """The settings of an attack's training."""
    known = declared(relearn_epochs if attack == "epochs" else relearn_curve)
    return {name: setting for name, setting in known.items() if (attack, name) != ("retain", "shots")}


def relearn(
    checkpoint: str,
    *,
    original: str | None = None,
    references: Sequence[str] = (),
    attack: str = "epochs",
    request: Request = Request(),
    only_last: bool = False,
    lists: Sequence[Request] = (),
    evidence: str | None = None,
    settings: dict[str, Any] | None = None,
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Train copies of CHECKPOINT and of the references on, and see how soon they know the forget set again.

    Args:
        original: the model before it forgot; by default the file that the checkpoint's record names, found beside it.
        attack: one of ATTACKS. "epochs" counts the short epochs until the original's accuracy is back; the others draw the
            accuracy against the steps, for the original as well.
        only_last: of several requests in the checkpoint's lineage, look at the last alone.
        lists: lists that the checkpoint forgot and of which its record keeps the digest alone.
        evidence: what --keep-evidence wrote when it forgot; by default the file beside the checkpoint.
        settings: of the training, by name (`settings_of`).
    """
    if attack not in ATTACKS:
        hint = did_you_mean(attack, ATTACKS) or f"the attacks are {', '.join(ATTACKS)}."
        raise UnlearnError(f"no attack called '{attack}'.", hint)
    known = settings_of(attack)
    owner = "relearn" if attack == "epochs" else f"relearn --attack {attack}"
    values = {name: setting.default for name, setting in known.items()} | parse(known, settings or {}, owner)
    loaded = load(checkpoint, plain, options, erased=request.classes, evidence=evidence)
    # The epochs are counted on every test image of the classes, as the papers do; curves on those that `evaluate` looks at.
    asked = open_case(loaded, request, 0.0 if attack == "epochs" else None, only_last, lists)
    case = asked.case
    loaded.notes += asked.notes
    if asked.kinds > 1:
        loaded.notes.append(f"of all that was asked, {case.words} alone is looked at")
    if case.request is None:
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    before = original_of(loaded, plain, options, original)
    if before is None:
        raise UnlearnError(f"the original of {loaded.name} is not beside it.", "pass --original FILE.")
    forget, _, held = attacks.parts(loaded, case)
    root, names = loaded.folder.root, case.words if case.kind == "classes" else "the list"
    if len(held) == 0:
        what, hint = ("test images", "add some under test/, or look") if case.kind == "classes" else ("images", "look")
        raise UnlearnError(f"there are no {what} to look at: none of {names} is left in {root}.",
                           f"{hint} at relearning before images are erased.")  # fmt: skip
    if len(forget) == 0 and attack != "retain":
        raise UnlearnError(f"no training image of {names} is left in {root}: there is nothing to relearn from.",
                           "--attack retain needs none of them.")  # fmt: skip
    others = distinct([load(name, plain, options, loaded) for name in references], [loaded, before], asked)
    models = [before, *others, loaded]
    for model in models:
        check_outputs(model, held, options)
    if attack == "epochs":
        return epochs_report(models, case, held, values, options)
    return curves_report(models, case, held, attack.replace("-", "_"), values, options)


def check_outputs(model: Loaded, held: Split, options: Options) -> None:
    """Refuse a model that answers with no numbers: it would never relearn, as if it had forgotten."""
    run = model.run(options)
    with run.adopted(model.model, model.head) as network:
        logits = run.logits(network, held, "checking")
    if not bool(logits.amax(1).isfinite().all()):
        raise UnlearnError(f"{model.name}: the network's outputs are not finite.",
                           "the checkpoint is damaged, or its training diverged.")  # fmt: skip


def epochs_report(models: Sequence[Loaded], case: Case, held: Split, values: dict[str, Any], options: Options) -> Report:
    """Short epochs until each model knows as much as the first one, the original, does."""
    before, *others = models
    run = before.run(options)
    with run.adopted(before.model, before.head):
        target = run.correct(before.model, held)
    if target == 0:
        measured = [Measure(None, "the original gets none of these images right: there is nothing to relearn")] * len(models)
    else:
        measured = [Measure(0.0, detail={"accuracy": target / len(held)})]
        measured += [epochs_of(model, case, held, target, values, options) for model in others]
    rows = [
        Row(model.name, role, {"relearn_epochs": found})
        for model, role, found in zip(models, roles_of(models), measured, strict=True)
    ]
    facts = {
        "original_accuracy": round(target / len(held), 4),
        "each_epoch": f"{values['samples']} images of the whole training set, SGD {values['lr']}, "
        f"batches of {values['batch_size']}, train mode",
        "cap": values["cap"],
    }
    return Report(
        command="relearn",
        title=f"{models[-1].name}: short epochs until {requests.in_words(case.request)} is known again",
        facts=about(case, held) | facts | {"seed": options.seed},
        columns=registry.columns(["relearn_epochs"], case.kind),
        rows=rows,
        notes=notes_of(models),
    )


def epochs_of(model: Loaded, case: Case, held: Split, target: int, values: dict[str, Any], options: Options) -> Measure:
    """How many short epochs a model needs until it gets `target` of the images right, or that it needs more than the cap."""
    run, train = model.run(options), Split("train", model.folder.images, case.splits["train"], case.target.task)
    with deterministic(run), run.adopted(model.model, model.head) as network:
        epochs, curve = relearn_epochs(run, network, train, held, target, **values)
    detail = {"accuracy_before": curve[0] / len(held), "accuracy_after": curve[-1] / len(held)}
    return Measure(float(values["cap"] if epochs is None else epochs), detail=detail, more_than=epochs is None)


def curves_report(
    models: Sequence[Loaded], case: Case, held: Split, arm: str, values: dict[str, Any], options: Options
) -> Report:
    """The accuracy of every model against the steps of training, and what the metrics make of it."""
    each = [attacks.draw(model, case, arm, options, **values) for model in models]
    for curves in each:
        if isinstance(curves, str):
            raise UnlearnError(f"{curves}.", "take fewer --set shots, or --attack retain, which needs none.")
    names, roles = relearning.measured_by(arm, case.kind), roles_of(models)
    references = [i for i, role in enumerate(roles) if role == "reference"]
    nothing = Outputs(torch.empty(0, 1), torch.empty(0, 1), {})  # the curves say it all: no readout is needed
    rows = []
    for i, (model, role) in enumerate(zip(models, roles, strict=True)):
        curves = {arm: attacks.beside(each, i, 0, references)}
        rows.append(Row(model.name, role, measures(model, nothing, case, None, [], options.seed, names, curves=curves)))
    facts = {
        "trained_on": trained_on(arm, values),
        "each_step": f"a batch of {values['batch_size']}, SGD {values['lr']}, momentum {values['momentum']}",
        "trainings": values["seeds"],
    }
    facts = about(case, held) | facts | {"seed": options.seed}
    return Report(
        command="relearn",
        title=f"{models[-1].name}: how soon {requests.in_words(case.request)} is known again",
        facts=facts,
        columns=registry.columns(names, case.kind),
        rows=rows,
        series=[relearning.series(arm, f"accuracy on {facts['looked_at']}, by step of training", each)],
        notes=notes_of(models),
    )


def roles_of(models: Sequence[Loaded]) -> list[str]:
    return ["original", *["reference"] * (len(models) - 2), "unlearned"]


def notes_of(models: Sequence[Loaded]) -> list[str]:
    *others, judged = models
    return [note for model in [judged, *others] for note in model.notes]


def about(case: Case, held: Split) -> dict[str, str]:
    return {"forgotten": requests.in_words(case.request), "looked_at": f"{len(held):,} images of {held.name}"}


def trained_on(arm: str, values: dict[str, Any]) -> str:
    if arm == "retain":
        return "retain images alone"
    few = "1 image" if values["shots"] == 1 else f"{values['shots']} images"
    return f"{few} of each class of the forget set, half of each batch, and retain images"
