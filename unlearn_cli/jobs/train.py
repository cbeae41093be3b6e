"""`train`: a classifier from a folder of images, or its retrained counterparts without some of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unlearn_cli import models
from unlearn_cli.cases import requests
from unlearn_cli.cases.folders import open_images
from unlearn_cli.cases.loading import load
from unlearn_cli.cases.strangers import Plain, arch_and_settings
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Step
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.jobs import retraining
from unlearn_cli.jobs.training import planned, summary, train_once
from unlearn_cli.metrics.report import Report
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import Recipe, adjusted

ARCH = "resnet18"
"""Where nothing else is said."""


def train(
    data: str | None,
    output: str,
    *,
    arch: str | None = None,
    epochs: int | None = None,
    without: Request = Request(),
    without_forgotten: bool = False,
    lists: Sequence[Request] = (),
    evidence: str | None = None,
    references: int | None = None,
    like: str | None = None,
    chosen: dict[str, Any] | None = None,
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    resume: bool = False,
    options: Options = Options(),
) -> Report:
    """Train ARCH on DATA and write it to OUTPUT.

    Args:
        data: may be None with `like`, whose folder is taken then.
        without: classes or images that are left out of the training: the result is a retrained (reference) model.
        without_forgotten: leave out all that the checkpoint of `like` was ever asked to forget.
        lists: lists that this checkpoint forgot and of which its record keeps the digest alone.
        evidence: what was kept when it forgot; by default the file beside it.
        references: train so many of them, with the seeds that follow the options', that of `like` left out. Each has a
            file of its own beside OUTPUT (`retraining.targets`); those that an earlier call has written are kept.
        like: a checkpoint by whose record to train: its architecture, recipe and input size.
        chosen: settings of the architecture and of its recipe, by name.
        resume: go on from the state that a killed training left beside OUTPUT.
    """
    own = {"--arch": arch, "--epochs": epochs, "--set": chosen, "--size": size, "--channels": channels}
    if like is not None and (given := [name for name, value in own.items() if value not in (None, {})]):
        raise UnlearnError(f"--like takes from the checkpoint what {given[0]} says.", f"leave out {', '.join(given)} or --like.")
    if like is None and data is None:
        raise UnlearnError("no folder of images was named.", "pass DATA, or --like CHECKPOINT for the images of a checkpoint.")
    if without_forgotten and like is None:
        raise UnlearnError("--without-forgotten leaves out what a checkpoint forgot, and none is named.", "add --like CHECKPOINT.")
    if references is not None:
        retraining.check(references, bool(without) or without_forgotten, output)
    inputs = () if like is None else (like,)
    store.claim(output, force=options.force or references is not None, inputs=inputs)
    taken = set() if like is None else {step.seed for step in _lineage(like)}
    targets = retraining.targets(output, references or 0, options.seed, taken)
    for name in targets.values():
        store.claim(name, force=True, inputs=inputs)

    if like is None:
        arch, arch_settings = arch_and_settings(arch or ARCH)
        architecture = models.find(arch, typed=True)
        recipe, arch_settings = _choose(architecture, arch_settings, (chosen or {}) | ({"epochs": epochs} if epochs else {}))
        channels = channels or (None if architecture.ours else architecture.channels[-1])
        folder = open_images(data, options, size=size, channels=channels, test_fraction=test_fraction)
        apart = left_out(without, folder)
        notes = [*folder.notes, *said(apart)]
        plan = planned(architecture, arch_settings, recipe, folder, test_fraction, apart, output, notes=notes)
    else:
        model = load(like, Plain(data=data, test_fraction=test_fraction), options, evidence=evidence)
        known, fraction = model.record, model.record.data.test_fraction if model.record.data else test_fraction
        apart = left_out(without, model.folder)
        notes = [*model.notes, *said(apart)]
        if without_forgotten:
            apart += requests.known(known.lineage, model.folder, like, lists, model.evidence)
            notes += requests.gone(requests.asked(known.lineage, (), model.evidence), model.folder, model.evidence)
            notes += [words for one in apart for words in one.said]
            if not apart:
                raise UnlearnError(f"{like} has forgotten nothing yet.", "leave out --without-forgotten.")
        elif asked := requests.asked(known.lineage):
            words = requests.all_in_words(asked)
            notes.append(f"{like} forgot {words}: trained on all the same, unless --without-forgotten is given")
        plan = planned(model.architecture, known.architecture_settings, model.recipe(), model.folder, fraction, apart, output,
                     known.head, notes)  # fmt: skip
    if references is not None:
        return retraining.retrain(plan, targets, options, resume)
    done = train_once(plan, output, options, resume)
    facts = summary(plan, [done], options) | {"parameters": done.parameters, "test_accuracy": done.accuracy, "seed": options.seed}
    title = f"Trained {plan.record.architecture}"
    return Report(command="train", title=title, facts=facts, written=output, notes=[*plan.notes, *done.run.notes])


def left_out(without: Request, folder: Folder) -> list[Target]:
    """The classes and the images of a request, each on the folder."""
    kinds = Request(without.classes), replace(without, classes=())
    return [resolve(one, folder) for one in kinds if one]


def said(apart: list[Target]) -> list[str]:
    """How the images of lists were found."""
    return [words for one in apart for words in one.said]


def _lineage(like: str) -> list[Step]:
    """How a checkpoint came to be, its training included."""
    found = store.read(like).record
    if found is None or all(step.operation != "train" for step in found.lineage):
        raise UnlearnError(f"{like} does not say how it was trained.", "leave out --like, and pass DATA, --arch and the recipe.")
    return found.lineage


def _choose(architecture: Architecture, arch_settings: dict[str, Any], chosen: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Settings given with --set belong to the architecture or to its recipe; each name is known to one of them."""
    arch, of_arch, of_recipe = architecture.name, architecture.settings or {}, models.recipe_settings()
    unknown = [name for name in chosen if name not in of_arch and name not in of_recipe]
    if unknown:
        known = [*of_arch, *of_recipe]
        hint = did_you_mean(unknown[0], known) or f"settings: {', '.join(known)}."
        raise UnlearnError(f"training {arch} has no setting called '{unknown[0]}'.", hint)
    arch_settings |= {k: v for k, v in chosen.items() if k in of_arch}
    return adjusted(architecture.recipe, {k: v for k, v in chosen.items() if k in of_recipe}, arch), arch_settings
