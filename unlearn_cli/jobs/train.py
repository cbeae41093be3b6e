"""`train`: a classifier from a folder of images, or its retrained counterparts without some of them."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from unlearn_cli import models, settings
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record, RequestRecord, Step
from unlearn_cli.data.augment import statistics
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.splits import ALL, Request, Split, split
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.engine.training import Progress, fit, prepare
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.forget import what_happened
from unlearn_cli.jobs.loading import Plain, arch_and_settings, describe, fresh, load, open_images
from unlearn_cli.metrics import registry
from unlearn_cli.metrics.report import Measure, Report, Row
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import find_head

ARCH = "resnet18"
"""Where nothing else is said."""
OF_A_RUN = {"seconds", "images_read", "stopped_by", "notes", "device", "versions"}
"""What a step of the lineage says of how it went, and not of what was asked."""


def train(
    data: str | None,
    output: str,
    *,
    arch: str | None = None,
    epochs: int | None = None,
    without: Request = Request(),
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
        references: train so many of them, with the seeds that follow the options', that of `like` left out. Each has a
            file of its own beside OUTPUT (`beside`); those that an earlier call has written are kept.
        like: a checkpoint by whose record to train: its architecture, recipe and input size.
        chosen: settings of the architecture and of its recipe, by name.
        resume: go on from the state that a killed training left beside OUTPUT.
    """
    own = {"--arch": arch, "--epochs": epochs, "--set": chosen, "--size": size, "--channels": channels}
    if like is not None and (given := [name for name, value in own.items() if value not in (None, {})]):
        raise UnlearnError(f"--like takes from the checkpoint what {given[0]} says.", f"leave out {', '.join(given)} or --like.")
    if like is None and data is None:
        raise UnlearnError("no folder of images was named.", "pass DATA, or --like CHECKPOINT for the images of a checkpoint.")
    if references is not None:
        _check_references(references, without, output)
    inputs = () if like is None else (like,)
    store.claim(output, force=options.force or references is not None, inputs=inputs)
    lineage = [] if like is None else _lineage(like)
    others = (seed for seed in count(options.seed + 1) if seed not in {step.seed for step in lineage})
    targets = {seed: beside(output, seed) for seed in islice(others, references or 0)}
    for name in targets.values():
        store.claim(name, force=True, inputs=inputs)

    if like is None:
        arch, arch_settings = arch_and_settings(arch or ARCH)
        recipe, arch_settings = _choose(arch, arch_settings, (chosen or {}) | ({"epochs": epochs} if epochs else {}))
        folder = open_images(data, options, size=size, channels=channels, test_fraction=test_fraction)
        plan = _plan(arch, arch_settings, recipe, folder, test_fraction, without, output)
    else:
        model = load(like, Plain(data=data, test_fraction=test_fraction), options)
        known, fraction = model.record, model.record.data.test_fraction if model.record.data else test_fraction
        plan = _plan(known.architecture, known.architecture_settings, model.recipe(), model.folder, fraction, without, output,
                     known.head, model.notes)  # fmt: skip
    if references is not None:
        return _train_references(plan, targets, options, resume)
    done = _train(plan, output, options, resume)
    facts = _facts(plan, [done], options)
    facts |= {"parameters": done.parameters, "test_accuracy": done.accuracy, "seed": options.seed}
    title = f"Trained {plan.record.architecture}"
    return Report(command="train", title=title, facts=facts, written=output, notes=[*plan.notes, *done.run.notes])


def beside(output: str, seed: int) -> str:
    """`without-3-seed2.safetensors` for `without-3.safetensors` and 2: where the reference of that seed is written."""
    path = Path(output)
    stem = path.name.removesuffix(".safetensors")
    return str(path.with_name(f"{stem}-seed{seed}{path.name.removeprefix(stem)}"))


@dataclass(frozen=True)
class _Plan:
    """A training, but for its seed.

    Args:
        record: of the model that is to come, without a past.
        used: the images that are trained on.
        wanted: what was left out.
    """

    record: Record
    recipe: Recipe
    folder: Folder
    used: Split
    wanted: RequestRecord | None
    notes: list[str]

    @property
    def test(self) -> Split:
        return Split("test", self.folder.images, self.folder.images.test.nonzero()[:, 0])

    def run(self, options: Options) -> Run:
        return Run(options, self.record.mean, self.record.std)

    def after(self, run: Run) -> Record:
        """The record with this training in its lineage, as far as the run has come."""
        values = asdict(self.recipe) | {"frozen": list(self.recipe.frozen)}
        step = Step(operation="train", method="train", settings=values, request=self.wanted, **what_happened(run))
        return self.record.after(step)

    def has_made(self, record: Record | None, run: Run) -> bool:
        """Whether a record is that of this training with the run's seed and precision, on whatever device."""
        # The normalisation follows from the images, up to rounding; the way to the folder is that of each file.
        other = {"mean": True, "std": True, "data": {"folder"}, "lineage": {"__all__": OF_A_RUN}}
        return record is not None and record.model_dump(exclude=other) == self.after(run).model_dump(exclude=other)


@dataclass(frozen=True)
class _Done:
    """What is left to say of a training that was written: its run, the network's size, the share of test images it gets right."""

    run: Run
    parameters: int
    accuracy: float


def _plan(arch, arch_settings, recipe, folder: Folder, test_fraction, without: Request, output: str, head=None, notes=()) -> _Plan:
    """A training on what a request leaves of the images; their normalisation is that of the images left."""
    used, wanted = Split("train", folder.images, (~folder.images.test).nonzero()[:, 0]), None
    if without.classes or without.instances:
        request, wanted = requests.resolve(without, folder)
        used = split(folder, request, reads=ALL).retain
    mean, std = statistics(folder.images, used.index)
    path = None if output == store.PIPE else Path(output)
    record = describe(arch, arch_settings, folder, mean, std, test_fraction, path, head)
    return _Plan(record, recipe, folder, used, wanted, list(notes))


def _lineage(like: str) -> list[Step]:
    """How a checkpoint came to be, its training included."""
    found = store.read(like).record
    if found is None or all(step.operation != "train" for step in found.lineage):
        raise UnlearnError(f"{like} does not say how it was trained.", "leave out --like, and pass DATA, --arch and the recipe.")
    return found.lineage


def _train(plan: _Plan, output: str, options: Options, resume: bool) -> _Done:
    """One training from its seed, or from the state that it left, to the file."""
    run, record = plan.run(options), plan.record
    with deterministic(run):
        model = fresh(record.architecture, record, options.seed)
        head = find_head(model, len(record.classes), record.head)
        state = _State(output, plan, run)
        start = state.read() if resume else None
        with run.adopted(model, head), run.timed():
            if start is None:
                prepare(run, model, plan.used)
            fit(run, model, plan.used, plan.recipe, resume=start, keep=state.write)
        after = plan.after(run)
        trained = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
        with run.adopted(model, head):
            correct = run.logits(model, plan.test, "testing").argmax(1).cpu() == plan.test.y

    if run.ranks.first:
        store.write(output, trained, after, force=options.force)
        state.remove()
    return _Done(run, sum(p.numel() for p in model.parameters()), round(correct.double().mean().item(), 4))


def _check_references(references: int, without: Request, output: str) -> None:
    if references < 1:
        raise UnlearnError(f"{references} references cannot be trained.", "pass 1 or more.")
    if not (without.classes or without.instances):
        raise UnlearnError(
            "--references trains models that never saw a forget set, and none is named.",
            "add --without-class NAME or --without FILE.",
        )
    if output == store.PIPE:
        raise UnlearnError("several checkpoints cannot go to standard output.", "give -o a file name, to be numbered by seed.")


def _train_references(plan: _Plan, targets: dict[int, str], options: Options, resume: bool) -> Report:
    """The targets by seed, one after the other; what an earlier call of this has finished is kept."""
    of = {seed: replace(options, seed=seed) for seed in targets}
    there = [seed for seed, name in targets.items() if os.path.lexists(name) and not options.force]
    for seed in there:
        if not plan.has_made(store.read(targets[seed]).record, plan.run(of[seed])):
            raise UnlearnError(f"{targets[seed]} already exists, and this command does not make it.",
                               "pass another --output, or --force to replace it.")  # fmt: skip
    done, rows = [], []
    for seed, name in targets.items():
        if seed in there:
            accuracy = Measure(None, "trained before and kept")
        else:
            done.append(_train(plan, name, of[seed], resume))
            resume = False          # of those that are missing, the others have not begun
            accuracy = Measure(done[-1].accuracy)
        rows.append(Row(Path(name).name, "reference", {"test_accuracy": accuracy}))
    return Report(
        command="train",
        title=f"Trained {len(done)} reference{'' if len(done) == 1 else 's'} without {requests.in_words(plan.wanted)}",
        facts=_facts(plan, done, options) | {"seeds": ", ".join(map(str, targets))},
        columns=registry.columns(["test_accuracy"], bool(plan.wanted.classes)),
        rows=rows,
        written=list(targets.values()),
        notes=[*plan.notes, *(note for one in done for note in one.run.notes)],
    )


def _facts(plan: _Plan, done: list[_Done], options: Options) -> dict[str, Any]:
    run = plan.run(options)
    return {
        "architecture": plan.record.architecture,
        "left_out": requests.in_words(plan.wanted),
        "train_images": len(plan.used),
        "epochs": plan.recipe.epochs,
        "train_seconds": round(sum(one.run.seconds for one in done), 2),
        "test_images": len(plan.test),
        "device": str(run.device),
        "precision": str(run.precision).removeprefix("torch."),
    }


def _choose(arch: str, arch_settings: dict[str, Any], chosen: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Settings given with --set belong to the architecture or to its recipe; each name is known to one of them."""
    of_arch, of_recipe = models.settings(arch), models.recipe_settings()
    unknown = [name for name in chosen if name not in of_arch and name not in of_recipe]
    if unknown:
        known = [*of_arch, *of_recipe]
        hint = did_you_mean(unknown[0], known) or f"settings: {', '.join(known)}."
        raise UnlearnError(f"training {arch} has no setting called '{unknown[0]}'.", hint)
    arch_settings |= {k: v for k, v in chosen.items() if k in of_arch}
    values = settings.parse(of_recipe, {k: v for k, v in chosen.items() if k in of_recipe}, arch)
    return replace(models.recipe(arch), **values), settings.parse(of_arch, arch_settings, arch)


class _State:
    """The state of an unfinished training, in a safetensors file beside the output that is to come."""

    def __init__(self, output: str, plan: _Plan, run: Run):
        self.path = None if output == store.PIPE else Path(f"{output}.resume")
        plain = plan.record.architecture, plan.record.architecture_settings, plan.recipe, plan.folder.fingerprint
        index = hashlib.sha256(plan.used.index.numpy().tobytes()).hexdigest()
        whole = [str(part) for part in plain] + [index, str(run.seed), str(run.precision), run.device.type]
        self.identity = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
        self.first = run.ranks.first

    def write(self, progress: Progress) -> None:
        if self.path is None or not self.first:
            return
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in progress.tensors.items()}
        metadata = {"epoch": str(progress.epoch), "identity": self.identity}
        store.replace_whole(str(self.path), lambda temporary: save_file(tensors, temporary, metadata))

    def read(self) -> Progress | None:
        if self.path is None or not self.path.exists():
            raise UnlearnError(f"there is no training to resume at {self.path}.", "run it without --resume.")
        found = store.read(str(self.path))
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("identity") != self.identity:
            raise UnlearnError(
                f"{self.path} belongs to a training with other data or settings.",
                "repeat the first command with --resume added, or remove that file to start anew.",
            )
        return Progress(int(metadata["epoch"]), found.tensors)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
