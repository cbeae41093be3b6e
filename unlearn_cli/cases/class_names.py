"""Which class of a head each folder is, where the head's outputs have names of their own."""

from collections.abc import Sequence

from unlearn_cli.cases.folders import numbered
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import normal
from unlearn_cli.errors import UnlearnError

Also = Sequence[Sequence[str]]
"""Other names of each class: synonyms, descriptions, identifiers."""


def matched(folder: Folder, names: Sequence[str], also: Also | None = None) -> tuple[Folder, list[str] | None, list[str]]:
    """The folder numbered as the head's outputs are, the classes that it has if not all, and what to say of them.

    A class is called as its folder.

    Raises:
        UnlearnError: a folder is no class of the head, or several; or two folders are one class.
    """
    places, unique = places_of(folder.classes, folder, names, also), _distinct(names, set())
    classes = list(unique)
    for own, place in zip(folder.classes, places, strict=True):
        classes[place] = own
    classes = _distinct(classes, set(places))
    pairs = zip(folder.classes, places, strict=True)
    renamed = [f"'{own}' as '{unique[place]}'" for own, place in pairs if normal(own) != normal(unique[place])]
    shown = ", ".join(renamed[:5]) + (" ..." if len(renamed) > 5 else "")
    notes = [f"folders are read as the model's classes: {shown}"] if renamed else []
    if len(places) < len(names):
        notes.append(f"{folder.root} has {len(places)} of the {len(names)} classes of the model")
    present = [classes[i] for i in sorted(places)] if len(places) < len(names) else None
    return numbered(folder, classes, places), present, notes


def check_order(folder: Folder, present: Sequence[str], names: Sequence[str], also: Also | None, other: str) -> None:
    """Refuse names by which a class is another output than it is of the model whose folder is open already.

    Args:
        present: the classes that the folder has; it is numbered as that model's outputs are.
        other: that model.
    """
    for own, place in zip(present, places_of(present, folder, names, also), strict=True):
        if folder.classes[place] != own:
            raise UnlearnError(f"the class '{own}' is output {folder.classes.index(own)} of {other} and {place} here.",
                               "compare models of the same order.")  # fmt: skip


def places_of(classes: Sequence[str], folder: Folder, names: Sequence[str], also: Also | None) -> list[int]:
    """For each folder the output that is its class.

    It is the class of its name, or else the only one of whose other names it is one (`tench` of `tench, Tinca tinca`).
    """
    given, names = names, _distinct(names, set())
    exact = {normal(one): i for i, one in enumerate(names)}
    other: dict[str, set[int]] = {}
    for i, one in enumerate(given):
        for word in [*one.split(","), *(also[i] if also else ())]:
            for part in (word, *word.split(",")):
                other.setdefault(_plainly(part), set()).add(i)
    places: list[int] = []
    for own in classes:
        found = {exact[normal(own)]} if normal(own) in exact else other.get(_plainly(own), set())
        if len(found) != 1:
            what = "is no class of the model" if not found else f"may be {' or '.join(repr(names[i]) for i in sorted(found))}"
            raise UnlearnError(f"the folder '{own}' of {folder.root} {what} ({len(names)} classes, {names[0]} the first).",
                               "rename it, or pass --labels FILE with the names of the head's outputs in their order.")  # fmt: skip
        place = found.pop()
        if place in places:
            raise UnlearnError(f"the folders '{classes[places.index(place)]}' and '{own}' are one class of the model: "
                               f"'{names[place]}'.", "move the images into one of them.")  # fmt: skip
        places.append(place)
    return places


def _plainly(text: str) -> str:
    return " ".join(normal(text).replace("_", " ").casefold().split())


def _distinct(classes: Sequence[str], kept: set[int]) -> list[str]:
    """Every name once: configurations have some twice, as `crane` the bird and the machine; then with its number."""
    counts = {name: classes.count(name) for name in set(classes)} if len(set(classes)) < len(classes) else {}
    return [name if i in kept or counts.get(name, 1) == 1 else f"{name} ({i})" for i, name in enumerate(classes)]
