"""What lies in a data folder: names, sizes and times of its images, their classes, and which are test images."""

import hashlib
import os
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from unlearn_cli.errors import UnlearnError, did_you_mean

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jpe", ".jfif", ".dib")


@dataclass(frozen=True, eq=False)
class Listing:
    """Every image under a root, sorted by path."""

    paths: list[str]
    stat: np.ndarray  # (N, 3) int64: bytes, and modified and changed in nanoseconds
    classes: list[str]
    labels: np.ndarray  # (N,) int64
    test: np.ndarray  # (N,) bool


class _Walk:
    """The growing lists of one scan; plain strings and os.scandir, because 60,000 files are listed at every start."""

    def __init__(self, root: str):
        self.root = root
        self.paths, self.stat = [], []

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

    def add(self, folder: str) -> int:
        """Append the images in and below a folder in path order; how many there were."""
        before = len(self.paths)
        folders, files = self.entries(folder)
        prefix = folder + "/"
        # A folder sorts as its name and a slash, which is how the paths below it sort among those of its neighbours.
        found = [(name + "/", None) for name in folders] + [(file.name, file) for file in files]
        for name, entry in sorted(found, key=itemgetter(0)):
            if entry is None:
                self._check_loop(prefix + name[:-1])
                self.add(prefix + name[:-1])
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
            self.stat.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        return len(self.paths) - before

    def _check_loop(self, folder: str) -> None:
        link = f"{self.root}/{folder}"
        above, target = os.path.realpath(os.path.dirname(link)), os.path.realpath(link)
        if os.path.islink(link) and f"{above}/".startswith(f"{target}/"):
            raise UnlearnError(f"{folder} is a link to a folder that contains it.", "remove the link.")


def scan(root: str, test_fraction: float) -> Listing:
    """List ROOT/train/<class> and ROOT/test/<class>, or ROOT/<class> split by a hash of each path."""
    if not os.path.isdir(root):
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise UnlearnError(f"{root} {what}.", "pass the folder that holds train/ and test/, or one folder per class.")
    walk = _Walk(root)
    folders, files = walk.entries("")
    split = [name for name in ("train", "test") if name in folders and (len(folders) == 2 or walk.entries(name)[0])]
    if split or {"train", "test"} <= set(folders):
        return _presplit(walk, folders)
    return _hash_split(walk, folders, files, test_fraction)


def _presplit(walk: _Walk, folders: list[str]) -> Listing:
    for needed, other in (("test", "train"), ("train", "test")):
        if needed not in folders:
            raise UnlearnError(
                f"{walk.root} has a '{other}' folder but no '{needed}' folder.",
                f"put images into {needed}/<class>/, or pass one folder per class, to be split by hash.",
            )
    known, tested = _classes(walk, "train"), _classes(walk, "test")
    counts = {}
    for part, names in (("test", tested), ("train", known)):  # path order
        for name in names:
            counts[part, name] = walk.add(f"{part}/{name}")
    for name in tested:
        if name not in known and counts["test", name]:
            raise UnlearnError(
                f"test/{name} is a class without training images.",
                did_you_mean(name, known) or "every class needs a folder under train/.",
            )
    _check_counts(walk.root, {f"train/{name}": counts["train", name] for name in known})
    held_out = sum(counts["test", name] for name in tested)
    number = {name: i for i, name in enumerate(sorted(known))}
    labels = [(number.get(name, 0), count) for (_, name), count in counts.items()]
    return _listing(walk, sorted(known), labels, np.arange(len(walk.paths)) < held_out)


def _hash_split(walk: _Walk, folders: list[str], files: list[os.DirEntry], test_fraction: float) -> Listing:
    _check_stray("", files)
    counts = {name: walk.add(name) for name in _by_path(folders)}
    _check_counts(walk.root, counts)
    known = sorted(counts)
    labels = [(known.index(name), count) for name, count in counts.items()]
    test = np.array([path_fraction(path) < test_fraction for path in walk.paths], bool)
    listing = _listing(walk, known, labels, test)
    left = np.bincount(listing.labels[~test], minlength=len(known))
    if not left.all():
        raise UnlearnError(
            f"class '{known[int(left.argmin())]}' keeps no training images: all of its few became test images.",
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
    return _by_path(folders)


def _by_path(folders: list[str]) -> list[str]:
    return sorted(folders, key=lambda name: name + "/")


def _check_stray(prefix: str, files: list[os.DirEntry]) -> None:
    stray = sorted(file.name for file in files if file.name.lower().endswith(SUFFIXES))
    if stray:
        raise UnlearnError(
            f"{prefix}{stray[0]} lies outside any class folder.", "move it into the folder of its class."
        )


def _check_counts(root: str, counts: dict[str, int]) -> None:
    for name in counts:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UnlearnError(f"the class folder {name!r} has a name that is not UTF-8.", "rename the folder.") from None
    if not any(counts.values()):
        raise UnlearnError(
            f"{root} holds no images.", "pass the folder that holds train/ and test/, or one folder per class."
        )
    for name, count in counts.items():
        if not count:
            raise UnlearnError(f"the class folder {name} holds no images.", "add images, or remove the folder.")


def _listing(walk: _Walk, classes: list[str], labels: list[tuple[int, int]], test: np.ndarray) -> Listing:
    if not test.any():
        raise UnlearnError(
            f"{walk.root} has no test images.", "add images to test/<class>/, or raise the test fraction."
        )
    numbers, counts = (np.array(column, np.int64) for column in zip(*labels, strict=True))
    return Listing(walk.paths, np.array(walk.stat, np.int64), classes, np.repeat(numbers, counts), test)
