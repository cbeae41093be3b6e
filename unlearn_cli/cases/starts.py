"""Weights that a training begins with: another checkpoint's, with a head of its own where the classes are others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unlearn_cli import models
from unlearn_cli.cases.folders import in_head_order
from unlearn_cli.cases.networks import architecture_of, filled, outputs_of
from unlearn_cli.cases.strangers import arch_and_settings
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record, Source, Step
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import normal
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Size
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.building import new

Normalisation = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True, eq=False)
class Start:
    """A checkpoint to begin with, before any image was looked at.

    Args:
        settings: of its architecture.
        images: how its network wants a folder to be opened, as far as that is known.
        normalisation: (mean, std) that it was trained with; None where it is not known.
        classes: of its head, in order; None where they are not known.
        head: the head's name, where somebody said it.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    settings: dict[str, Any]
    images: dict[str, Any]
    normalisation: Normalisation | None = None
    classes: list[str] | None = None
    head: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def lineage(self) -> list[Step]:
        return self.checkpoint.record.lineage if self.checkpoint.record else []

    @property
    def source(self) -> Source:
        data = self.checkpoint.record.data if self.checkpoint.record else None
        return Source(name=self.checkpoint.origin or self.name, digest=self.checkpoint.digest, classes=self.classes,
                      data=data.fingerprint if data else None)  # fmt: skip

    def knows(self, classes: Sequence[str]) -> bool:
        """Whether its head's classes are these, in whatever order."""
        return self.classes is not None and sorted(map(normal, self.classes)) == sorted(map(normal, classes))


@dataclass(frozen=True, eq=False)
class Taken:
    """What of a start a network begins with.

    Args:
        tensors: under the network's names; without those of a head that does not fit.
        notes: what became of the head.
    """

    tensors: dict[str, Tensor]
    notes: list[str]

    def into(self, model: nn.Module) -> None:
        """Over a fresh network's weights; what is of another shape there, as helpers for other classes are, stays fresh."""
        fresh = model.state_dict()
        fitting = {name: tensor for name, tensor in self.tensors.items() if tensor.shape == fresh[name].shape}
        model.load_state_dict(fresh | fitting)


def open_start(
    name: str, arch: str | None = None, size: Size | None = None, channels: int | None = None,
    known: tuple[Architecture, dict[str, Any]] | None = None, pretrained: bool = False,
) -> Start:  # fmt: skip
    """A checkpoint to begin with.

    Args:
        pretrained: whether the name is that of a library's network, whose own weights are meant.
        arch, size, channels: what the command line says; needed only where the checkpoint does not say it.
        known: the architecture, and its settings, of what was trained from it before.

    Raises:
        UnlearnError: its architecture is not known, or the command line has another, or another input.
    """
    checkpoint = published(name) if pretrained else store.read(name)
    record, told = checkpoint.record, checkpoint.described
    typed, given = arch_and_settings(arch) if arch else (None, {})
    if record is None and told is None and arch is None and known is None:
        raise UnlearnError(f"{name} has no record of its architecture.", f"pass --arch: {models.known()}")
    if record is not None:
        if known and known[0].name == record.architecture:     # the user's own code is named on the command line once
            architecture, notes = known[0], []
        else:
            architecture, notes = architecture_of(record, arch, name)
        same = typed is not None and (typed == architecture.name or architecture.digest is not None)
        wanted = architecture.parsed(given, record.input.size) if same else None
        if typed and (wanted is None or any(wanted[name] != record.architecture_settings.get(name) for name in given)):
            raise UnlearnError(f"{name} is {_in_words(record)}, and --arch says {arch}.", "leave out --arch.")
        if said := [option for option, value in (("--size", size), ("--channels", channels)) if value is not None]:
            raise UnlearnError(f"{name} says what {said[0]} does.", f"leave out {' and '.join(said)}.")
        images = {"size": record.input.size, "resize": record.input.resize, "channels": record.channels}
        return Start(checkpoint, architecture, record.architecture_settings, images, (record.mean, record.std), record.classes,
                     record.head, notes)  # fmt: skip
    config = told.config if told else None
    if typed:
        architecture, settings = models.find(typed, typed=True, config=config), given
    elif known:
        architecture, settings = known
    else:
        architecture, settings = models.find(told.architecture, config=config), {}
    fed, notes = (told and told.input) or architecture.input, list(told.notes) if told else []
    images = {"size": size or (fed.size if fed else None), "channels": channels or (told.channels if told else None)}
    if images["channels"] is None and not architecture.ours:
        images["channels"] = architecture.channels[-1]
    if fed is not None and images["size"] == fed.size:
        images["resize"] = fed.resize
    takes = told.channels if told else len(fed.mean) if pretrained and fed else images["channels"]
    if channels not in (None, takes):
        raise UnlearnError(f"{checkpoint.name} takes images of {takes} channels, and --channels says {channels}.",
                           "leave --channels out" + (": grey images are read as colour." if takes == 3 else "."))  # fmt: skip
    fits = fed is not None and images["channels"] in (None, len(fed.mean))
    return Start(checkpoint, architecture, settings, images, (fed.mean, fed.std) if fits else None,
                 list(told.classes) if told and told.classes else None, notes=notes)  # fmt: skip


def published(name: str) -> Checkpoint:
    """The weights that a library has for a network, as a file of them would be read; the name says which they are."""
    found = models.published(name)
    return Checkpoint(found.tensors, None, store.digest(found.tensors), Path(found.name.partition("/")[2]), origin=found.name)


def numbered_as(start: Start, folder: Folder) -> Folder:
    """The folder with its classes in the order of the start's head, where they are the same."""
    if not start.knows(folder.classes):
        return folder
    record = start.checkpoint.record
    return in_head_order(folder, record, start.name, record.classes) if record else folder


def taken(start: Start, record: Record) -> Taken:
    """What of a start the network of a record begins with.

    Args:
        record: of the network that is to come, with its own classes.

    Raises:
        UnlearnError: the tensors are not those of the architecture.
    """
    tensors, settings = start.checkpoint.tensors, record.architecture_settings
    classes = known = start.classes
    if start.checkpoint.record is None:
        model, found = new(start.architecture, len(record.classes), record.channels, record.input.size, settings, 0, record.head)
        count = outputs_of(model, found.head, tensors) or len(known or record.classes)
        known = known if known and len(known) == count else None  # a configuration may be of another head
        classes = known or (record.classes if count == len(record.classes) else [f"output {i}" for i in range(count)])
    network = filled(start.architecture, record.model_copy(update={"classes": classes}), tensors, start.name, record.head)
    notes = list(network.notes)
    if classes == record.classes:
        if known is None:
            notes.append(f"{start.name} does not say what its {len(classes)} classes are: its head is kept as theirs")
        return Taken(network.tensors, notes)
    notes.append(f"the head is new: {start.name} has {len(classes)} classes, and not those of these images")
    return Taken({name: t for name, t in network.tensors.items() if not name.startswith(f"{network.head}.")}, notes)


def training_of(lineage: Sequence[Step]) -> Step | None:
    """The step that trained what a lineage ends with: the last one."""
    return next((step for step in reversed(lineage) if step.operation == "train"), None)


def file_of(source: Source, checkpoint: Checkpoint, given: str | None = None) -> str:
    """The file that a training began with: as given, else beside what it made.

    Raises:
        UnlearnError: it is not there, or is not that one.
    """
    beside = checkpoint.path.with_name(Path(source.name).name) if checkpoint.path else Path(source.name)
    place = given or str(beside)
    if given is None and source.name.startswith(("torchvision/", "timm/")) and not beside.exists():
        raise UnlearnError(f"{checkpoint.name} was trained from the weights of {source.name}, which nothing downloads unasked.",
                           "train --like CHECKPOINT --pretrained takes them.")  # fmt: skip
    if given is None and not beside.exists():
        raise UnlearnError(f"{checkpoint.name} was trained from {source.name} ({source.digest[:16]}), which is not beside it.",
                           "put it there, or name it: train --like CHECKPOINT --weights FILE.")  # fmt: skip
    if (digest := store.read(place).digest) != source.digest:
        raise UnlearnError(f"{place} is not what {checkpoint.name} was trained from ({digest[:16]}, not {source.digest[:16]}).",
                           "name the right file: train --like CHECKPOINT --weights FILE.")  # fmt: skip
    return place


def _in_words(record: Record) -> str:
    return ",".join([record.architecture, *(f"{k}={v}" for k, v in record.architecture_settings.items())])
