"""Requests between the command line, the lineage and the record: what was asked now, and all that was asked before."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unlearn_cli.checkpoints.record import LIST_LIMIT, RequestRecord, Step
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.errors import UnlearnError
from unlearn_cli.tasks.classes import Classes


def recorded(target: Target) -> RequestRecord:
    """A request as the record keeps it: class names, or the digest of the sorted paths, and the paths where they are few."""
    if target.kind == "classes":
        return RequestRecord(classes=list(target.classes))
    return RequestRecord(**_listed(target.paths))


def digest_of(paths: Sequence[str]) -> str:
    """SHA-256 over sorted paths, joined by newlines."""
    return hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest()


def asked(lineage: Sequence[Step], lists: Sequence[Sequence[str]] = ()) -> list[RequestRecord]:
    """All that a lineage was ever asked to forget or to leave out, oldest first, each of one kind and each once.

    Args:
        lists: paths of long lists, of which the record keeps the digest alone; they are filled in where the digest fits.
    """
    by_digest = {digest_of(sorted(set(paths))): sorted(set(paths)) for paths in lists}
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


def union(found: Sequence[RequestRecord]) -> RequestRecord | None:
    """Several requests as one, which may be of both kinds; None where there are none or a list is known by its digest alone."""
    classes = list(dict.fromkeys(name for one in found for name in one.classes))
    paths = sorted({path for one in found for path in one.instances or ()})
    if not classes and not paths:
        return found[0] if found else None
    return RequestRecord(classes=classes, **(_listed(paths) if paths else {}))


def _listed(paths: Sequence[str]) -> dict:
    """Of sorted paths."""
    kept = list(paths) if len(paths) <= LIST_LIMIT else None
    return {"instances_digest": digest_of(paths), "instances_count": len(paths), "instances": kept}


def known(lineage: Sequence[Step], folder: Folder, name: str, lists: Sequence[Request] = ()) -> list[Target]:
    """Each request of a lineage on a folder from which some of its images may have gone since.

    Args:
        name: of the checkpoint; lists: that its record keeps by their digest alone.

    Raises:
        UnlearnError: the paths of a list are not known.
    """
    return [target_of(one, folder, name) for one in asked(lineage, paths_of(lists, folder))]


def after(
    target: Target, lineage: Sequence[Step], folder: Folder, name: str, reads: Sequence[str], lists: Sequence[Request] = ()
) -> Target:
    """A target that is given nothing of what earlier requests mean.

    Args:
        reads: the splits that will be read of it; the paths of earlier lists matter only where training images are retained.

    Raises:
        UnlearnError: the paths of an earlier list are needed and not known.
    """
    needed = not {"retain", "train"}.isdisjoint(reads)
    earlier = known(lineage, folder, name, lists) if needed else resolvable(lineage, folder, lists)
    return apart(target, earlier, folder)


def is_covered(target: Target, lineage: Sequence[Step], folder: Folder) -> bool:
    """Whether earlier requests mean all that a target does."""
    earlier = resolvable(lineage, folder)
    classes = {name for one in earlier for name in one.classes}
    return set(target.classes) <= classes and bool(torch.isin(target.images, meant_by(earlier, folder)).all())


def resolvable(lineage: Sequence[Step], folder: Folder, lists: Sequence[Request] = ()) -> list[Target]:
    """The same without lists of which only the digest is known."""
    found = asked(lineage, paths_of(lists, folder))
    return [target_of(one, folder, "") for one in found if one.classes or one.instances is not None]


def target_of(request: RequestRecord, folder: Folder, name: str) -> Target:
    if request.classes:
        return resolve(Request(classes=tuple(request.classes)), folder)
    if request.instances is None:
        raise UnlearnError(
            f"{name} forgot {request.instances_count} listed images and keeps only the digest of their list.",
            "pass the list again: --forgotten FILE.",
        )
    listed = set(request.instances)
    positions = [i for i, path in enumerate(folder.images.paths) if path in listed]
    return Target("images", (), tuple(request.instances), torch.tensor(positions, dtype=torch.int64), Classes(len(folder.classes)))


def fills_in(given: Request, lineage: Sequence[Step], folder: Folder) -> bool:
    """Whether a list given is one that the lineage keeps by its digest, so that it asks for nothing new.

    Raises:
        UnlearnError: the lineage forgot lists, and this is none of them.
    """
    listed = [one for one in asked(lineage) if one.instances_digest]
    if not given.names_images or not listed:
        return False
    mine = {digest_of(sorted(set(paths))) for paths in paths_of([given], folder)}
    if all(one.instances_digest not in mine for one in listed):
        raise UnlearnError("the list of images is not the one that this checkpoint forgot.", "pass the same --instances file.")
    return any(one.instances_digest in mine and one.instances is None for one in listed)


def paths_of(lists: Sequence[Request], folder: Folder) -> list[list[str]]:
    """For each list, the paths that it may have meant; images that were erased since are taken as they are written."""
    found = []
    for one in lists:
        if not one.names_images:
            continue
        try:
            found.append(list(resolve(one, folder).paths))
        except UnlearnError:
            written = [os.path.normpath(text.strip().replace("\\", "/")) for _, text in one.entries.entries]
            tested = {path for path, test in zip(folder.images.paths, folder.images.test.tolist(), strict=True) if test}
            found += [written, [path for path in written if path not in tested]]
    return found


def gone(found: Sequence[RequestRecord], folder: Folder) -> list[str]:
    """What to say of requests whose images are in the folder no more."""
    there, notes = set(folder.images.paths), []
    present = {folder.classes[i] for i in folder.images.labels.unique().tolist()}
    if lost := [name for one in found for name in one.classes if name not in present]:
        notes.append(f"no image of {in_words(RequestRecord(classes=lost))} is left in {folder.root}")
    listed = {path for one in found for path in one.instances or ()}
    if lost := sorted(listed - there):
        notes.append(f"{len(lost):,} of {len(listed):,} listed images are no more in {folder.root}, {lost[0]} among them")
    return notes


def together(targets: Sequence[Target]) -> Target:
    """The union of requests of one kind."""
    first = targets[0]
    forgotten = tuple(dict.fromkeys(c for one in targets for c in one.task.forgotten))
    names = {i: name for one in targets for i, name in zip(sorted(one.task.forgotten), one.classes, strict=True)}
    images = torch.cat([one.images for one in targets]).unique()
    paths = tuple(sorted({path for one in targets for path in one.paths}))
    return Target(first.kind, tuple(names[i] for i in sorted(names)), paths, images, Classes(first.task.count, forgotten))


def meant_by(targets: Sequence[Target], folder: Folder) -> Tensor:
    """Positions of all that requests mean: their training images, and the test images of their classes."""
    images = folder.images
    mask = torch.zeros(len(images), dtype=torch.bool)
    for one in targets:
        mask[one.images] = True
        mask |= one.task.gone()[images.labels]
    return mask.nonzero()[:, 0]


def apart(target: Target, others: Sequence[Target], folder: Folder) -> Target:
    """A target that is given nothing of what others mean and it does not; its task teaches nothing as one of their classes."""
    own, meant = meant_by([target], folder), meant_by(others, folder)
    earlier = dict.fromkeys(c for one in others for c in one.task.forgotten if c not in target.task.forgotten)
    task = replace(target.task, earlier=tuple(earlier))
    return replace(target, task=task, withheld=meant[~torch.isin(meant, own)])


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
        return f"instances-{len(target.paths)}"
    names = "-".join("".join(c if c.isalnum() or c in "._+" else "_" for c in name) for name in target.classes)
    return f"class-{names}" if len(names.encode()) <= LONGEST else f"classes-{len(target.classes)}"


LONGEST = 80
"""Bytes of class names in the name of an output file."""
