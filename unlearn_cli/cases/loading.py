"""What every job starts with: a checkpoint as a network, its data folder, and a run that suits both."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unlearn_cli import models
from unlearn_cli.cases import class_order, plausibility
from unlearn_cli.cases import evidence as kept
from unlearn_cli.cases.folders import changed, folder_beside, folder_of, in_head_order, numbered, open_images
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.evidence import Evidence
from unlearn_cli.checkpoints.fitting import fit
from unlearn_cli.checkpoints.record import DataRecord, Record, folder_to
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.data.augment import statistics
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import is_index
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import find_head
from unlearn_cli.settings import parse


@dataclass(frozen=True)
class Plain:
    """What a plain state dict does not say of itself."""

    arch: str | None = None
    data: str | None = None
    size: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    head: str | None = None
    test_fraction: float = 0.2
    classes: tuple[str, ...] | None = None
    """Names in the order of the head's outputs; by default the folders in alphabetical order."""


@dataclass
class Loaded:
    """A checkpoint with everything that is needed to use it."""

    checkpoint: Checkpoint
    record: Record
    model: nn.Module
    head: str
    folder: Folder
    notes: list[str] = field(default_factory=list)
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def lacks(self) -> list[str]:
        """Classes of which no training image is left."""
        images = self.folder.images
        present = set(images.labels[~images.test].unique().tolist())
        return [name for i, name in enumerate(self.folder.classes) if i not in present]

    def fresh(self, seed: int) -> nn.Module:
        """The same architecture with new weights drawn from the seed."""
        return fresh(self.record.architecture, self.record, seed)

    def recipe(self) -> Recipe:
        """How the model was trained, as far as its record says; the architecture's default otherwise."""
        default = models.recipe(self.record.architecture)
        for step in self.record.lineage:
            if step.operation == "train":
                known = models.recipe_settings()
                given = parse(known, {k: v for k, v in step.settings.items() if k in known}, "the recipe")
                frozen = step.settings.get("frozen")
                return replace(default, **given, frozen=tuple(map(str, frozen)) if isinstance(frozen, list) else default.frozen)
        return default

    def run(self, options: Options) -> Run:
        return Run(options, self.record.mean, self.record.std, self.fresh, self.recipe())


def load(
    name: str, plain: Plain, options: Options, beside: Loaded | None = None, original: bool = False,
    erased: Collection[str] = (), evidence: str | None = None,
) -> Loaded:  # fmt: skip
    """Read a checkpoint, build its network, open its data. Of a file without a record, the class order is checked.

    Args:
        original: whether it has to know every class; another may have forgotten some.
        beside: a checkpoint that is open already and that this one is compared with: its data is taken, and its classes
            have to be the same.
        erased: classes whose images may be gone, beside those that it was asked to forget.
        evidence: the file that keeps what it forgot, by default the one beside it.
    """
    checkpoint = store.read(name)
    known, notes = kept.of(checkpoint, evidence)
    if checkpoint.record is None:
        folder = _in_order_given(beside.folder if beside else _folder_of_plain(name, plain, options, erased), plain, beside)
        record = _describe(checkpoint, name, plain, folder)
    else:
        record = checkpoint.record
        _check_size(record.size)
        if plain.classes is not None and not class_order.same_order(plain.classes, record.classes):
            raise UnlearnError(f"{name} has a record of its classes, and --class-names is another order or has others.",
                               "leave out --class-names; `unlearn inspect` shows the order.")  # fmt: skip
        if beside:
            folder = folder_beside(record, name, beside.folder, beside.record, beside.name, options)
        else:
            folder = folder_of(record, checkpoint.path, plain.data, plain.test_fraction, options)
            if unused := [f"--{o}" for o in ("arch", "size", "mean", "std") if getattr(plain, o) is not None]:
                notes.append(f"{', '.join(unused)} not used: {name} has a record that says it")
        notes += changed(record, name, folder)
    erased = [*erased, *by_index(erased, record.classes)]
    folder = in_head_order(folder, record, name, [*forgotten_by(record), *erased, *(beside.lacks if beside else ())])
    if beside is None:
        notes += folder.notes
    model, tensors, prefix = _network(record, checkpoint, name)
    if prefix:
        notes.append(f"the prefix {prefix} was taken off every tensor's name of {name}")
    head = find_head(model, len(record.classes), plain.head or record.head)
    loaded = Loaded(replace(checkpoint, tensors=tensors), record, model, head, folder, notes, known)
    if checkpoint.record is None:
        given = plain.classes is not None
        notes += plausibility.checked(loaded.run(options), model, head, folder, name, original=original, given=given)
    return loaded


def forgotten_by(record: Record | None) -> list[str]:
    """The classes that a lineage was asked to forget, whose images may be gone."""
    return [name for step in (record.lineage if record else ()) if step.request for name in step.request.classes]


def by_index(names: Collection[str], classes: list[str]) -> list[str]:
    """The classes that those of the names may mean which are none of them."""
    return [classes[int(n)] for n in names if n not in classes and is_index(n) and int(n) < len(classes)]


def fresh(arch: str, record: Record, seed: int) -> nn.Module:
    """New weights of an architecture, from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build(arch, len(record.classes), record.channels, record.architecture_settings, record.size)


def arch_and_settings(text: str) -> tuple[str, dict[str, Any]]:
    """`resnet18` or `resnet18,width=16` as name and settings."""
    name, *pairs = text.split(",")
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UnlearnError(f"'{pair}' in --arch is no setting.", "write it as resnet18,width=16.")
        key = key.strip()
        if key in settings:
            raise UnlearnError(f"--arch {text} gives {key} twice.", "give it once.")
        settings[key] = value.strip()
    return name.strip(), settings


def _network(record: Record, checkpoint: Checkpoint, name: str) -> tuple[nn.Module, dict[str, torch.Tensor], str]:
    """The record's architecture with the checkpoint's weights in it, these under its names, and the prefix taken off theirs."""
    model = fresh(record.architecture, record, seed=0)  # a meta model would be free, but imports torch's compiler stack
    settings = ", ".join(f"{k}={v}" for k, v in record.architecture_settings.items())
    hint = f"the architecture was taken as {record.architecture}" + (f" with {settings}" if settings else "") + "; check --arch."
    given, prefix = fit(checkpoint.tensors, model, f"{name} does not fit {record.architecture}", hint)
    float_type = torch.float64 if any(t.dtype == torch.float64 for t in given.values()) else torch.float32
    model.to(float_type).load_state_dict(given)
    return model.eval(), given, prefix


def _in_order_given(folder: Folder, plain: Plain, beside: Loaded | None) -> Folder:
    """The folder with its classes in the order of --class-names, if there is one."""
    if plain.classes is None:
        return folder
    classes = class_order.as_given(plain.classes, folder.classes, folder.root)
    if beside and classes != list(folder.classes):
        raise UnlearnError(f"--class-names is not the order of the classes of {beside.name}.", "compare models of the same order.")
    return numbered(folder, classes, [classes.index(c) for c in folder.classes])


def _folder_of_plain(name: str, plain: Plain, options: Options, erased: Collection[str]) -> Folder:
    """Classes whose images are gone have to stand among the names given: nothing else says that the head has them."""
    if plain.arch is None:
        raise UnlearnError(f"{name} has no record of its architecture.", f"pass --arch: {', '.join(models.names())}.")
    if plain.data is None:
        raise UnlearnError(f"{name} has no record of its data.", "pass --data DIR.")
    may_lack = [name for name in plain.classes or () if name in erased]
    return open_images(plain.data, options, size=plain.size, test_fraction=plain.test_fraction, may_lack=may_lack)


def _describe(checkpoint: Checkpoint, name: str, plain: Plain, folder: Folder) -> Record:
    """The record that a plain state dict would have, from the options and the folder."""
    if plain.arch is None:
        raise UnlearnError(f"{name} has no record of its architecture.", f"pass --arch: {', '.join(models.names())}.")
    arch, settings = arch_and_settings(plain.arch)
    mean, std = plain.mean, plain.std
    if mean is None or std is None:
        mean, std = statistics(folder.images, (~folder.images.test).nonzero()[:, 0])
    channels = folder.images.channels
    if len(mean) != channels or len(std) != channels:
        raise UnlearnError(f"--mean and --std need {channels} numbers each for these images.", "for example 0.49,0.48,0.45.")
    if not all(isfinite(m) for m in mean) or not all(isfinite(s) and s > 0 for s in std):
        raise UnlearnError("--mean and --std must be finite, and --std above 0.", "they are in units of [0, 1] pixels.")
    return describe(arch, settings, folder, mean, std, plain.test_fraction, checkpoint.path, plain.head)


def describe(arch, settings, folder: Folder, mean, std, test_fraction: float, path: Path | None, head=None) -> Record:
    """A record without a past."""
    images = folder.images
    _check_size(images.size)
    if len(folder.classes) < 2:
        raise UnlearnError(f"{folder.root} has one class only.", "a classifier needs two classes or more.")
    test = int(images.test.sum())
    data = DataRecord(
        folder=folder_to(path, Path(folder.root)),
        fingerprint=folder.fingerprint,
        train=len(images.labels) - test,
        test=test,
        test_fraction=test_fraction,
    )
    defaults = models.defaults(arch)
    return Record(
        architecture=arch,
        architecture_settings=defaults | parse(models.settings(arch), settings, arch),
        classes=list(folder.classes),
        size=images.size,
        channels=images.channels,
        mean=list(mean),
        std=list(std),
        head=head,
        data=data,
    )


def _check_size(size: int) -> None:
    if size < models.SMALLEST:
        raise UnlearnError(f"images of {size} pixels are too small for the networks.", f"pass --size {models.SMALLEST} or more.")


def original_of(loaded: Loaded, plain: Plain, options: Options, name: str | None = None) -> Loaded | None:
    """The model before it forgot: as named, or as the record names it, if the file beside is still that one."""
    if name is not None:
        return load(name, plain, options, loaded, original=True)
    source = next((step.source for step in loaded.record.lineage if step.operation == "forget"), None)
    place = loaded.checkpoint.path
    if source and place:
        beside = place.with_name(Path(source.name).name)
        if beside.is_file() and store.read(str(beside)).digest == source.digest:
            return load(str(beside), plain, options, loaded, original=True)
    return None
