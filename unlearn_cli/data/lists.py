"""Lists of images as people make them: plain lines, `find -print0`, CSV, JSON, in any common encoding.

Only the text is read here; which images its entries name is for `matching` to say, which knows the folder.
"""

import codecs
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn_cli.errors import UnlearnError, did_you_mean, one_line

COLUMNS = ("file_name", "path", "file", "image", "filename")
"""Names of a column that needs no `--column`."""
BREAKS = re.compile(r"\r\n|\n|\r")  # nothing else that Unicode calls a line break: a file name may hold it
# The longer mark first: UTF-32's begins with UTF-16's.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


@dataclass(frozen=True)
class ListRead:
    """What a list says, before any image is looked up."""

    name: str  # as messages call it
    folder: str  # where the list lies: its entries may be relative to that
    entries: tuple[tuple[int, str], ...]  # (number of the line or item, text); not yet known to be images
    lines: int = 0  # of the file, blank ones included; items where it has no lines
    blank: int = 0
    unit: str = "line"  # what `number` counts: line, item, or "" for words of a command line
    comments: bool = False  # a `#` may begin a comment
    globs: bool = False  # an entry may be a pattern; in a table, which a program wrote, `x[1].png` is a name
    header: bool = False  # the first entry may be the name of the only column
    damage: str = ""  # where the file stops being UTF-8, if it does

    def place(self, number: int) -> str:
        return f" ({self.unit} {number})" if self.unit else ""


def read_list(name: str, column: str | None = None) -> ListRead:
    """Read a list of images; `-` is standard input.

    By suffix or, for standard input and other names, where a column is asked for:
        lines     one entry each, ended by LF, CRLF or CR alone; with a NUL anywhere, entries ended by NUL
        .csv .tsv with a header: the column named, else the only one called as in COLUMNS; one column may lack the header
        .jsonl    a string or an object per line; .json a list of them

    Raises:
        UnlearnError: the file cannot be read or decoded, lists nothing, or its column is missing, unclear, ragged or empty.
    """
    said = "standard input" if name == "-" else name
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        problem = f"{one_line(name)}: {(error.strerror or str(error)).lower()}."
        raise UnlearnError(problem, "give a file that lists one image per line.") from None
    except ValueError:
        raise UnlearnError(f"{name!r} is no file name.", "give a file that lists one image per line.") from None
    text, damage = _decode(raw, said)
    folder = os.getcwd() if name == "-" else os.path.dirname(os.path.abspath(name))
    kind = _kind(name, text, column)
    if kind == "json":
        entries, lines, blank, more = *_json(text, said, column), {"unit": "item"}
    elif kind == "jsonl":
        entries, lines, blank, more = *_json_lines(text, said, column), {}
    elif kind in ("csv", "tsv"):
        entries, lines, blank, more = _csv(text, said, column, kind)
    elif "\0" in text:
        entries, lines, blank, more = *_numbered(text.removesuffix("\0").split("\0")), {"unit": "item"}
    else:
        entries, lines, blank, more = *_numbered(_lines(text)), {"comments": True, "globs": True}
    if not entries:
        raise UnlearnError(f"{one_line(said)} lists no images.", "write one image path per line.")
    return ListRead(said, folder, tuple(entries), lines, blank, damage=damage, **more)


def patterns(texts: Iterable[str], option: str = "--images") -> ListRead:
    """Paths and patterns typed on the command line, as a list without a file.

    Raises:
        UnlearnError: one of them is empty.
    """
    entries = tuple(enumerate(texts, 1))
    if not entries or any(not text.strip() for _, text in entries):
        raise UnlearnError(f"{option} was given nothing.", f"name images or a quoted pattern: {option} 'train/3/00*.png'.")
    return ListRead(option, os.getcwd(), entries, len(entries), unit="", globs=True)


def _decode(raw: bytes, name: str) -> tuple[str, str]:
    """The text, and where it stops being UTF-8: a name of such bytes is still matched against the file system's."""
    mark, encoding = next(((mark, encoding) for mark, encoding in MARKS if raw.startswith(mark)), (b"", "utf-8"))
    body = raw[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        place = f"byte {len(mark) + error.start}"
        if encoding != "utf-8":
            problem = f"{one_line(name)} begins as {encoding[:6].upper()} and stops being it at {place}."
            raise UnlearnError(problem, "save it as UTF-8.") from None
        line = len(BREAKS.findall(body[: error.start].decode())) + 1
        return body.decode(errors="surrogateescape"), f"{place}, line {line}"
    if encoding == "utf-8" and body.count(0) * 4 > len(body):
        raise UnlearnError(f"{one_line(name)} is not UTF-8: every other byte or so is zero.", "save it as UTF-8.")
    return text, ""


def _kind(name: str, text: str, column: str | None) -> str:
    suffix = "" if name == "-" else os.path.splitext(name)[1].lower()
    if suffix in (".csv", ".tsv", ".json", ".jsonl", ".ndjson"):
        return suffix[1:].replace("ndjson", "jsonl")
    if column is None:
        return "lines"
    first = text.lstrip()[:1]
    return {"{": "jsonl", "[": "json"}.get(first, "csv")


def _lines(text: str) -> list[str]:
    lines = BREAKS.split(text)
    return lines if lines[-1] else lines[:-1]


def _numbered(lines: list[str]) -> tuple[list[tuple[int, str]], int, int]:
    """Those that are not blank, how many there were, and how many were blank."""
    entries = [(number, line) for number, line in enumerate(lines, 1) if line and not line.isspace()]
    return entries, len(lines), len(lines) - len(entries)


def _csv(text: str, name: str, column: str | None, kind: str) -> tuple[list[tuple[int, str]], int, int, dict]:
    written = _lines(text)
    lines, blank = len(written), sum(not line.strip() for line in written)
    delimiter, head = _header(text, name, column, kind)
    rows = list(_rows(text, name, delimiter))
    if not rows:
        return [], lines, blank, {}
    first, cells = rows[0]
    if column is None and len(cells) == 1 and _known(head) is None:
        at, body, more = 0, rows, {"header": True}
    else:
        at, body, more = _column(head, column, f"{one_line(name)} (line {first})"), rows[1:], {}
    entries = []
    for number, row in body:
        if len(row) != len(cells):
            problem = f"{one_line(name)}: line {number} has {len(row)} columns, not {len(cells)}."
            raise UnlearnError(problem, "a name that holds the separator needs quotes around it.")
        if not row[at].strip():
            raise UnlearnError(f"{one_line(name)}: line {number} names no image.", "fill the column in, or take the line out.")
        entries.append((number, row[at]))
    return entries, lines, blank, more


def _rows(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line that each row ends on, and its cells; blank lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
            elif len(row) > 1:
                raise UnlearnError(f"{one_line(name)}: line {reader.line_num} names no image.", "take the line out.")
    except csv.Error as error:
        problem = f"{one_line(name)}: line {reader.line_num} is not CSV ({one_line(error)})."
        raise UnlearnError(problem, "check its quotes.") from None


def _header(text: str, name: str, column: str | None, kind: str) -> tuple[str, list[str]]:
    """The separator and the first row: the separator under which that row holds the column, else the suffix's own."""
    choices = ("\t",) if kind == "tsv" else (",", ";", "\t")
    heads = {}
    for delimiter in choices:
        heads[delimiter] = [cell.strip() for cell in next(_rows(text, name, delimiter), (0, []))[1]]
        if _known(heads[delimiter]) is not None if column is None else column in heads[delimiter]:
            return delimiter, heads[delimiter]
    return choices[0], heads[choices[0]]


def _known(names: Iterable[str]) -> str | None:
    """The one name among these that stands for an image's path, as written."""
    found = [name for name in names if name.lower() in COLUMNS]
    return found[0] if len(set(found)) == 1 else None


def _column(names: list[str], column: str | None, place: str) -> int:
    """Where the column with the paths stands."""
    wanted = _known(names) if column is None else column
    if wanted is not None and names.count(wanted) == 1:
        return names.index(wanted)
    shown = ", ".join(one_line(name, 40) or "(no name)" for name in names[:20]) + (", ..." if len(names) > 20 else "")
    if wanted is None:
        raise UnlearnError(f"{place} does not say which column names the images.", f"pass --column: {shown}.")
    if wanted not in names:
        problem = f"{place} has no column called '{one_line(wanted)}'."
        raise UnlearnError(problem, f"{did_you_mean(wanted, names)} the columns are {shown}.".strip())
    raise UnlearnError(f"{place} has {names.count(wanted)} columns called '{one_line(wanted)}'.", "rename all but one.")


def _json(text: str, name: str, column: str | None) -> tuple[list[tuple[int, str]], int, int]:
    items = _parsed(text, one_line(name))
    if not isinstance(items, list) or isinstance(items, _Pairs):
        raise UnlearnError(f"{one_line(name)} is not a list.", "write a JSON list of paths, or of objects.")
    entries = [(number, _value(item, column, f"{one_line(name)}: item {number}")) for number, item in enumerate(items, 1)]
    return entries, len(items), 0


def _json_lines(text: str, name: str, column: str | None) -> tuple[list[tuple[int, str]], int, int]:
    written, lines, blank = _numbered(_lines(text))
    places = ((number, line, f"{one_line(name)}: line {number}") for number, line in written)
    return [(number, _value(_parsed(line, place), column, place)) for number, line, place in places], lines, blank


class _Pairs(list):
    """A JSON object with every key that was written, those written twice too."""


def _parsed(text: str, place: str):
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UnlearnError(f"{place} is not JSON ({one_line(error, 80)}).", "repair it, or list one path per line.") from None


def _value(item, column: str | None, place: str) -> str:
    """The path that a string is, or that an object holds."""
    if isinstance(item, _Pairs):
        found = item[_column([key for key, _ in item], column, place)][1]
    elif column is not None and isinstance(item, str):
        raise UnlearnError(f"{place} is a path, and has no columns.", "leave --column out.")
    else:
        found = item
    if not isinstance(found, str) or not found.strip():
        raise UnlearnError(f"{place} names no image.", "a path is a string that is not empty.")
    return found
