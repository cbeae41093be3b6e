"""The evidence of a checkpoint: gathered when it forgets, found beside it, and looked up on a folder from which images are gone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlearn_cli.checkpoints import evidence, store
from unlearn_cli.checkpoints.evidence import Evidence, Image, Meant
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.data import copies
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import same_name
from unlearn_cli.data.requests import Target
from unlearn_cli.errors import UnlearnError, one_line


def beside(checkpoint: str | Path) -> str:
    """`model.evidence.json` for `model.safetensors`."""
    path = Path(checkpoint)
    return str(path.with_name(path.name.removesuffix(".safetensors") + ".evidence.json"))


def digests_told(checkpoint: Checkpoint) -> dict[str, str]:
    """The digests of the evidence that a lineage names, and of the tensors that each belongs to, newest first."""
    lineage = checkpoint.record.lineage if checkpoint.record else []
    after = [step.source.digest if step.source else "" for step in lineage[1:]] + [checkpoint.digest] * bool(lineage)
    return {step.evidence: after for step, after in reversed(list(zip(lineage, after, strict=True))) if step.evidence}


def belongs(found: Evidence, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's record names this evidence."""
    return digests_told(checkpoint).get(found.digest) == found.checkpoint


def of(checkpoint: Checkpoint, given: str | None = None) -> tuple[Evidence | None, list[str]]:
    """The evidence of a checkpoint, as given or as it lies beside, and what is to be said of it. None at all is no error.

    Of a step that kept none, that of the last one before it that did, if it still lies beside.

    Raises:
        UnlearnError: the file is not the one that the record names, or was changed.
    """
    told, own = digests_told(checkpoint), checkpoint.record.lineage[-1:] if checkpoint.record else []
    if given is not None:
        return matching(given, checkpoint), []
    if checkpoint.path is None:
        return None, []
    place = beside(checkpoint.path)
    if own and own[0].evidence and Path(place).is_file():
        return matching(place, checkpoint), []
    notes = [f"{Path(place).name} is not read: {checkpoint.name} names no evidence"] if not told and Path(place).is_file() else []
    return earlier(checkpoint), notes


def matching(name: str, checkpoint: Checkpoint) -> Evidence:
    """The evidence in a file, if it is one that the checkpoint's record names."""
    found = evidence.read(name)
    if not belongs(found, checkpoint):
        told = ", ".join(digest[:16] for digest in digests_told(checkpoint)) or "none"
        raise UnlearnError(
            f"{name} is no evidence of {checkpoint.name}: its digest is {found.digest[:16]}, the checkpoint's record names {told}.",
            "give the file that was written with the checkpoint by --evidence, or take this one away.",
        )
    return found


def owners(name: str, checkpoints: Sequence[str]) -> list[int]:
    """Which of several checkpoints name the evidence in a file.

    Raises:
        UnlearnError: none does.
    """
    read = [store.read(checkpoint) for checkpoint in checkpoints]
    found = [i for i, one in enumerate(read) if belongs(evidence.read(name), one)]
    if not found:
        matching(name, read[0])
    return found


def earlier(checkpoint: Checkpoint) -> Evidence | None:
    """That of an earlier step, beside the checkpoint by the name that the step's output had then."""
    for step in reversed(checkpoint.record.lineage if checkpoint.record else []):
        place = Path(beside(checkpoint.path.with_name(Path(step.source.name).name))) if step.source else None
        if place is None or not place.is_file():
            continue
        try:
            return matching(str(place), checkpoint)
        except UnlearnError:  # of another model that has taken the name since
            continue
    return None


def gathered(
    asked: Sequence[tuple[RequestRecord, Target | None]], folder: Folder, before: Evidence | None
) -> list[Meant]:
    """What there is to keep of requests: the images that lie in the folder, and those that earlier evidence knew.

    Args:
        asked: each with what it is on the folder; None where its paths are not known.
    """
    images = folder.images
    found = []
    for request, target in asked:
        seen = {(image.path, image.digest): image for image in (before.of(request) if before else ())}
        chosen = positions_of(target, folder).tolist() if target else []
        for i, digest in zip(chosen, copies.digests_of(folder, chosen), strict=True):
            image = Image(
                path=images.paths[i],
                digest=digest.tobytes().hex(),
                split="test" if images.test[i] else "train",
                class_name=folder.classes[images.labels[i]],
            )
            seen.setdefault((image.path, image.digest), image)
        found.append(Meant(request=request, images=sorted(seen.values(), key=lambda image: (image.path, image.digest))))
    return found


def positions_of(target: Target, folder: Folder) -> Tensor:
    """Of a class the training and test images, of a list the training images."""
    images, mask = folder.images, torch.zeros(len(folder.images), dtype=torch.bool)
    mask[target.images] = True
    return (mask | target.task.gone()[images.labels]).nonzero()[:, 0]


def found_again(target: Target, request: RequestRecord, kept: Evidence | None, folder: Folder) -> Target:
    """The target with images that were moved since: of the same content, where none of it lies in its own place any more.

    One that lies in its own class still is meant as before. One in another class, or a training image among the test
    images, is given to nobody: its label there says nothing of what the model knew of it.
    """
    seen = kept.of(request) if kept else []
    images = folder.images
    if not seen:
        return target
    place = {path: i for i, path in enumerate(images.paths)}
    digests = copies.digests_of(folder)
    lost = [image for image in seen if image.path not in place or digests[place[image.path]].tobytes().hex() != image.digest]
    if not lost:
        return target
    of = {}
    for image in lost:
        of.setdefault(bytes.fromhex(image.digest), []).append(image)
    own = torch.zeros(len(images), dtype=torch.bool)
    own[positions_of(target, folder)] = True
    first = np.ascontiguousarray(digests[:, :8]).view(np.uint64)[:, 0]
    wanted = np.frombuffer(b"".join(digest[:8] for digest in of), np.uint64)
    at_home, astray, said = [], [], []
    for i in np.flatnonzero(np.isin(first, wanted)).tolist():
        was = of.get(digests[i].tobytes())
        if was is None or own[i]:
            continue
        name = folder.classes[images.labels[i]]
        alike = [image for image in was if same_name(image.class_name, name) and (image.split == "test") == bool(images.test[i])]
        (at_home if alike else astray).append(i)
        said.append((images.paths[i], (alike or was)[0].path))
    if not said:
        return target
    new, old = map(one_line, said[0])
    one = len(said) == 1
    notes = [
        f"an image that was forgotten lies under another name, {new} (was {old})"
        if one
        else f"{len(said):,} images that were forgotten lie under other names, {new} (was {old}) among them"
    ]
    if astray:
        count = "it lies" if one else f"{len(astray):,} of these {'lies' if len(astray) == 1 else 'lie'}"
        notes.append(f"{count} in another class or among the test images: neither retained nor judged")
    more = torch.cat([target.images, torch.tensor(at_home, dtype=torch.int64)]).unique()
    return replace(target, images=more, astray=torch.tensor(astray, dtype=torch.int64), said=(*target.said, *notes))

