"""A request: what was asked, and what that is on a folder, found once and handed down as positions."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn_cli.data.folder import Folder
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.kinds import Kind, Scope, scope_of
from unlearn_cli.tasks.classes import Classes


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, as asked: classes by name or index, or training images by their paths relative to the root.

    Of one kind where something is to be forgotten; what was left out of a training may be of both. False where it is nothing.
    """

    classes: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.classes or self.instances)

    @property
    def kind(self) -> Kind:
        return "classes" if self.classes else "images"

    @property
    def scope(self) -> Scope:
        """In the words by which methods declare what they are defined for, as far as typing tells."""
        return scope_of(self.kind, len(set(self.classes)))


@dataclass(frozen=True, eq=False)
class Target:
    """A request on a folder.

    Args:
        kind: what it names.
        classes: names of its classes, in head order.
        paths: of its images where it names images, sorted; of those that were erased since as well.
        images: (n,) int64 positions of the training images that it means; none are left where they were erased.
        task: what a label of this folder is, and which are to vanish.
        withheld: (m,) int64 positions of what other requests of the lineage mean: in no split at all.
    """

    kind: Kind
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    images: Tensor
    task: Classes
    withheld: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @property
    def scope(self) -> Scope:
        """In the words by which methods declare what they are defined for."""
        return scope_of(self.kind, len(self.classes))

    @property
    def digest(self) -> str:
        """Of all that a method is told of it; positions are those of one folder."""
        parts = (self.kind, self.task, self.images.tolist(), self.withheld.tolist())
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def resolve(request: Request, folder: Folder) -> Target:
    """A request of one kind on a folder.

    Raises:
        UnlearnError: it names nothing or both kinds, a class or an image that is not there, or a test image.
    """
    if request.classes and request.instances:
        raise UnlearnError("both classes and single images are to be forgotten.", "ask for one, then for the other.")
    images = folder.images
    if request.classes:
        forgotten = resolve_classes(request.classes, folder.classes)
        wanted = torch.isin(images.labels, torch.tensor(forgotten, dtype=torch.int64))
        names = tuple(folder.classes[i] for i in sorted(forgotten))
        return Target("classes", names, (), (wanted & ~images.test).nonzero()[:, 0], Classes(len(folder.classes), forgotten))
    if not request.instances:
        raise UnlearnError("there is nothing to forget.", "name a class, or list training images.")
    positions = sorted(resolve_instances(request.instances, folder))
    paths = tuple(sorted(images.paths[i] for i in positions))
    return Target("images", (), paths, torch.tensor(positions, dtype=torch.int64), Classes(len(folder.classes)))


def resolve_classes(names: Iterable[str | int], classes: list[str]) -> tuple[int, ...]:
    """Indices of classes given by name or index, each once; an exact name wins over an index."""
    found = []
    for name in map(str, names):
        if name in classes:
            found.append(classes.index(name))
        elif name.isdecimal() and int(name) < len(classes):
            found.append(int(name))
        else:
            hint = f"{did_you_mean(name, classes)} the classes are {_listed(classes)}.".strip()
            raise UnlearnError(f"no class called '{name}'.", hint)
    return tuple(dict.fromkeys(found))


def resolve_instances(paths: Iterable[str], folder: Folder) -> list[int]:
    """Positions of training images given by their paths relative to the data root, each once."""
    images = folder.images
    position = {path: i for i, path in enumerate(images.paths)}
    asked = list(dict.fromkeys(path.replace(os.sep, "/").removeprefix("./") for path in paths))
    unknown = [path for path in asked if path not in position]
    if unknown:
        raise UnlearnError(
            f"{unknown[0]} is no image of {folder.root}{_others(unknown)}.",
            f"paths are relative to the data folder, like {images.paths[int((~images.test).nonzero()[0])]}.",
        )
    tested = [path for path in asked if images.test[position[path]]]
    if tested:
        raise UnlearnError(
            f"{tested[0]} is a test image{_others(tested)}; the model never saw it.",
            "only training images can be forgotten.",
        )
    return [position[path] for path in asked]


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""


def _listed(classes: list[str]) -> str:
    shown = ", ".join(f"{i} {name}" for i, name in enumerate(classes[:20]))
    return f"{shown} and {len(classes) - 20} more" if len(classes) > 20 else shown
