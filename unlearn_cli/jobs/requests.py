"""Requests: what is to be forgotten, between the command line, the splits and the record."""

import hashlib
import sys
from pathlib import Path

from unlearn_cli.checkpoints.record import LIST_LIMIT, Record, RequestRecord
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.splits import Request, resolve_classes, resolve_instances
from unlearn_cli.errors import UnlearnError


def read_list(name: str) -> tuple[str, ...]:
    """Image paths from a text file, one per line; `-` is standard input. Blank lines and # comments are skipped."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise UnlearnError(f"{name}: {reason.lower()}.", "give a text file with one image path per line.") from None
    paths = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    if not paths:
        raise UnlearnError(f"{name} lists no images.", "write one image path per line, relative to the data folder.")
    return paths


def resolve(request: Request, folder: Folder) -> tuple[Request, RequestRecord]:
    """A request in the folder's own words (class names, sorted paths), and as the record keeps it."""
    if request.classes:
        classes = [folder.classes[i] for i in sorted(resolve_classes(request.classes, folder.classes))]
        return Request(classes=tuple(classes)), RequestRecord(classes=classes)
    paths = sorted(folder.images.paths[i] for i in resolve_instances(request.instances, folder))
    whole = hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest()
    kept = paths if len(paths) <= LIST_LIMIT else None
    return Request(instances=tuple(paths)), RequestRecord(instances_digest=whole, instances_count=len(paths), instances=kept)


def asked(given: Request, record: Record, folder: Folder) -> tuple[Request, RequestRecord] | None:
    """What the command line asks for, else what the checkpoint remembers; None when neither names anything.

    Raises:
        UnlearnError: the record keeps only the digest of a long list, and the list given is not the one.
    """
    remembered = record.request
    if given.classes or given.instances:
        found = resolve(given, folder)
        if remembered and remembered.instances_digest and found[1].instances_digest not in (None, remembered.instances_digest):
            raise UnlearnError("the list of images is not the one that this checkpoint forgot.", "pass the same --instances file.")
        return found
    if remembered is None:
        return None
    if remembered.classes:
        return resolve(Request(classes=tuple(remembered.classes)), folder)
    if remembered.instances is None:
        raise UnlearnError(
            f"the checkpoint forgot {remembered.instances_count} images and keeps only the digest of their list.",
            "pass the list again with --instances FILE.",
        )
    return resolve(Request(instances=tuple(remembered.instances)), folder)


def in_words(request: RequestRecord | None) -> str:
    if request is None:
        return "nothing"
    if request.classes:
        return ("class " if len(request.classes) == 1 else "classes ") + ", ".join(request.classes)
    return f"{request.instances_count} listed image{'s' if request.instances_count != 1 else ''}"


def slug(request: RequestRecord, folder: Folder) -> str:
    """`class-3`, `class-3-5` or `instances-100`, for the name of an output file."""
    if request.classes:
        return "class-" + "-".join(str(folder.classes.index(c)) for c in request.classes)
    return f"instances-{request.instances_count}"
