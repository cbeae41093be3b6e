"""Which level of a data folder is which: folders that look like splits, and levels that look like classes but are not.

A folder that is taken for what it is not would train without an error and forget the wrong images: in doubt, a refusal.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from unlearn_cli.data.names import normal, spelled
from unlearn_cli.errors import UnlearnError

TRAIN, TEST, VAL = "train", "test", "val"
VALIDATION = ("val", "valid", "validation")  # read as test images where a folder has no others
ROLES = {
    TRAIN: ("train", "training", "trn", "trainval"),
    TEST: ("test", "tests", "testing", "tst"),
    VAL: ("val", "vals", "valid", "validation", "validate", "validating", "dev", "devel", "development",
          "holdout", "heldout", "eval", "evaluation", "evaluate"),
}  # fmt: skip
ROLE = {word: part for part, words in ROLES.items() for word in words}
FILLERS = ("datasets", "dataset", "data", "sets", "set", "splits", "split", "folder", "dir", "images", "image", "imgs", "img",
           "pictures", "photos", "samples", "examples", "files")  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jpe", ".jfif", ".dib")
SHOWN = 5  # names in one message


class Inside(NamedTuple):
    """What a folder holds: images right in it, and its sub-folders."""

    direct: int
    below: dict[str, "Inside"]

    @property
    def total(self) -> int:
        return self.direct + sum(inside.total for inside in self.below.values())

    @property
    def filled(self) -> list[str]:
        """The sub-folders that hold images."""
        return [name for name, inside in self.below.items() if inside.total]


def role(name: str) -> str | None:
    """The part that a folder of this name would be: 'Training_Set' is train, 'val2017' is val, most names are none."""
    word = "".join(word for word in _words(name) if word not in FILLERS)
    bare = (word.removesuffix(filler) for filler in FILLERS), (word.removeprefix(filler) for filler in FILLERS)
    return next((ROLE[w] for w in (word, *bare[0], *bare[1]) if w in ROLE), None)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", normal(name))
    return [word.casefold() for word in re.findall(r"[^\W\d_]+", spaced)]


def by_role(folders: Iterable[str]) -> dict[str, list[str]]:
    parts = {part: [] for part in ROLES}
    for name in folders:
        if part := role(name):
            parts[part].append(name)
    return parts


def looks_split(folders: list[str], nested: Callable[[str], bool]) -> bool:
    """Whether these folders at the top are parts of one data set, and not classes that happen to have such names.

    Args:
        nested: whether a folder holds folders; asked only of the few with such a name.
    """
    parts = {part: names for part, names in by_role(folders).items() if names}
    if len(parts) > 1 or {TRAIN, TEST} <= set(folders):
        return True
    names = parts.get(TRAIN, []) + parts.get(TEST, [])
    if any(map(nested, names)):
        return True
    alone = 0 < len(names) < len(folders)  # among classes without such names: 'train' may be one, 'test' hardly
    return alone and (len(folders) == 2 or TEST in parts)


def held_out(root: str, folders: list[str], partial: bool) -> str | None:
    """The folder of a split root that holds its test images: 'test', or else the only one with validation images.

    None where it is not all of a data set, and has training images alone.

    Raises:
        UnlearnError: 'train' or 'test' is missing, or goes by another name.
    """
    if {TRAIN, TEST} <= set(folders):
        return TEST
    parts = by_role(folders)
    filled = [name for name in parts[VAL] if count_images(f"{root}/{name}")]
    if TRAIN in folders and not parts[TEST]:
        if len(filled) == 1 and filled[0] in VALIDATION:
            return filled[0]
        if partial and not filled:
            return None
    refuse_parts(root, folders)


def refuse_parts(root: str, folders: list[str]) -> None:
    """A root that holds parts of a data set, of which 'train' or 'test' is missing or goes by another name."""
    parts = by_role(folders)
    misnamed = {part: parts[part] for part in (TEST, TRAIN) if parts[part] and part not in parts[part]}
    rename = " and ".join(f"{listed(names)} to '{part}'" for part, names in misnamed.items())
    missing = [part for part in (TEST, TRAIN) if not parts[part]]
    if not missing:
        found = listed([name for names in misnamed.values() for name in names])
        called = f"folder{'s' if len(misnamed) > 1 else ''} called {listed(list(misnamed))}"
        raise UnlearnError(f"{root} holds {found} but no {called}.", f"rename {rename}, in lower case.")
    needed = missing[-1]  # train, where both are
    there = (parts[TRAIN] or parts[TEST] or parts[VAL])[0]
    hints, beside = [f"rename {rename}"] if rename else [], ""
    if needed == TEST and parts[VAL]:
        beside = f"; {listed(parts[VAL])} {'is' if len(parts[VAL]) == 1 else 'are'} not read"
        which = f"'{parts[VAL][0]}'" if len(parts[VAL]) == 1 else "the one of them that is meant"
        hints.append(f"rename {which} to 'test', or put test images into test/<class>/")
    else:
        hints.append(f"put images into {needed}/<class>/, or pass one folder per class, to be split by hash")
    if not all(map(role, folders)):
        hints.append(f"if '{there}' is a class, give it another name")
    raise UnlearnError(f"{root} has a '{there}' folder but no '{needed}' folder{beside}.", f"{'; '.join(hints)}.")


def refuse_doubles(top: str, folders: list[str]) -> None:
    """A second folder of training or test images beside 'train' and 'test': which one is meant is not clear."""
    for part, names in by_role(folders).items():
        for name in names if part in (TRAIN, TEST) else []:
            if name != part and not os.path.samefile(f"{top}/{name}", f"{top}/{part}") and count_images(f"{top}/{name}"):
                raise UnlearnError(
                    f"{top} holds both '{part}' and '{name}'.",
                    f"put all {part} images into '{part}', or move '{name}' out of the data folder.",
                )


def check_halves(folders: list[str]) -> None:
    """Refuse cat_train beside cat_test: two parts of one class, not two classes."""
    seen = {}
    for name in folders:
        words = _words(name)
        part = next((ROLE[word] for word in words if word in ROLE), None)
        rest = tuple(word for word in words if word not in ROLE)
        if part is None or not rest:
            continue
        other, other_part = seen.setdefault((rest, *re.findall(r"\d+", name)), (name, part))
        if other_part != part:
            raise UnlearnError(
                f"the folders {listed([other, name])} look like {other_part} and {part} images of one class.",
                "lay the images out as train/<class>/ and test/<class>/.",
            )


def check_levels(root: str, found: dict[str, Inside], may_lack: Collection[str] = ()) -> list[str]:
    """Refuse class folders that hold no images themselves but folders of them: the level below looks like the classes.

    One folder of the same name in every class (cat/images/, dog/images/) tells nothing apart and is read, and so is what
    is left of the classes that `may_lack` names: they are known to be classes.

    Returns:
        A note where images below a class folder's folders count as that class's.
    """
    filled = {name: inside for name, inside in found.items() if inside.total}
    for name, inside in filled.items():
        for part in inside.filled:
            if inside.direct and role(part):
                raise UnlearnError(
                    f"{name}/{part} looks like {role(part)} images inside a class.",
                    "lay the images out as train/<class>/ and test/<class>/, or give the folder another name.",
                )
    lacking = set(map(normal, may_lack))
    hollow = [name for name, inside in filled.items() if not inside.direct and normal(name.rpartition("/")[2]) not in lacking]
    if hollow and not (_alike(filled) and len(filled) + len(lacking) > 1):
        _refuse_hollow(root, hollow[0], filled)
    folded = sorted(f"{name}/{below}" for name, inside in filled.items() for below in inside.filled)
    if not folded:
        return []
    return [f"images in folders inside a class folder count as images of that class: {listed(folded)}"]


def _alike(filled: dict[str, Inside]) -> bool:
    """Whether every class holds its images in one folder, of the same name everywhere, that is no part."""
    names = {tuple(inside.filled) for inside in filled.values()}
    if len(names) > 1 or any(inside.direct for inside in filled.values()):
        return False
    (inner,) = names
    right_in_it = all(inside.below[inner[0]].direct for inside in filled.values())
    return len(inner) == 1 and role(inner[0]) is None and right_in_it


def _refuse_hollow(root: str, name: str, filled: dict[str, Inside]) -> None:
    below = filled[name].filled
    level = f"the folder {name} holds no images itself, only {listed(below)}"
    if len(filled) > 1 and role(name.rpartition("/")[2]):
        raise UnlearnError(
            f"the folder {name} holds {listed(below)} and looks like one part of the data, not like a class.",
            "lay the images out as train/<class>/ and test/<class>/, or move it out of the data folder.",
        )
    parts = any(map(role, below))
    looks = "parts of the data" if parts else "the classes"
    if len(filled) == 1:
        raise UnlearnError(f"{level}, which look like {looks}: a level too deep.", f"pass {root}/{name}.")
    if parts:
        hint = f"lay the images out as train/<class>/ and test/<class>/, or pass one folder that holds both, like {root}/{name}."
    else:
        hint = (
            f"images lie right in the folder of their class: move them up if {name} is one, move the folders up if they are; "
            "parts of the data are called 'train' and 'test'."
        )
    raise UnlearnError(f"{level}, which look like {looks}.", hint)


def check_spellings(folders: list[str], prefix: str = "") -> None:
    """Refuse two class folders whose names differ only in how Unicode writes them, and names that are not UTF-8."""
    seen = {}
    for name in folders:
        try:
            name.encode()
        except UnicodeEncodeError:
            what = f"the class folder {prefix + name!r} has a name that is not UTF-8."
            raise UnlearnError(what, "rename the folder.") from None
        other = seen.setdefault(normal(name), name)
        if other != name:
            raise UnlearnError(
                f"the class folders {prefix}{spelled(other)} and {prefix}{spelled(name)} have one name in two Unicode forms.",
                "move the images into one of them, or rename one.",
            )


def unread(top: str, folders: list[str], stray: int, read: list[str]) -> list[str]:
    """A note for each folder with images beside the parts that are read, and for images right beside them."""
    notes, parts = [], " and ".join(read)
    for name in folders:
        count = count_images(f"{top}/{name}")
        if count:
            notes.append(f"the folder '{name}' with {_images(count)} is not read: only {parts} {'are' if len(read) > 1 else 'is'}")
    if len(notes) > SHOWN:
        notes = [*notes[: SHOWN - 1], f"{len(notes) - SHOWN + 1} more folders with images beside {parts} are not read"]
    if stray:
        where = f"right beside the folder{'s' if len(read) > 1 else ''} {parts}"
        notes.append(f"{_images(stray)} {where} {'are' if stray > 1 else 'is'} not read")
    return notes


def count_images(top: str) -> int:
    """How many image files lie in and below a folder, through links, each folder once."""
    count, waiting, seen = 0, [top], set()
    while waiting:
        folder = waiting.pop()
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen and about.st_ino:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as found:
                for entry in found:
                    if entry.name[0] == ".":
                        continue
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif entry.name.lower().endswith(SUFFIXES):
                        count += 1
        except OSError:
            continue  # what cannot be listed cannot be read either; nothing here is
    return count


def listed(names: list[str]) -> str:
    """A few names in quotes, and how many more there are."""
    shown = [f"'{name}'" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(shown)} and {len(names) - SHOWN} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count > 1 else ''}"
