"""The order of the classes in a head, where a plain state dict does not say it: as given, or as other programs sort."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from unlearn_cli.data.names import normal
from unlearn_cli.errors import UnlearnError


def as_given(names: Sequence[str], classes: Sequence[str], root: object) -> list[str]:
    """The folder's classes in the order of --class-names.

    Raises:
        UnlearnError: a class is missing, named twice or unknown.
    """
    own = {normal(name): name for name in classes}
    if len(own) < len(classes):  # two folders that only differ in how letters are composed
        own = {name: name for name in classes}
    asked = [name if name in own else normal(name) for name in names]
    hint = "name every class folder once, in the order of the head's outputs."
    if unknown := [name for name, key in zip(names, asked, strict=True) if key not in own]:
        raise UnlearnError(f"--class-names names {_some(unknown)}, and {root} has no such folder{_s(unknown)}.", hint)
    if twice := [own[key] for key, count in Counter(asked).items() if count > 1]:
        raise UnlearnError(f"--class-names names {_some(twice)} more than once.", hint)
    if missing := [name for key, name in own.items() if key not in asked]:
        raise UnlearnError(f"--class-names names {len(asked)} of {len(own)} classes: {_some(missing)} of {root} is missing.", hint)
    return [own[key] for key in asked]


def same_order(names: Sequence[str], classes: Sequence[str]) -> bool:
    return [normal(name) for name in names] == [normal(name) for name in classes]


def usual(classes: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Orders in which programs list folders, with their names; each once, and none that is the given one."""
    seen = [list(classes)]
    for words, key in SORTS.items():
        try:
            order = sorted(sorted(classes), key=key)
        except ValueError:  # no numbers
            continue
        for said, found in ((words, order), (f"{words}, backwards", order[::-1])):
            if found not in seen:
                seen.append(found)
                yield said, found


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Digits by their value: 2 before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part]


SORTS = {
    "alphabetical": lambda name: name,
    "natural": _natural,
    "natural without regard to case": lambda name: _natural(name.lower()),
    "alphabetical without regard to case": str.lower,
    "alphabetical without regard to case and signs": lambda name: "".join(c for c in name.lower() if c.isalnum()),
    "by value": float,
}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _s(names: Sequence[str]) -> str:
    return "s" if len(names) > 1 else ""
