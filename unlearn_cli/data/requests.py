"""A request: what was asked, and what that is on a folder, found once and handed down as positions."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unlearn_cli.data import copies
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.lists import ListRead, patterns
from unlearn_cli.data.matching import match, set_apart
from unlearn_cli.data.names import normal
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.kinds import Kind, Scope, scope_of
from unlearn_cli.tasks.classes import Classes

NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)*")


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, as asked: classes by name or index, or training images. False where it is nothing.

    Args:
        instances: paths of images, or patterns such as `train/3/00*.png`.
        listed: a list of them, as read.
        strict: refuse test images, which the model never saw, instead of setting them apart.
        with_duplicates: take exact copies of the images in that would stay in the retain set.
    """

    classes: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    listed: ListRead | None = None
    strict: bool = False
    with_duplicates: bool = False

    def __bool__(self) -> bool:
        return bool(self.classes or self.names_images)

    @property
    def names_images(self) -> bool:
        return bool(self.instances) or self.listed is not None

    @property
    def kind(self) -> Kind:
        return "classes" if self.classes else "images"

    @property
    def scope(self) -> Scope:
        """In the words by which methods declare what they are defined for, as far as typing tells."""
        return scope_of(self.kind, len(set(self.classes)))

    @property
    def entries(self) -> ListRead:
        """What names images, as a list."""
        return self.listed if self.listed is not None else patterns(self.instances)


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
        astray: (k,) int64 positions of its images that lie in another class now, or among the test images: in no split either.
        said: how the images were found, in words: what was listed, what was matched, what was set apart or taken in.
        counts: the same in numbers.
    """

    kind: Kind
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    images: Tensor
    task: Classes
    withheld: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    astray: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    said: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

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
        UnlearnError: it names nothing or both kinds, or a class or an image that is not there.
    """
    if request.classes and request.names_images:
        raise UnlearnError("both classes and single images are to be forgotten.", "ask for one, then for the other.")
    if not request:
        raise UnlearnError("there is nothing to forget.", "name a class, or list training images.")
    return _classes(request, folder) if request.classes else _images(request, folder)


def _classes(request: Request, folder: Folder) -> Target:
    if request.with_duplicates:
        raise UnlearnError("--with-duplicates goes with listed images: a class has all of its own.", "leave it out.")
    forgotten = resolve_classes(request.classes, folder.classes)
    wanted = torch.isin(folder.images.labels, torch.tensor(forgotten, dtype=torch.int64)) & ~folder.images.test
    names = tuple(folder.classes[i] for i in sorted(forgotten))
    return Target("classes", names, (), wanted.nonzero()[:, 0], Classes(len(folder.classes), forgotten))


def _images(request: Request, folder: Folder) -> Target:
    images = folder.images
    matched = match(request.entries, images.paths, folder.root)
    chosen, tested = set_apart(matched.positions, images.test, images.paths, strict=request.strict)
    said, counts = [matched.in_words()], {"entries": matched.entries, "matched": len(matched.positions)}
    if len(tested):
        counts["test_images"] = len(tested)
        example = f"{images.paths[tested[0]]} among them"
        said.append(f"{len(tested):,} of them test images, which the model never saw: set apart, {example}")
    if request.with_duplicates:
        found = copies.find(images, copies.digests_of(folder), chosen, near=False)
        more = found.in_retain(found.exact).copies
        counts["copies_taken"] = len(more)
        said.append(f"{len(more):,} exact {'copy' if len(more) == 1 else 'copies'} of them taken in")
        chosen = np.union1d(chosen, more)
    positions = torch.from_numpy(chosen)
    paths = tuple(sorted(images.paths[i] for i in chosen.tolist()))
    return Target("images", (), paths, positions, Classes(len(folder.classes)), said=tuple(said), counts=counts)


def resolve_classes(names: Iterable[str | int], classes: list[str]) -> tuple[int, ...]:
    """Indices of classes given by name or index, each once; an exact name wins over another form of it, and that over an index.

    A number is an index only where it cannot be meant as a name: not `3` where folders are called 01 to 10, or class_3.

    Raises:
        UnlearnError: there is no such class, or a number could be either.
    """
    place = {name: i for i, name in enumerate(classes)}
    composed = {normal(name): i for name, i in place.items()}
    found = []
    for name in map(str, names):
        if name in place:
            found.append(place[name])
        elif normal(name) in composed:
            found.append(composed[normal(name)])
        elif is_index(name) and int(name) < len(classes):
            alike = [other for other in classes if int(name) in numbers_in(other)]
            if any(map(NUMBER.fullmatch, classes)) or alike not in ([], [classes[int(name)]]):
                hint = f"did you mean '{alike[0]}'?" if len(alike) == 1 else f"the classes are {_listed(classes)}."
                raise UnlearnError(f"no class called '{name}', and a number is no index among names with numbers.", hint)
            found.append(int(name))
        else:
            hint = f"{did_you_mean(name, classes)} the classes are {_listed(classes)}.".strip()
            raise UnlearnError(f"no class called '{name}'.", hint)
    return tuple(dict.fromkeys(found))


def is_index(name: str) -> bool:
    """Whether it is a number as an index is written: 0, 12, but not 03."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def numbers_in(name: str) -> list[int]:
    """The runs of digits in a name: `class_03` has 3."""
    return [int(digits) for digits in re.findall(r"[0-9]+", name)]


def _listed(classes: list[str]) -> str:
    shown = ", ".join(f"{i} {name}" for i, name in enumerate(classes[:20]))
    return f"{shown} and {len(classes) - 20} more" if len(classes) > 20 else shown
