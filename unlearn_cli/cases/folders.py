"""The data folder of a checkpoint: the one of its record, another that was named, or the one that is open already."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unlearn_cli.checkpoints.record import Record, folder_from
from unlearn_cli.data.folder import Folder, open_folder
from unlearn_cli.data.names import normal
from unlearn_cli.engine.progress import Silent
from unlearn_cli.engine.ranks import Ranks
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError


def open_images(root: str, options: Options, **known: Any) -> Folder:
    """A data folder under the run's cache limit, with its decoding shown."""
    with Ranks(options.place()).first_alone():
        return open_folder(root, cache_limit=options.cache_limit, progress=decoding(options.progress), **known)


def decoding(progress: Silent) -> Callable[[int, int], None]:
    """Files read while a folder is opened, as a phase of the progress; nothing is shown when the cache serves them."""
    seen = 0

    def tell(done: int, total: int) -> None:
        nonlocal seen
        if seen == 0:
            progress.start("decoding", total)
        progress.advance(done - seen)
        seen = done
        if done == total:
            progress.end()

    return tell


def folder_of(record: Record, path: Path | None, given: str | None, test_fraction: float, options: Options) -> Folder:
    """The folder that was given, else the one that the record names.

    Args:
        test_fraction: where the record does not say.
    """
    root, fraction = place_of(record, path, given, test_fraction)
    return open_images(str(root), options, test_fraction=fraction, **wanted_by(record))


def wanted_by(record: Record) -> dict[str, Any]:
    """How a record's network wants a folder to be opened."""
    part = {"partial": True} if is_partial(record) else {}
    images = {"size": record.input.size, "resize": record.input.resize, "channels": record.channels}
    return images | {"may_lack": record.classes} | part


def is_partial(record: Record) -> bool:
    """Whether the folder has fewer classes than the head, and always had."""
    return record.data is not None and record.data.classes is not None


def place_of(record: Record, path: Path | None, given: str | None, test_fraction: float) -> tuple[Path, float]:
    """Where the folder lies that was given, or that the record names, and its share of test images."""
    data = record.data
    if given is None and data is None:
        raise UnlearnError("the checkpoint names no data folder.", "pass --data DIR.")
    root = Path(given) if given else folder_from(path, data.folder)
    if given is None and not root.is_dir():
        raise UnlearnError(f"the checkpoint's data folder {root} is not there.", "pass --data DIR.")
    return root, data.test_fraction if data else test_fraction


def folder_beside(record: Record, name: str, folder: Folder, other: Record, other_name: str, options: Options) -> Folder:
    """Another checkpoint's folder, at this one's own input size."""
    if [normal(c) for c in record.classes] != [normal(c) for c in folder.classes]:
        raise UnlearnError(
            f"{name} has other classes than {other_name}, or in another order.", "compare models of the same classes."
        )
    images = folder.images
    if (record.input.size, record.input.resize, record.channels) == (images.size, images.resize, images.channels):
        return folder
    fraction = other.data.test_fraction if other.data else 0.2
    return open_images(str(folder.root), options, test_fraction=fraction, **wanted_by(record))


def changed(record: Record, name: str, folder: Folder) -> list[str]:
    """A note when the images are not those that the checkpoint was trained on."""
    data, test = record.data, int(folder.images.test.sum())
    if data is None or data.fingerprint == folder.fingerprint:
        return []
    now, then = f"{len(folder.images) - test} train and {test} test images", f"{data.train} and {data.test}"
    return [
        f"the images in {folder.root} are not those that {name} was trained on ({now}, {then} then; "
        f"fingerprint {folder.fingerprint[:12]}, was {data.fingerprint[:12]})"
    ]


def in_head_order(folder: Folder, record: Record, name: str, erased: Collection[str] = ()) -> Folder:
    """The folder with its labels numbered as the head's outputs are; letters may be composed in another way.

    Args:
        erased: classes whose images may be gone, because they are forgotten or to be forgotten.
    """
    if is_partial(record):
        erased = {*erased, *record.classes} - {*record.data.classes} | {*erased}
    place = {c: i for i, c in enumerate(record.classes)}
    if sorted(folder.classes) != sorted(record.classes) and len({normal(c) for c in place}) == len(place):
        place = {normal(c): i for c, i in place.items()}
    own = [c if c in place else normal(c) for c in folder.classes]
    images = folder.images
    trained = {own[i] for i in images.labels[~images.test].unique().tolist()}
    missing = sorted(c for c in place if c not in trained and c not in {*erased, *map(normal, erased)})
    if missing or not set(own) <= set(place):
        more = sorted(set(folder.classes) - set(record.classes))
        what = "; ".join(
            f"{words} {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for words, names in (("the folder lacks", missing), ("the head lacks", more))
            if names
        )
        raise UnlearnError(
            f"the head of {name} ({len(record.classes)} classes) does not match the folders of {folder.root} "
            f"({len(images.labels.unique())}): {what}.",
            "pass the --data folder that the model was trained on; where a class was erased, the checkpoint that forgot it "
            "works without, and so does --class with its name.",
        )
    return numbered(folder, record.classes, [place[c] for c in own])


def numbered(folder: Folder, classes: list[str], places: list[int]) -> Folder:
    """The folder with CLASSES for its own, the n-th of which has its place there at places[n]."""
    if list(folder.classes) == classes:
        return folder
    order = torch.tensor(places)
    return replace(folder, classes=classes, images=replace(folder.images, labels=order[folder.images.labels]))
