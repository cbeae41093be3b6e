"""The field's six splits of a folder, and who may read which."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn_cli.data.folder import Folder
from unlearn_cli.data.images import Images
from unlearn_cli.data.scan import path_fraction
from unlearn_cli.errors import UnlearnError, did_you_mean

NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)*")
ALL = ("forget", "retain", "train", "forget_test", "retain_test", "test", "selection")


@dataclass(frozen=True)
class Request:
    """What is to be forgotten: classes by name or index, or training images by their paths relative to the root."""

    classes: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Split:
    """Some of the images, in path order."""

    name: str
    images: Images
    index: Tensor  # (n,) int64 into images

    def __len__(self) -> int:
        return len(self.index)

    @property
    def y(self) -> Tensor:
        """The labels, (n,) int64."""
        return self.images.labels[self.index]

    def subset(self, chosen: Tensor) -> "Split":
        """Those images that an (n,) bool mask or int64 positions choose."""
        return replace(self, index=self.index[chosen])


class Splits:
    """Splits by name, of which only those in `reads` can be had: a method is given what it declares that it reads."""

    def __init__(self, parts: dict[str, Split], reads: tuple[str, ...], classes: int, forgotten: tuple[int, ...]):
        self.reads = reads
        self.classes = classes  # how many the model tells apart
        self.forgotten = forgotten  # indices of the classes to forget; empty for a request of single images
        self._parts = parts

    def __getattr__(self, name: str) -> Split:
        if name not in ALL:
            raise AttributeError(name)
        if name not in self.reads:
            declared = ", ".join(self.reads) or "no images"
            raise UnlearnError(f"this method declares that it reads only {declared}, not {name}.")
        return self._parts[name]


def split(
    folder: Folder,
    request: Request,
    reads: str | tuple[str, ...] = ("forget",),
    selection_fraction: float = 0.0,
    seed: int = 0,
) -> Splits:
    """Partition the training images into forget and retain, the test images into forget_test and retain_test.

    Args:
        reads: names of the splits that may be had, ALL for every one.
        selection_fraction: part of each class's test images set aside as `selection`, for choosing settings; they are
            in no other split, so that what is reported is measured on images that chose nothing.
        seed: draws another selection; the draw depends on the paths only.
    """
    reads = (reads,) if isinstance(reads, str) else tuple(reads)
    images = folder.images
    if request.classes and request.instances:
        raise UnlearnError("both classes and single images are to be forgotten.", "ask for one, then for the other.")
    forgotten = resolve_classes(request.classes, folder.classes)
    wanted = torch.isin(images.labels, torch.tensor(forgotten, dtype=torch.int64))
    if request.instances:
        forget = torch.zeros(len(images), dtype=torch.bool)
        forget[resolve_instances(request.instances, folder)] = True
    else:
        forget = wanted & ~images.test
    retain = ~forget & ~images.test
    if not forget.any():
        raise UnlearnError("there is nothing to forget.", "name a class, or list training images.")
    if not retain.any():
        raise UnlearnError(
            "every training image is to be forgotten; none is left to retain.", "train a new model instead."
        )

    selection = _selection(images, selection_fraction, seed)
    test = images.test & ~selection
    masks = {
        "forget": forget,
        "retain": retain,
        "train": ~images.test,
        "forget_test": test & wanted,
        "retain_test": test & ~wanted,
        "test": test,
        "selection": selection,
    }
    parts = {name: Split(name, images, mask.nonzero().squeeze(1)) for name, mask in masks.items()}
    return Splits(parts, reads, len(folder.classes), forgotten)


def resolve_classes(names: Iterable[str | int], classes: list[str]) -> tuple[int, ...]:
    """Indices of classes given by name or index, each once; an exact name wins over an index.

    A number is an index only where it cannot be meant as a name: not `3` where folders are called 01 to 10, or class_3.

    Raises:
        UnlearnError: there is no such class, or a number could be either.
    """
    found = []
    for name in map(str, names):
        if name in classes:
            found.append(classes.index(name))
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


def _selection(images: Images, fraction: float, seed: int) -> Tensor:
    """A mask of about `fraction` of each class's test images: those whose paths hash lowest."""
    chosen = torch.zeros(len(images), dtype=torch.bool)
    if fraction <= 0:
        return chosen
    tested = images.test.nonzero().squeeze(1)
    order = sorted(tested.tolist(), key=lambda i: path_fraction(images.paths[i], f"selection {seed} "))
    by_hash = torch.tensor(order)
    for label in images.labels[tested].unique():
        mine = by_hash[images.labels[by_hash] == label]
        chosen[mine[: round(fraction * len(mine))]] = True
    return chosen


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""


def _listed(classes: list[str]) -> str:
    shown = ", ".join(f"{i} {name}" for i, name in enumerate(classes[:20]))
    return f"{shown} and {len(classes) - 20} more" if len(classes) > 20 else shown
