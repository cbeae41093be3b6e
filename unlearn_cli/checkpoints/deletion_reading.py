"""A deletion record read with suspicion: it came from elsewhere, and anybody may have written it."""

from typing import Any

from unlearn_cli.checkpoints import documents
from unlearn_cli.checkpoints.deletion import KIND, LAYOUT, SCHEMA, Deletion

LARGEST = 64 << 20
"""Bytes of a record that is read: a million listed images fit."""
WRITER = "unlearn evaluate --record"


def read(name: str) -> Deletion:
    """Read a record.

    Raises:
        UnlearnError: no such file, too large, not JSON, of another kind or version, or any field that cannot be right.
    """
    return read_whole(name)[0]


def read_whole(name: str) -> tuple[Deletion, str]:
    """The record, and the digest of what stands in the file, whichever version wrote it."""
    document = documents.read(name, LARGEST, WRITER)
    return checked(document, name), documents.digest_of(document, **LAYOUT)


def checked(document: Any, name: str) -> Deletion:
    return documents.checked(document, name, Deletion, KIND, f"a {KIND}", SCHEMA, WRITER)
