"""Every image of a folder by path, class and split. Needs no image and no network: a folder's names say it all."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unlearn_cli.data.scan import scan

SPLITS = ("train", "test", "selection", "forgotten")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The images of a folder in path order.

    Args:
        labels: (N,) int64 into `classes`.
        splits: (N,) int64 into SPLITS.
        notes: what lies in the folder and is not among them, or is not what was expected.
    """

    root: str
    paths: list[str]
    classes: list[str]
    labels: np.ndarray
    splits: np.ndarray
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """The path, the class and the split of each image."""
        names = (self.classes[i] for i in self.labels.tolist())
        return zip(self.paths, names, (SPLITS[i] for i in self.splits.tolist()), strict=True)

    def counts(self) -> np.ndarray:
        """How many images of each class each split has: (classes, splits) int64."""
        flat = np.bincount(self.labels * len(SPLITS) + self.splits, minlength=len(self.classes) * len(SPLITS))
        return flat.reshape(-1, len(SPLITS))


def of_folder(root: str, test_fraction: float) -> Catalogue:
    """A folder by itself: train and test."""
    listing = scan(root, test_fraction)
    return Catalogue(root, listing.paths, listing.classes, listing.labels, listing.test.astype(np.int64), listing.notes)
