"""`relearn`: how many short epochs of training bring the forgotten back, beside models that never knew it."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from unlearn_cli import settings as declared_settings
from unlearn_cli.data.splits import ALL, Request, Split, split
from unlearn_cli.engine.relearning import relearn_epochs
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.loading import Plain, load, original_of
from unlearn_cli.jobs.references import distinct
from unlearn_cli.metrics import registry
from unlearn_cli.metrics.report import Measure, Report, Row


def relearn(
    checkpoint: str,
    *,
    original: str | None = None,
    references: Sequence[str] = (),
    request: Request = Request(),
    settings: dict[str, Any] | None = None,
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Train copies of CHECKPOINT and of the references on, until each knows the forget set as the original does.

    Args:
        original: the model before it forgot; by default the file that the checkpoint's record names, found beside it.
        settings: of the training, by name (`engine.relearning.relearn_epochs`).
    """
    known = declared_settings.declared(relearn_epochs)
    given = declared_settings.parse(known, settings or {}, "relearn")
    values = {name: setting.default for name, setting in known.items()} | given
    loaded = load(checkpoint, plain, options)
    found = requests.asked(request, loaded.record, loaded.folder)
    if found is None:
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    before = original_of(loaded, plain, options, original)
    if before is None:
        raise UnlearnError(f"the original of {loaded.name} is not beside it.", "pass --original FILE.")
    splits = split(loaded.folder, found[0], reads=ALL)
    held = splits.forget_test if splits.forgotten else splits.forget
    if len(held) == 0:
        raise UnlearnError("the forgotten classes have no test images to look at.", "add some under test/.")
    others = distinct([load(name, plain, options, loaded) for name in references], [loaded, before], splits.forget.index)

    run = before.run(options)
    with run.adopted(before.model, before.head):
        _check_outputs(run, before.model, held, before.name)
        target = run.correct(before.model, held)
    rows = [Row(before.name, "original", {"relearn_epochs": Measure(0.0, detail={"accuracy": target / len(held)})})]
    for model, role in [*((other, "reference") for other in others), (loaded, "unlearned")]:
        run = model.run(options)
        with deterministic(run), run.adopted(model.model, model.head) as network:
            _check_outputs(run, network, held, model.name)
            epochs, curve = relearn_epochs(run, network, splits.train, held, target, **values)
        detail = {"accuracy_before": curve[0] / len(held), "accuracy_after": curve[-1] / len(held)}
        rows.append(Row(model.name, role, {"relearn_epochs": _measure(epochs, values["cap"], detail)}))
    facts = {
        "forgotten": requests.in_words(found[1]),
        "looked_at": f"{len(held):,} images of {held.name}",
        "original_accuracy": round(target / len(held), 4),
        "each_epoch": f"{values['samples']} images of the whole training set, SGD {values['lr']}, "
        f"batches of {values['batch_size']}, train mode",
        "cap": values["cap"],
        "seed": options.seed,
    }
    return Report(
        command="relearn",
        title=f"{loaded.name}: short epochs until {requests.in_words(found[1])} is known again",
        facts=facts,
        columns=registry.columns(["relearn_epochs"], bool(splits.forgotten)),
        rows=rows,
        notes=[note for model in [loaded, before, *others] for note in model.notes],
    )


def _check_outputs(run: Run, network: nn.Module, held: Split, name: str) -> None:
    """Refuse a model that answers with no numbers: it would never relearn, as if it had forgotten."""
    if not bool(run.logits(network, held, "checking").amax(1).isfinite().all()):
        raise UnlearnError(f"{name}: the network's outputs are not finite.", "the checkpoint is damaged, or its training diverged.")


def _measure(epochs: int | None, cap: int, detail: dict[str, float]) -> Measure:
    if epochs is None:
        return Measure(float(cap), detail=detail, more_than=True)
    return Measure(float(epochs), detail=detail)
