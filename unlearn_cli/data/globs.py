"""Patterns over paths relative to a folder: `*` and `?` stay inside one name, `**` goes through folders."""

import re

MAGIC = re.compile(r"[*?[]")


def is_glob(text: str) -> bool:
    return MAGIC.search(text) is not None


def literal_prefix(pattern: str) -> str:
    """What every match begins with."""
    found = MAGIC.search(pattern)
    return pattern[: found.start()] if found else pattern


def translate(pattern: str) -> re.Pattern:
    """The regular expression of whole paths that a pattern matches.

    `*` any characters but `/`; `?` one such character; `[abc]`, `[a-c]`, `[!abc]` one such character of a set; `**` any
    number of folders, as a whole name: `**/x.png`, `14/**`, `14/**/x.png`. A `[` that nothing closes stands for itself.
    """
    parts, i = [], 0
    while i < len(pattern):
        start_of_name = i == 0 or pattern[i - 1] == "/"
        if start_of_name and pattern.startswith("**/", i):
            parts.append("(?:[^/]+/)*")
            i += 3
        elif start_of_name and pattern[i:] == "**":
            parts.append(".+")
            i += 2
        elif pattern[i] == "*":
            parts.append("[^/]*")
            i += 1
        elif pattern[i] == "?":
            parts.append("[^/]")
            i += 1
        elif pattern[i] == "[" and (end := _closing(pattern, i)):
            parts.append(_one_of(pattern[i + 1 : end]))
            i = end + 1
        else:
            parts.append(re.escape(pattern[i]))
            i += 1
    return re.compile("".join(parts), re.DOTALL)


def _closing(pattern: str, start: int) -> int:
    """Where the set that opens at `start` ends, or 0; a `]` that comes first belongs to the set."""
    first = start + 2 if pattern[start + 1 : start + 2] in ("!", "^") else start + 1
    return max(0, pattern.find("]", first + 1))


def _one_of(inside: str) -> str:
    """A set of characters, never `/`; a range that runs backwards holds nothing."""
    negative, inside = (True, inside[1:]) if inside[0] in "!^" else (False, inside)
    kept, i = "", 0
    while i < len(inside):
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            low, high = inside[i], inside[i + 2]
            kept += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
            i += 3
        else:
            kept += re.escape(inside[i])
            i += 1
    if not kept:
        return "[^/]" if negative else "(?!)"
    return f"(?!/)[{'^' if negative else ''}{kept}]"
