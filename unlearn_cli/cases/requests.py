"""Requests between the command line, the lineage and the record: what was asked now, and all that was asked before."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unlearn_cli.checkpoints.record import LIST_LIMIT, RequestRecord, Step
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.errors import UnlearnError
from unlearn_cli.tasks.classes import Classes


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


def recorded(target: Target, folder: Folder) -> RequestRecord:
    """A request as the record keeps it: class names, or the digest of the sorted paths, and the paths where they are few."""
    if target.kind == "classes":
        return RequestRecord(classes=list(target.classes))
    paths = sorted(folder.images.paths[i] for i in target.images.tolist())
    kept = paths if len(paths) <= LIST_LIMIT else None
    return RequestRecord(instances_digest=digest_of(paths), instances_count=len(paths), instances=kept)


def digest_of(paths: Sequence[str]) -> str:
    """SHA-256 over sorted paths, joined by newlines."""
    return hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest()


def asked(lineage: Sequence[Step], lists: Sequence[Sequence[str]] = ()) -> list[RequestRecord]:
    """All that a lineage was ever asked to forget or to leave out, oldest first, each of one kind and each once.

    Args:
        lists: paths of long lists, of which the record keeps the digest alone; they are filled in where the digest fits.
    """
    by_digest = {digest_of(sorted(paths)): sorted(paths) for paths in lists}
    found = []
    for step in lineage:
        for one in [] if step.request is None else kinds_of(step.request):
            if one.instances is None and one.instances_digest in by_digest:
                one = one.model_copy(update={"instances": by_digest[one.instances_digest]})
            if one not in found:
                found.append(one)
    return found


def kinds_of(request: RequestRecord) -> list[RequestRecord]:
    """The classes and the images of a request, each as a request of its own."""
    classes = [RequestRecord(classes=request.classes)] if request.classes else []
    images = [request.model_copy(update={"classes": []})] if request.instances_count else []
    return classes + images


def target_of(request: RequestRecord, folder: Folder, name: str) -> Target:
    """A recorded request on a folder from which some of its images may have gone since.

    Raises:
        UnlearnError: the record keeps the digest of a list alone.
    """
    if request.classes:
        return resolve(Request(classes=tuple(request.classes)), folder)
    if request.instances is None:
        raise UnlearnError(
            f"{name} forgot {request.instances_count} images and keeps only the digest of their list.",
            "pass the list again: --forgotten FILE.",
        )
    listed = set(request.instances)
    positions = [i for i, path in enumerate(folder.images.paths) if path in listed]
    return Target("images", (), torch.tensor(positions, dtype=torch.int64), Classes(len(folder.classes)))


def together(targets: Sequence[Target]) -> Target:
    """The union of requests of one kind."""
    first = targets[0]
    forgotten = tuple(dict.fromkeys(c for one in targets for c in one.task.forgotten))
    names = {i: name for one in targets for i, name in zip(sorted(one.task.forgotten), one.classes, strict=True)}
    images = torch.cat([one.images for one in targets]).unique()
    return Target(first.kind, tuple(names[i] for i in sorted(names)), images, Classes(first.task.count, forgotten))


def meant_by(targets: Sequence[Target], folder: Folder) -> Tensor:
    """Positions of all that requests mean: their training images, and the test images of their classes."""
    images = folder.images
    mask = torch.zeros(len(images), dtype=torch.bool)
    for one in targets:
        mask[one.images] = True
        mask |= one.task.gone()[images.labels]
    return mask.nonzero()[:, 0]


def in_words(request: RequestRecord | None) -> str:
    if request is None:
        return "nothing"
    words = []
    if request.classes:
        words.append(("class " if len(request.classes) == 1 else "classes ") + ", ".join(request.classes))
    if request.instances_count:
        words.append(f"{request.instances_count} listed image{'s' if request.instances_count != 1 else ''}")
    return " and ".join(words)


def slug(target: Target) -> str:
    """`class-3`, `class-3-5` or `instances-100`, for the name of an output file; a class by its name as far as files take it."""
    if target.kind == "images":
        return f"instances-{len(target.images)}"
    names = "-".join("".join(c if c.isalnum() or c in "._+" else "_" for c in name) for name in target.classes)
    return f"class-{names}" if len(names.encode()) <= LONGEST else f"classes-{len(target.classes)}"


LONGEST = 80
"""Bytes of class names in the name of an output file."""
