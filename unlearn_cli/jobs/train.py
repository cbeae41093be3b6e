"""`train`: a classifier from a folder of images, or its retrained counterparts without some of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unlearn_cli import models
from unlearn_cli.cases import evidence as kept
from unlearn_cli.cases import requests
from unlearn_cli.cases.folders import open_images
from unlearn_cli.cases.loading import load
from unlearn_cli.cases.starts import Start, file_of, numbered_as, open_start, training_of
from unlearn_cli.cases.strangers import Plain, arch_and_settings
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import RequestRecord, Step
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.inputs import Size
from unlearn_cli.jobs import retraining
from unlearn_cli.jobs.training import Plan, planned, summary, train_once
from unlearn_cli.metrics.report import Report
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import Recipe, adjusted, gentle, published

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
    weights: str | None = None,
    pretrained: bool = False,
    recipe: str | None = None,
    chosen: dict[str, Any] | None = None,
    size: Size | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    resume: bool = False,
    options: Options = Options(),
) -> Report:
    """Train ARCH on DATA and write it to OUTPUT.

    Args:
        data: may be None with `like`, whose folder is taken then.
        without: classes or images that are left out of the training: the result is a retrained (reference) model.
        without_forgotten: leave out all that the checkpoint of `like`, or else of `weights`, was ever asked to forget.
        lists: lists that this checkpoint forgot and of which its record keeps the digest alone.
        evidence: what was kept when it forgot; by default the file beside it.
        references: train so many of them, with the seeds that follow the options', that of `like` left out. Each has a
            file of its own beside OUTPUT (`retraining.targets`); those that an earlier call has written are kept.
        like: a checkpoint by whose record to train: its architecture, recipe and input size.
        weights: a checkpoint whose weights to begin with, and whose architecture and input to take; beside `like`, where the one
            lies that this began with.
        pretrained: begin with the weights that the library of `arch` has for it, downloaded; beside `like`, with those that this
            began with.
        recipe: a paper's, whose set-up is the default of all that is not given (`models.recipes.published`).
        chosen: settings of the architecture and of its recipe, by name.
        resume: go on from the state that a killed training left beside OUTPUT.
    """
    own = {"--arch": arch, "--epochs": epochs, "--set": chosen, "--recipe": recipe, "--size": size, "--channels": channels}
    if arch is not None and ".py:" in arch:     # the user's code: no checkpoint says it, as no file may have it run
        del own["--arch"]
    if like is not None and (given := [name for name, value in own.items() if value not in (None, {})]):
        raise UnlearnError(f"--like takes from the checkpoint what {given[0]} says.", f"leave out {', '.join(given)} or --like.")
    if like is None and data is None:
        raise UnlearnError("no folder of images was named.", "pass DATA, or --like CHECKPOINT for the images of a checkpoint.")
    if pretrained and weights is not None:
        raise UnlearnError("--pretrained and --weights both say what to begin with.", "give one of them.")
    if pretrained and like is None and arch is None:
        raise UnlearnError("--pretrained is of a library's network, and none is named.",
                           "add --arch torchvision/NAME or timm/NAME.")  # fmt: skip
    if without_forgotten and like is None and weights is None:
        raise UnlearnError("--without-forgotten leaves out what a checkpoint forgot, and none is named.", "add --like CHECKPOINT.")
    if references is not None:
        retraining.check(references, bool(without) or without_forgotten, output)
    inputs = tuple(name for name in (like, weights) if name is not None)
    store.claim(output, force=options.force or references is not None, inputs=inputs)
    taken = set() if like is None else {step.seed for step in _lineage(like)}
    targets = retraining.targets(output, references or 0, options.seed, taken)
    for name in targets.values():
        store.claim(name, force=True, inputs=inputs)

    forgotten = lists if without_forgotten else None
    if like is not None:
        plan = _like(like, arch, data, weights, pretrained, without, forgotten, evidence, test_fraction, output, options)
    else:
        settings = (chosen or {}) | ({"epochs": epochs} if epochs else {})
        begin = arch_and_settings(arch)[0] if pretrained else weights
        start = open_start(begin, arch, size, channels, pretrained=pretrained) if begin else None
        plan = _anew(data, arch, start, recipe, settings, size, channels, without, forgotten, test_fraction, output, options)
    if references is not None:
        return retraining.retrain(plan, targets, options, resume)
    done = train_once(plan, output, options, resume)
    facts = summary(plan, [done], options) | {"parameters": done.parameters, "test_accuracy": done.accuracy, "seed": options.seed}
    title = f"Trained {plan.record.architecture}"
    return Report(command="train", title=title, facts=facts, written=output, notes=[*plan.notes, *done.run.notes])


def _anew(
    data: str, arch: str | None, start: Start | None, recipe: str | None, chosen: dict[str, Any], size: Size | None,
    channels: int | None, without: Request, forgotten: Sequence[Request] | None, test_fraction: float, output: str,
    options: Options,
) -> Plan:  # fmt: skip
    """A training as the command line says, a paper's recipe where it says nothing, and the architecture's default otherwise."""
    paper = published(recipe) if recipe else None
    notes: list[str] = []
    if start:
        architecture, arch_settings, images = start.architecture, dict(start.settings), start.images
        if paper and arch is None and arch_and_settings(paper.arch)[0] != architecture.name:
            notes.append(f"the recipe of {recipe} is for {paper.arch}; {start.name} is {architecture.name}")
    else:
        name, arch_settings = arch_and_settings(arch or (paper.arch if paper else ARCH))
        architecture = models.find(name, typed=True)
        images = {"size": size or (paper.size if paper else None), "channels": channels}
        images["channels"] = channels or (None if architecture.ours else architecture.channels[-1])
    by = paper.recipe(architecture.recipe) if paper else gentle(architecture.recipe) if start else architecture.recipe
    by, arch_settings = _choose(architecture, by, arch_settings, chosen, start)
    folder = open_images(data, options, test_fraction=test_fraction, **images)
    folder = numbered_as(start, folder) if start else folder
    apart = left_out(without, folder)
    notes += [*folder.notes, *said(apart)]
    if start and forgotten is not None:
        found, more = _forgotten_by(start, folder, forgotten)
        apart, notes = apart + found, notes + more
    elif start and (asked := requests.asked(start.lineage)):
        notes.append(_on_all(start.name, asked))
    head = start.head if start else None
    return planned(architecture, arch_settings, by, folder, test_fraction, apart, output, head, notes, start)


def _like(
    like: str, arch: str | None, data: str | None, weights: str | None, pretrained: bool, without: Request,
    forgotten: Sequence[Request] | None, evidence: str | None, test_fraction: float, output: str, options: Options,
) -> Plan:  # fmt: skip
    """A training as a checkpoint's was, and from the same weights."""
    model = load(like, Plain(arch=arch, data=data, test_fraction=test_fraction), options, evidence=evidence)
    known, fraction = model.record, model.record.data.test_fraction if model.record.data else test_fraction
    source = training_of(known.lineage).source
    if source is None and (given := "--weights" if weights is not None else "--pretrained" if pretrained else ""):
        raise UnlearnError(f"{like} was trained from scratch, and so is what is trained like it.", f"leave out {given} or --like.")
    start = None
    if source is not None:
        begin = source.name if pretrained else file_of(source, model.checkpoint, weights)
        start = open_start(begin, known=(model.architecture, known.architecture_settings), pretrained=pretrained)
        if start.checkpoint.digest != source.digest:
            raise UnlearnError(f"the weights of {source.name} are others now than those that {like} was trained from.",
                               "name a file that has them: --weights FILE.")  # fmt: skip
    apart = left_out(without, model.folder)
    notes = [*model.notes, *said(apart)]
    if forgotten is not None:
        apart += requests.known(known.lineage, model.folder, like, forgotten, model.evidence)
        notes += requests.gone(requests.asked(known.lineage, (), model.evidence), model.folder, model.evidence)
        notes += [words for one in apart for words in one.said]
        if not apart:
            raise UnlearnError(f"{like} has forgotten nothing yet.", "leave out --without-forgotten.")
    elif asked := requests.asked(known.lineage):
        notes.append(_on_all(like, asked))
    return planned(model.architecture, known.architecture_settings, model.recipe(), model.folder, fraction, apart, output,
                   known.head, notes, start)  # fmt: skip


def _forgotten_by(start: Start, folder: Folder, lists: Sequence[Request]) -> tuple[list[Target], list[str]]:
    """What of a folder the start was ever asked to forget, and what to say of it."""
    evidence, notes = kept.of(start.checkpoint, None)
    if not requests.asked(start.lineage):
        raise UnlearnError(f"{start.name} has forgotten nothing yet.", "leave out --without-forgotten.")
    if elsewhere := requests.elsewhere(start.lineage, folder):
        notes.append(f"{start.name} forgot {requests.all_in_words(elsewhere)}, and these images have no such class")
    found = requests.known(start.lineage, folder, start.name, lists, evidence)
    asked = requests.here(requests.asked(start.lineage, (), evidence), folder)
    return found, [*notes, *requests.gone(asked, folder, evidence), *said(found)]


def _on_all(name: str, asked: Sequence[RequestRecord]) -> str:
    return f"{name} forgot {requests.all_in_words(asked)}: trained on all the same, unless --without-forgotten is given"


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


def _choose(
    architecture: Architecture, recipe: Recipe, arch_settings: dict[str, Any], chosen: dict[str, Any], start: Start | None
) -> tuple[Recipe, dict[str, Any]]:
    """Settings given with --set belong to the architecture or to its recipe; each name is known to one of them."""
    arch, of_arch, of_recipe = architecture.name, architecture.settings or {}, models.recipe_settings()
    unknown = [name for name in chosen if name not in of_arch and name not in of_recipe]
    if unknown:
        known = [*of_arch, *of_recipe]
        hint = did_you_mean(unknown[0], known) or f"settings: {', '.join(known)}."
        raise UnlearnError(f"training {arch} has no setting called '{unknown[0]}'.", hint)
    if start and (given := [name for name in chosen if name in of_arch]):
        raise UnlearnError(f"{start.name} says what --set {given[0]} does.", "leave it out.")
    arch_settings |= {k: v for k, v in chosen.items() if k in of_arch}
    return adjusted(recipe, {k: v for k, v in chosen.items() if k in of_recipe}, arch), arch_settings
