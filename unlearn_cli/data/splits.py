"""The field's six splits of a folder, and who may read which."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn_cli.data.folder import Folder
from unlearn_cli.data.images import Images
from unlearn_cli.data.requests import Target
from unlearn_cli.data.scan import path_fraction
from unlearn_cli.errors import UnlearnError
from unlearn_cli.kinds import Kind
from unlearn_cli.tasks.classes import Classes

ALL = ("forget", "retain", "train", "forget_test", "retain_test", "test", "selection")


@dataclass(frozen=True, eq=False)
class Split:
    """Some of the images, in path order."""

    name: str
    images: Images
    index: Tensor  # (n,) int64 into images
    task: Classes  # what a label is

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
    """Splits by name, of which only those in `reads` can be had: a method is given what it declares that it reads.

    Args:
        kind: what the request names.
        task: what a label is, and which are to vanish.
    """

    def __init__(self, parts: dict[str, Split], reads: tuple[str, ...], kind: Kind, task: Classes):
        self.reads, self.kind, self.task = reads, kind, task
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
    target: Target,
    reads: str | tuple[str, ...] = ("forget",),
    selection_fraction: float = 0.0,
    seed: int = 0,
) -> Splits:
    """Partition the training images into forget and retain, the test images into forget_test and retain_test.

    What the target withholds is in none of them. Any may be empty, retain where the folder lacks a class that stays.

    Args:
        reads: names of the splits that may be had, ALL for every one.
        selection_fraction: part of each class's test images set aside as `selection`, for choosing settings; they are
            in no other split, so that what is reported is measured on images that chose nothing.
        seed: draws another selection; the draw depends on the paths only.
    """
    reads = (reads,) if isinstance(reads, str) else tuple(reads)
    images, here = folder.images, torch.ones(len(folder.images), dtype=torch.bool)
    here[target.withheld] = False
    forget = torch.zeros_like(here)
    forget[target.images] = True
    wanted = target.task.gone()[images.labels]
    retain = here & ~forget & ~images.test
    if not retain.any() and not _lacks_some_that_stay(images, target):
        raise UnlearnError(
            "every training image is to be forgotten; none is left to retain.", "train a new model instead."
        )

    selection = selected(images, selection_fraction, seed)
    test = images.test & here & ~selection
    masks = {
        "forget": forget,
        "retain": retain,
        "train": here & ~images.test,
        "forget_test": test & wanted,
        "retain_test": test & ~wanted,
        "test": test,
        "selection": selection & here,
    }
    parts = {name: Split(name, images, mask.nonzero().squeeze(1), target.task) for name, mask in masks.items()}
    return Splits(parts, reads, target.kind, target.task)


def _lacks_some_that_stay(images: Images, target: Target) -> bool:
    """Whether what is to be retained lies elsewhere: a class that no request forgets has no training image here."""
    there = torch.bincount(images.labels[~images.test], minlength=target.task.count) > 0
    return bool((target.task.stays() & ~there).any())


def selected(images: Images, fraction: float, seed: int = 0) -> Tensor:
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
