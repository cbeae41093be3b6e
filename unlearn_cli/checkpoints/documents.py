"""JSON files that came from elsewhere: read with suspicion, written with their keys in order, known by their digest."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from unlearn_cli.errors import UnlearnError, one_line

T = TypeVar("T", bound=BaseModel)

def as_bytes(document: dict[str, Any], **layout: Any) -> bytes:
    """Keys in order, numbers in their shortest exact form, a line's end at the end."""
    return json.dumps(document, sort_keys=True, allow_nan=False, **layout).encode() + b"\n"


def digest_of(document: dict[str, Any], **layout: Any) -> str:
    """SHA-256 over all of a document but the digest that stands in it."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(as_bytes(rest, **layout)).hexdigest()


def read(name: str, largest: int, writer: str) -> Any:
    """What a JSON file holds.

    Args:
        largest: bytes that are read at most.
        writer: the command that writes such files, for hints.

    Raises:
        UnlearnError: no such file, too large, not text or not JSON.
    """
    path = Path(name)
    try:
        if not path.is_file():
            what = "is no file" if os.path.lexists(path) else "no such file"
            raise UnlearnError(f"{name}: {what}.", f"give the JSON file that `{writer}` wrote.")
        if path.stat().st_size > largest:
            raise UnlearnError(f"{name} has {path.stat().st_size:,} bytes, too many for a record.", "it is another file.")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UnlearnError(f"{name}: {(error.strerror or str(error)).lower()}.", "check its permissions.") from None
    except UnicodeDecodeError:
        raise UnlearnError(f"{name} is not a text file.", f"give the file that `{writer}` wrote.") from None
    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UnlearnError(f"{name} is not JSON ({one_line(error)}).", "it is damaged: restore it.") from None


def checked(document: Any, name: str, model: type[T], kind: str, what: str, newest: int, writer: str) -> T:
    """A document as a model of its kind, not newer than this program knows, with every field as it may be.

    Args:
        what: the kind in a sentence that denies it.
    """
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise UnlearnError(f"{name} is not {what}.", f"give the file that `{writer}` wrote.")
    version = document.get("schema_version")
    if isinstance(version, int) and version > newest:
        raise UnlearnError(
            f"{name} has version {one_line(version)}, this program reads up to {newest}.", "upgrade unlearn-cli."
        )
    try:
        return model.model_validate(document)
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
