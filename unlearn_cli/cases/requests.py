"""Requests between the command line, the lineage and the record: what was asked now, and all that was asked before."""

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unlearn_cli.cases.evidence import found_again
from unlearn_cli.checkpoints.evidence import Evidence
from unlearn_cli.checkpoints.record import LIST_LIMIT, RequestRecord, Step
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import normal
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


def asked(
    lineage: Sequence[Step], lists: Sequence[Sequence[str]] = (), evidence: Evidence | None = None
) -> list[RequestRecord]:
    """All that a lineage was ever asked to forget or to leave out, oldest first, each of one kind and each once.

    Args:
        lists: paths of long lists, of which the record keeps the digest alone; they are filled in where the digest fits,
            as those are that the evidence knows.
    """
    lists = [sorted(set(paths)) for paths in (*lists, *(evidence.lists if evidence else ()))]
    by_digest = {digest_of(paths): paths for paths in lists}
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


def union(targets: Sequence[Target]) -> RequestRecord | None:
    """Several requests as one, which may be of both kinds, as a record keeps it; None where there are none."""
    classes = list(dict.fromkeys(name for one in targets for name in one.classes))
    paths = sorted({path for one in targets for path in one.paths})
    return RequestRecord(classes=classes, **(_listed(paths) if paths else {})) if targets else None


def _listed(paths: Sequence[str]) -> dict:
    """Of sorted paths."""
    kept = list(paths) if len(paths) <= LIST_LIMIT else None
    return {"instances_digest": digest_of(paths), "instances_count": len(paths), "instances": kept}


def known(
    lineage: Sequence[Step], folder: Folder, name: str, lists: Sequence[Request] = (), evidence: Evidence | None = None
) -> list[Target]:
    """Each request of a lineage on a folder from which some of its images may have gone since.

    Args:
        name: of the checkpoint; lists: that its record keeps by their digest alone.
        evidence: what was kept of the images; it finds those that were moved.

    Raises:
        UnlearnError: the paths of a list are not known.
    """
    return [target_of(one, folder, name, evidence) for one in here(asked(lineage, paths_of(lists, folder), evidence), folder)]


def here(found: Sequence[RequestRecord], folder: Folder) -> list[RequestRecord]:
    """Requests without the classes that a folder does not have, as those of a model that was trained on other classes since."""
    names = set(map(normal, folder.classes))
    kept = [one.model_copy(update={"classes": [c for c in one.classes if normal(c) in names]}) for one in found]
    return [one for one in kept if one.classes or one.instances_count]


def elsewhere(lineage: Sequence[Step], folder: Folder) -> list[RequestRecord]:
    """Those of a lineage's requests whose classes a folder does not have."""
    names = set(map(normal, folder.classes))
    return [one for one in asked(lineage) if any(normal(c) not in names for c in one.classes)]


def after(
    target: Target, lineage: Sequence[Step], folder: Folder, name: str, reads: Sequence[str], lists: Sequence[Request] = (),
    evidence: Evidence | None = None,
) -> Target:  # fmt: skip
    """A target that is given nothing of what earlier requests mean.

    Args:
        reads: the splits that will be read of it; the paths of earlier lists matter only where training images are retained.

    Raises:
        UnlearnError: the paths of an earlier list are needed and not known.
    """
    needed = not {"retain", "train"}.isdisjoint(reads)
    earlier = known(lineage, folder, name, lists, evidence) if needed else resolvable(lineage, folder, lists, evidence)
    return apart(target, earlier, folder)


def is_covered(target: Target, lineage: Sequence[Step], folder: Folder, evidence: Evidence | None = None) -> bool:
    """Whether earlier requests mean all that a target does."""
    earlier = resolvable(lineage, folder, evidence=evidence)
    classes = {name for one in earlier for name in one.classes}
    return set(target.classes) <= classes and bool(torch.isin(target.images, meant_by(earlier, folder)).all())


def resolvable(
    lineage: Sequence[Step], folder: Folder, lists: Sequence[Request] = (), evidence: Evidence | None = None
) -> list[Target]:
    """The same without lists of which only the digest is known."""
    found = here(asked(lineage, paths_of(lists, folder), evidence), folder)
    return [target_of(one, folder, "", evidence) for one in found if one.classes or one.instances is not None]


def target_of(request: RequestRecord, folder: Folder, name: str, evidence: Evidence | None = None) -> Target:
    if request.classes:
        found = resolve(Request(classes=tuple(request.classes)), folder)
    elif request.instances is None:
        raise UnlearnError(
            f"{name} forgot {request.instances_count} listed images and keeps only the digest of their list.",
            "pass the list again: --forgotten FILE; or what --keep-evidence wrote then: --evidence FILE.",
        )
    else:
        listed = set(request.instances)
        positions = [i for i, path in enumerate(folder.images.paths) if path in listed]
        task = Classes(len(folder.classes))
        found = Target("images", (), tuple(request.instances), torch.tensor(positions, dtype=torch.int64), task)
    return found_again(found, request, evidence, folder)


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


def gone(found: Sequence[RequestRecord], folder: Folder, evidence: Evidence | None = None) -> list[str]:
    """What to say of requests whose images are in the folder no more."""
    images, notes = folder.images, []
    there = set(images.paths)
    present = {folder.classes[i] for i in images.labels.unique().tolist()}
    trained = {folder.classes[i] for i in images.labels[~images.test].unique().tolist()}
    classes = list(dict.fromkeys(name for one in found for name in one.classes))
    for what, missing in (("image", set(classes) - present), ("training image", set(classes) & present - trained)):
        if missing:
            words = in_words(RequestRecord(classes=[name for name in classes if name in missing]))
            notes.append(f"no {what} of {words} is left in {folder.root}")
    listed = {path for one in found for path in one.instances or ()}
    if lost := sorted(listed - there):
        notes.append(f"{len(lost):,} of {len(listed):,} listed images are no more in {folder.root}, {lost[0]} among them")
    for one in found if evidence else ():
        seen = {image.path for image in evidence.of(one)} if set(one.classes) & trained else set()
        if lost := sorted(seen - there):
            what = f"{len(lost):,} of {len(seen):,} images of {in_words(one)}"
            notes.append(f"{what} are no more in {folder.root}, {lost[0]} among them")
    return notes


def together(targets: Sequence[Target]) -> Target:
    """The union of requests of one kind."""
    first = targets[0]
    forgotten = tuple(dict.fromkeys(c for one in targets for c in one.task.forgotten))
    names = {i: name for one in targets for i, name in zip(sorted(one.task.forgotten), one.classes, strict=True)}
    images = torch.cat([one.images for one in targets]).unique()
    paths = tuple(sorted({path for one in targets for path in one.paths}))
    classes = tuple(names[i] for i in sorted(names))
    astray = torch.cat([one.astray for one in targets]).unique()
    return Target(first.kind, classes, paths, images, Classes(first.task.count, forgotten), astray=astray)


def meant_by(targets: Sequence[Target], folder: Folder) -> Tensor:
    """Positions of all that requests mean: their training images, the test images of their classes, and what went astray."""
    images = folder.images
    mask = torch.zeros(len(images), dtype=torch.bool)
    for one in targets:
        mask[one.images] = mask[one.astray] = True
        mask |= one.task.gone()[images.labels]
    return mask.nonzero()[:, 0]


NO_IMAGES = torch.empty(0, dtype=torch.int64)


def apart(target: Target, others: Sequence[Target], folder: Folder) -> Target:
    """A target that is given nothing of what others mean and it does not; its task teaches nothing as one of their classes."""
    own = meant_by([replace(target, astray=NO_IMAGES)], folder)
    meant = torch.cat([meant_by(others, folder), target.astray]).unique()
    earlier = dict.fromkeys(c for one in others for c in one.task.forgotten if c not in target.task.forgotten)
    task = replace(target.task, earlier=tuple(earlier))
    return replace(target, task=task, withheld=meant[~torch.isin(meant, own)])


def named(
    classes: Collection[str], instances: Collection[str], paths: Sequence[str], names: Sequence[str], test: Sequence[bool]
) -> tuple[list[int], list[int], list[int]]:
    """Positions of the training images that a request names, of the test images of its classes, and of all others.

    Args:
        paths, names, test: of each image of a folder its path, its class, and whether it is a test image.
    """
    trained, tested, others = [], [], []
    wanted, listed = set(map(normal, classes)), set(instances)
    for i, (path, name, is_test) in enumerate(zip(paths, names, test, strict=True)):
        means = normal(name) in wanted or (path in listed and not is_test)
        (others if not means else tested if is_test else trained).append(i)
    return trained, tested, others


def in_words(request: RequestRecord | None) -> str:
    return "nothing" if request is None else _words(request.classes, str(request.instances_count))


def all_in_words(found: Sequence[RequestRecord]) -> str:
    """Several requests together. Lists of which only the digest is known may share images with others: `up to 250`."""
    paths = {path for one in found for path in one.instances or ()}
    unknown = {one.instances_digest: one.instances_count for one in found if one.instances is None and one.instances_count}
    count = len(paths) + sum(unknown.values())
    vague = unknown and len(unknown) + bool(paths) > 1
    classes = list(dict.fromkeys(name for one in found for name in one.classes))
    return _words(classes, f"up to {count}" if vague else str(count)) or "nothing"


def _words(classes: Sequence[str], images: str) -> str:
    words = []
    if classes:
        words.append(("class " if len(classes) == 1 else "classes ") + ", ".join(classes))
    if images != "0":
        words.append(f"{images} listed image{'s' if images != '1' else ''}")
    return " and ".join(words)


def slug(target: Target) -> str:
    """`class-3`, `class-3-5` or `instances-100`, for the name of an output file; a class by its name as far as files take it."""
    if target.kind == "images":
        return f"instances-{len(target.paths)}"
    names = "-".join("".join(c if c.isalnum() or c in "._+" else "_" for c in name) for name in target.classes)
    return f"class-{names}" if len(names.encode()) <= LONGEST else f"classes-{len(target.classes)}"


LONGEST = 80
"""Bytes of class names in the name of an output file."""
