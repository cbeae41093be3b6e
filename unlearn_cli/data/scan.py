"""What lies in a data folder: names, sizes and times of its images, their classes, and which are test images."""

import hashlib
import os
from array import array
from collections.abc import Collection
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from unlearn_cli.data import layout
from unlearn_cli.data.layout import SUFFIXES, Inside
from unlearn_cli.data.names import normal
from unlearn_cli.errors import UnlearnError, did_you_mean


@dataclass(frozen=True, eq=False)
class Listing:
    """Every image under a root, sorted by path."""

    paths: list[str]
    stat: np.ndarray  # (N, 3) int64: bytes, and modified and changed in nanoseconds
    classes: list[str]
    labels: np.ndarray  # (N,) int64
    test: np.ndarray  # (N,) bool
    notes: tuple[str, ...]  # what lies there and is not read, or is read as it might not be meant


class _Walk:
    """The growing lists of one scan; plain strings and os.scandir, because 60,000 files are listed at every start."""

    def __init__(self, root: str):
        self.root = root
        self.paths, self.stat = [], array("q")

    def entries(self, folder: str) -> tuple[list[str], list[os.DirEntry]]:
        """The visible sub-folders' names and files of a folder given relative to the root."""
        try:
            with os.scandir(f"{self.root}/{folder}") as found:
                visible = [entry for entry in found if entry.name[0] != "."]
        except OSError as error:
            raise UnlearnError(
                f"{folder or self.root} cannot be listed: {error.strerror.lower()}.", "check its permissions."
            ) from None
        folders = sorted(entry.name for entry in visible if entry.is_dir())
        return folders, [entry for entry in visible if not entry.is_dir()] if folders else visible

    def add(self, folder: str) -> Inside:
        """Append the images in and below a folder in path order."""
        direct, below = 0, {}
        folders, files = self.entries(folder)
        prefix = folder + "/"
        # A folder sorts as its name and a slash, which is how the paths below it sort among those of its neighbours.
        found = [(name + "/", None) for name in folders] + [(file.name, file) for file in files]
        for name, entry in sorted(found, key=itemgetter(0)):
            if entry is None:
                self._check_loop(prefix + name[:-1])
                below[name[:-1]] = self.add(prefix + name[:-1])
                continue
            if not name.lower().endswith(SUFFIXES):
                raise UnlearnError(
                    f"{prefix}{name} is not an image.",
                    "class folders may hold JPEG, PNG, BMP and WebP files only; move it out of the class folder.",
                )
            try:
                stat = entry.stat()
            except OSError as error:
                problem = f"{prefix}{name} cannot be read: {error.strerror.lower()}."
                raise UnlearnError(problem, "repair or remove it.") from None
            self.paths.append(prefix + name)
            self.stat.extend((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            direct += 1
        return Inside(direct, below)

    def _check_loop(self, folder: str) -> None:
        link = f"{self.root}/{folder}"
        above, target = os.path.realpath(os.path.dirname(link)), os.path.realpath(link)
        if os.path.islink(link) and f"{above}/".startswith(f"{target}/"):
            raise UnlearnError(f"{folder} is a link to a folder that contains it.", "remove the link.")


def scan(root: str, test_fraction: float, may_lack: Collection[str] = (), partial: bool = False) -> Listing:
    """List ROOT/train/<class> and ROOT/test/<class>, or ROOT/<class> split by a hash of each path.

    Without a 'test', one of 'val', 'valid' and 'validation' takes its place.

    Args:
        may_lack: names of classes whose images may be gone. They are among the classes all the same, so that the
            others keep their numbers.
        partial: it may be a part of what a model was trained on: there may be no test images, and classes that only these have.
    """
    if not 0 < test_fraction < 1:
        raise UnlearnError(f"{test_fraction} is not a test fraction.", "it lies between 0 and 1, both excluded.")
    if not os.path.isdir(root):
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise UnlearnError(f"{root} {what}.", "pass the folder that holds train/ and test/, or one folder per class.")
    walk = _Walk(root)
    folders, files = walk.entries("")
    known = [*folders, *(name for name in may_lack if name not in folders)]
    if layout.looks_split(known, lambda name: name in folders and bool(walk.entries(name)[0])):
        return _presplit(walk, folders, files, may_lack, partial)
    return _hash_split(walk, folders, files, test_fraction, may_lack, partial)


def _presplit(walk: _Walk, folders: list[str], files: list[os.DirEntry], may_lack: Collection[str], partial: bool) -> Listing:
    held_out = layout.held_out(walk.root, folders, partial)
    read = ["train", held_out] if held_out else ["train"]
    layout.refuse_doubles(walk.root, folders)
    found = {}
    for part in sorted(read):  # path order
        names = _classes(walk, part)
        found |= {f"{part}/{name}": walk.add(f"{part}/{name}") for name in names}
    notes = layout.check_levels(walk.root, found, may_lack)
    trained = {name.removeprefix("train/"): inside.total for name, inside in found.items() if name.startswith("train/")}
    tested = [name.partition("/")[2] for name, inside in found.items() if inside.total and not name.startswith("train/")]
    classes = _known(walk.root, trained, [*tested, *may_lack] if partial else may_lack, "train/")
    number = {normal(name): i for i, name in enumerate(classes)}
    for name, inside in found.items():
        if inside.total and normal(name.partition("/")[2]) not in number:
            raise UnlearnError(
                f"{name} is a class without training images.",
                did_you_mean(name.partition("/")[2], trained) or "every class needs a folder under train/.",
            )
    labels = [(number[normal(name.partition("/")[2])], inside.total) for name, inside in found.items() if inside.total]
    test = np.repeat([not name.startswith("train/") for name in found], [inside.total for inside in found.values()])
    if held_out in layout.VALIDATION:
        notes.append(f"the images in '{held_out}' are read as the test images: there is no folder 'test'")
    beside, stray = [name for name in folders if name not in read], [file.name.lower().endswith(SUFFIXES) for file in files]
    notes += layout.unread(walk.root, beside, sum(stray), read)
    return _listing(walk, classes, labels, test, notes, partial)


def _hash_split(
    walk: _Walk, folders: list[str], files: list[os.DirEntry], test_fraction: float, may_lack: Collection[str], partial: bool
) -> Listing:
    _check_stray("", files)
    layout.check_spellings(folders)
    layout.check_halves(folders)
    found = {name: walk.add(name) for name in _by_path(folders)}
    notes = layout.check_levels(walk.root, found, may_lack)
    notes += [f"the folder '{name}' is read as a class, like its neighbours" for name in found if layout.role(name)]
    counts = {name: inside.total for name, inside in found.items()}
    classes = _known(walk.root, counts, may_lack)
    number = {normal(name): i for i, name in enumerate(classes)}
    labels = [(number[normal(name)], count) for name, count in counts.items() if count]
    test = np.array([path_fraction(path) < test_fraction for path in walk.paths], bool)
    if partial and test.any():
        notes.append(f"{test.sum():,} of the {len(test):,} images are held out as test images, by a hash of each path: "
                     "lay out as train/<class>/ what the model was trained on")  # fmt: skip
    listing = _listing(walk, classes, labels, test, notes, partial)
    lacking = set(map(normal, may_lack))
    left = np.bincount(listing.labels[~test], minlength=len(classes))
    for name, count in zip(classes, left, strict=True):
        if not count and normal(name) not in lacking:
            raise UnlearnError(
                f"class '{name}' keeps no training images: all of its few became test images.",
                "lower the test fraction, or lay the data out as train/<class>/ and test/<class>/.",
            )
    return listing


def path_fraction(path: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on the path alone: which images are held out never depends on other images."""
    digest = hashlib.sha256(salt.encode() + path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _classes(walk: _Walk, part: str) -> list[str]:
    folders, files = walk.entries(part)
    _check_stray(part + "/", files)
    layout.check_spellings(folders, f"{part}/")
    return _by_path(folders)


def _by_path(folders: list[str]) -> list[str]:
    return sorted(folders, key=lambda name: name + "/")


def _check_stray(prefix: str, files: list[os.DirEntry]) -> None:
    stray = sorted(file.name for file in files if file.name.lower().endswith(SUFFIXES))
    if stray:
        raise UnlearnError(
            f"{prefix}{stray[0]} lies outside any class folder.", "move it into the folder of its class."
        )


def _known(root: str, counts: dict[str, int], may_lack: Collection[str], prefix: str = "") -> list[str]:
    """The classes in order: folders with images, and those whose images may be gone."""
    lacking = {normal(name): name for name in may_lack}
    if not any(counts.values()):
        raise UnlearnError(
            f"{root} holds no images.", "pass the folder that holds train/ and test/, or one folder per class."
        )
    for name, count in counts.items():
        if not count and normal(name) not in lacking:
            raise UnlearnError(
                f"the class folder {prefix}{name} holds no images.",
                "add images, or remove the folder; a checkpoint that forgot the class works without its images.",
            )
    return sorted((lacking | {normal(name): name for name, count in counts.items() if count}).values())


def _listing(
    walk: _Walk, classes: list[str], labels: list[tuple[int, int]], test: np.ndarray, notes: list[str], partial: bool
) -> Listing:
    if not test.any() and not partial:
        raise UnlearnError(
            f"{walk.root} has no test images.", "add images to test/<class>/, or raise the test fraction."
        )
    numbers, counts = (np.array(column, np.int64) for column in zip(*labels, strict=True))
    stat = np.array(walk.stat, np.int64).reshape(-1, 3)
    return Listing(walk.paths, stat, classes, np.repeat(numbers, counts), test, tuple(notes))
