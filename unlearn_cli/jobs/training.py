"""One training, as `train` plans it: from a folder of images to a checkpoint whose record says how it was made."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from unlearn_cli.cases import requests
from unlearn_cli.cases.starts import Start, Taken, taken
from unlearn_cli.cases.strangers import describe
from unlearn_cli.cases.unlearning import what_happened
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record, RequestRecord, Step, as_size
from unlearn_cli.data.augment import statistics
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import normal
from unlearn_cli.data.requests import Target
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.building import new
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.presented import as_library
from unlearn_cli.tasks.classes import Classes
from unlearn_cli.techniques.training import Progress, fit, prepare

OF_A_RUN = {"seconds", "images_read", "stopped_by", "notes", "device", "versions"}
"""What a step of the lineage says of how it went, and not of what was asked."""


@dataclass(frozen=True)
class Plan:
    """A training, but for its seed.

    Args:
        record: of the model that is to come, without a past.
        used: the images that are trained on.
        wanted: what was left out.
        start: the checkpoint whose weights it begins with, and what of them it takes; None from scratch.
    """

    record: Record
    architecture: Architecture
    recipe: Recipe
    folder: Folder
    used: Split
    wanted: RequestRecord | None
    notes: list[str]
    start: tuple[Start, Taken] | None = None

    @property
    def test(self) -> Split:
        return Split("test", self.folder.images, self.folder.images.test.nonzero()[:, 0], self.used.task)

    def run(self, options: Options) -> Run:
        return Run(options, self.record.mean, self.record.std)

    def after(self, run: Run) -> Record:
        """The record with this training in its lineage, as far as the run has come."""
        values = self.recipe.acting | {"frozen": list(self.recipe.frozen)}
        source = self.start[0].source if self.start else None
        step = Step(operation="train", method="train", settings=values, request=self.wanted, source=source, **what_happened(run))
        return self.record.after(step)

    def has_made(self, record: Record | None, run: Run) -> bool:
        """Whether a record is that of this training with the run's seed and precision, on whatever device."""
        # The normalisation follows from the images, up to rounding; the way to the folder is that of each file.
        other = {"mean": True, "std": True, "data": {"folder"}, "lineage": {"__all__": OF_A_RUN}}
        return record is not None and record.model_dump(exclude=other) == self.after(run).model_dump(exclude=other)


@dataclass(frozen=True)
class Done:
    """What is left to say of a training that was written: its run, the network's size, the share of test images it gets right."""

    run: Run
    parameters: int
    accuracy: float


def planned(architecture: Architecture, settings, recipe, folder: Folder, test_fraction, without: Sequence[Target], output: str,
            head=None, notes=(), start: Start | None = None) -> Plan:  # fmt: skip
    """A training on what requests leave of the images; their normalisation is that of the images left, or the start's own.

    What was done to the start before is the beginning of its lineage, and what that was asked to forget stays asked.
    """
    left = ~folder.images.test
    left[requests.meant_by(without, folder)] = False
    if not left.any():
        raise UnlearnError("every training image is left out; none remains to train on.", "leave out fewer.")
    used = Split("retain" if without else "train", folder.images, left.nonzero()[:, 0], Classes(len(folder.classes)))
    wanted = requests.union(without)
    mean, std = start.normalisation if start and start.normalisation else statistics(folder.images, used.index)
    path = None if output == store.PIPE else Path(output)
    record = describe(architecture, settings, folder, (mean, std), test_fraction, path, head)
    if start is None:
        return Plan(record, architecture, recipe, folder, used, wanted, list(notes))
    record, weights = record.model_copy(update={"lineage": start.lineage}), taken(start, record)
    notes = [*notes, *start.notes, *weights.notes, *seen_before(start, without, folder)]
    return Plan(record, architecture, recipe, folder, used, wanted, notes, (start, weights))


def seen_before(start: Start, without: Sequence[Target], folder: Folder) -> list[str]:
    """A note where what is left out is of classes that the start knows: what it saw of them it brings along."""
    listed = {folder.classes[i] for one in without for i in folder.images.labels[one.images].tolist()}
    meant = {normal(name) for name in [*listed, *(name for one in without for name in one.classes)]}
    if not (both := [name for name in start.classes or () if normal(name) in meant]):
        return []
    words = requests.in_words(RequestRecord(classes=both))
    return [f"{start.name} was made for {words} too: what it learned of that before, this training begins with"]


def train_once(plan: Plan, output: str, options: Options, resume: bool) -> Done:
    """One training from its seed, or from the state that it left, to the file."""
    run, record = plan.run(options), plan.record
    with deterministic(run):
        model, found = new(plan.architecture, len(record.classes), record.channels, as_size(record.size),
                           record.architecture_settings, options.seed, record.head)  # fmt: skip
        head = found.head
        state = State(output, plan, run)
        progress = state.read() if resume else None
        if plan.start:
            plan.start[1].into(model)
        with run.adopted(model, head), run.timed():
            if progress is None and plan.start is None:
                prepare(run, model, plan.used)
            fit(run, model, plan.used, plan.recipe, resume=progress, keep=state.write)
        after = plan.after(run)
        trained = {name: tensor.cpu() for name, tensor in as_library(model.state_dict(), model).items()}
        with run.adopted(model, head):
            correct = plan.test.task.correct(run.logits(model, plan.test, "testing").cpu(), plan.test.y)

    if run.ranks.first:
        store.write(output, trained, after, force=options.force)
        state.remove()
    return Done(run, sum(p.numel() for p in model.parameters()), round(correct.double().mean().item(), 4))


def summary(plan: Plan, done: list[Done], options: Options) -> dict[str, Any]:
    """What a report says of trainings that share a plan."""
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


class State:
    """The state of an unfinished training, in a safetensors file beside the output that is to come."""

    def __init__(self, output: str, plan: Plan, run: Run):
        self.path = None if output == store.PIPE else Path(f"{output}.resume")
        code = (plan.record.architecture_digest,) if plan.record.architecture_digest else ()
        plain = *code, plan.record.architecture, plan.record.architecture_settings, plan.recipe, plan.folder.fingerprint
        index = hashlib.sha256(plan.used.index.numpy().tobytes()).hexdigest()
        begun = plan.start[0].source.digest if plan.start else ""
        whole = [str(part) for part in plain] + [index, begun, str(run.seed), str(run.precision), run.device.type]
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
