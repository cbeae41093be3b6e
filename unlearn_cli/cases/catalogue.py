"""The images of a checkpoint's folder by what became of them: what it forgot, and what chose something on the way to it."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from unlearn_cli.cases import requests
from unlearn_cli.cases.case import selection_of
from unlearn_cli.cases.folders import in_head_order, is_partial, place_of
from unlearn_cli.cases.loading import forgotten_by
from unlearn_cli.checkpoints.record import Record
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.data.catalogue import SPLITS, Catalogue
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.images import Images
from unlearn_cli.data.requests import Request
from unlearn_cli.data.scan import scan
from unlearn_cli.data.splits import selected


def of_checkpoint(
    checkpoint: Checkpoint, record: Record, data: str | None, test_fraction: float, lists: Sequence[Request]
) -> Catalogue:
    """The folder that was given, else the one of the record, as the lineage left it.

    An image that was forgotten is only that. Of images that are gone, the notes tell.

    Args:
        test_fraction: where the record does not say.
        lists: lists that the record keeps by their digest.

    Raises:
        UnlearnError: the folder is not there or not that of the model, or the paths of a list are not known.
    """
    folder = in_head_order(_unread(record, checkpoint.path, data, test_fraction), record, checkpoint.name, forgotten_by(record))
    images, lineage = folder.images, record.lineage
    known = requests.known(lineage, folder, checkpoint.name, lists)
    splits = images.test.long()
    splits[selected(images, selection_of(record))] = SPLITS.index("selection")
    splits[requests.meant_by(known, folder)] = SPLITS.index("forgotten")
    remembered = requests.asked(lineage, requests.paths_of(lists, folder))
    notes = [*folder.notes, *_counted(record, images, checkpoint.name), *requests.gone(remembered, folder)]
    return Catalogue(str(folder.root), images.paths, list(folder.classes), images.labels.numpy(), splits.numpy(), tuple(notes))


def _unread(record: Record, path: Path | None, data: str | None, test_fraction: float) -> Folder:
    """The folder of a record without pixels and without a fingerprint: no image is opened, nothing is kept."""
    root, fraction = place_of(record, path, data, test_fraction)
    listing = scan(str(root), fraction, may_lack=record.classes, partial=is_partial(record))
    labels, test = torch.from_numpy(np.array(listing.labels)), torch.from_numpy(listing.test)
    fed = record.input
    images = Images(os.path.abspath(root), listing.paths, labels, test, fed.size, record.channels, None, fed.resize)
    return Folder(root, listing.classes, "", images, listing.notes)


def _counted(record: Record, images: Images, name: str) -> list[str]:
    """A note where the images are more or fewer than the model was trained on; whether they are the same is not looked at."""
    if record.data is None:
        return []
    test = int(images.test.sum())
    now, then = (len(images) - test, test), (record.data.train, record.data.test)
    words = "{:,} train and {:,} test images"
    return [f"there are {words.format(*now)}; {name} was trained on {words.format(*then)}"] if now != then else []
