"""A deletion record read with suspicion: it came from elsewhere, and anybody may have written it."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unlearn_cli.checkpoints.deletion import KIND, SCHEMA, Deletion
from unlearn_cli.errors import UnlearnError, one_line

LARGEST = 64 << 20
"""Bytes of a record that is read: a million listed images fit."""


def read(name: str) -> Deletion:
    """Read a record with suspicion.

    Raises:
        UnlearnError: no such file, too large, not JSON, of another kind or version, or any field that cannot be right.
    """
    path = Path(name)
    try:
        if not path.is_file():
            what = "is no file" if os.path.lexists(path) else "no such file"
            raise UnlearnError(f"{name}: {what}.", "give the JSON file that `unlearn evaluate --record` wrote.")
        if path.stat().st_size > LARGEST:
            raise UnlearnError(f"{name} has {path.stat().st_size:,} bytes, too many for a record.", "it is another file.")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UnlearnError(f"{name}: {(error.strerror or str(error)).lower()}.", "check its permissions.") from None
    except UnicodeDecodeError:
        raise UnlearnError(f"{name} is not a text file.", "give the file that `unlearn evaluate --record` wrote.") from None
    try:
        document = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UnlearnError(f"{name} is not JSON ({one_line(error)}).", "it is damaged: restore it.") from None
    return checked(document, name)


def checked(document: Any, name: str) -> Deletion:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UnlearnError(f"{name} is not a deletion record.", "give the file that `unlearn evaluate --record` wrote.")
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA:
        raise UnlearnError(
            f"{name} has version {one_line(version)}, this program reads up to {SCHEMA}.", "upgrade unlearn-cli."
        )
    try:
        return Deletion.model_validate(document)
    except (ValidationError, RecursionError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
        field = one_line(".".join(str(part) for part in first["loc"])) or "record"
        raise UnlearnError(f"{name} is not valid: {field}: {one_line(first['msg'])}.", "it is damaged: restore it.") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers may disagree on one that says a thing twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key repeats")
    return found


def no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")
