"""A folder of images, opened: scanned at every start, decoded once, mapped from the cache ever after."""

import hashlib
import os
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from unlearn_cli.data.cache import Index, PixelFile, drop_pixels, read_index, read_pixels, write_index
from unlearn_cli.data.images import Images, raise_first
from unlearn_cli.data.scan import Listing, scan
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Interpolation, Resize, Size, sides, sized

if TYPE_CHECKING:
    from unlearn_cli.data.workers import Chunk

SAMPLE = 256  # images looked at for the default size and channels
SMALLEST_DEFAULT, LARGEST_DEFAULT = 28, 224  # pixels; below 28 a network has nothing left to pool
CHUNK_FILES, CHUNK_BYTES = 512, 16 << 20  # of one worker's turn
COPIED = 4096  # images at once, from one file of pixels to the next
WORTH_WORKERS = 4_000  # files, or 2,500 times as many bytes: about 0.3 seconds of decoding, a worker's start is 0.1

Progress = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True, eq=False)
class Folder:
    root: Path
    classes: list[str]
    fingerprint: str  # of relative paths and contents: a copy has the same
    images: Images
    notes: tuple[str, ...] = ()  # what lies in the folder and is not read, or is read as it might not be meant


def open_folder(
    root: str | os.PathLike, *, size: Size | None = None, channels: int | None = None, resize: Resize | None = None,
    test_fraction: float = 0.2, cache_limit: int = 4 << 30, progress: Progress | None = None, may_lack: Collection[str] = (),
    partial: bool = False,
) -> Folder:  # fmt: skip
    """Open ROOT/train/<class>/ and ROOT/test/<class>/, or ROOT/<class>/ with about `test_fraction` of it held out.

    Without a 'test', one of 'val', 'valid' and 'validation' takes its place.

    Args:
        size: that every image becomes; by default a square of the median shorter side of a sample, from 28 to 224.
        channels: 1 or 3; by default 1 if a sample of the images is grey.
        resize: how images are brought to the size, where it is to be done as another library does it.
        cache_limit: bytes of pixels to keep; larger data is decoded on demand instead.
        progress: called with (files done, files in all) while files are read.
        may_lack: names of classes whose images may be gone: they are among the classes, and no image has their label.
        partial: it may be a part of what a model was trained on, of one class or without test images: see `scan`.

    Raises:
        UnlearnError: naming the file or folder that is missing, damaged or out of place.
    """
    _check(size, channels, resize)
    listing = scan(os.fspath(root), test_fraction, may_lack, partial)
    top = os.path.abspath(root)
    index = read_index(top)
    names = "\0".join(listing.paths)
    unchanged = index is not None and index.holds(names, listing.stat)

    sample = index.sample if unchanged and index.sample["test_fraction"] == test_fraction else None
    if sample is None:
        sample = _sample(top, listing) | {"test_fraction": test_fraction}
    shape = (len(listing.paths), *sides(size or sample["size"]), channels or sample["channels"])
    streams = prod(shape) > cache_limit

    digests = pixels = None
    if unchanged:
        digests, fingerprint = index.digests, index.fingerprint
    elif index is not None or streams:
        digests = _digests(top, listing, index, progress)
        fingerprint = fingerprint_of(listing.paths, digests)
    if digests is not None and not streams:
        pixels = read_pixels(fingerprint, shape, resize)
    if pixels is None and not streams:
        digests, fingerprint, pixels = _decode(top, listing, shape, resize, progress, index, digests)
    fresh = Index(names, listing.stat, digests, fingerprint, sample)
    if not unchanged or (fresh.fingerprint, fresh.sample) != (index.fingerprint, index.sample):
        write_index(top, fresh)
    if index is not None and fingerprint != index.fingerprint and _rows_of(index.digests, digests).min() < 0:
        drop_pixels(index.fingerprint)  # an image was taken away: none of it stays behind here

    labels, test = torch.from_numpy(listing.labels), torch.from_numpy(listing.test)
    images = Images(top, listing.paths, labels, test, sized(*shape[1:3]), shape[3], pixels, resize)
    return Folder(Path(root), listing.classes, fingerprint, images, listing.notes)


def read_anew(
    root: str | os.PathLike, test_fraction: float, progress: Progress | None = None, may_lack: Collection[str] = (),
    partial: bool = False,
) -> tuple[Listing, np.ndarray]:  # fmt: skip
    """What lies in the folder, and each file's SHA-256 as (N, 32) uint8, without trusting what the cache knows of it."""
    listing = scan(os.fspath(root), test_fraction, may_lack, partial)
    return listing, _digests(os.path.abspath(root), listing, None, progress)


def _check(size: Size | None, channels: int | None, resize: Resize | None) -> None:
    for one in (size, resize and resize.to):
        if one is not None and not all(1 <= side <= 4096 for side in sides(one)):
            raise UnlearnError(f"{one} is not an image size.", "it is a side in pixels, from 1 to 4096, or a height and a width.")
    if resize is not None and resize.interpolation not in get_args(Interpolation):
        raise UnlearnError(f"'{resize.interpolation}' is no interpolation.", f"there are {', '.join(get_args(Interpolation))}.")
    if channels not in (None, 1, 3):
        raise UnlearnError(f"images cannot have {channels} channels.", "1 is grey, 3 is colour.")


def fingerprint_of(paths: list[str], digests: np.ndarray) -> str:
    """SHA-256 over each path and its file's digest, (N, 32) uint8, in the order given."""
    whole = digests.tobytes()
    lines = (f"{path}\0".encode(errors="surrogatepass") + whole[32 * i : 32 * i + 32] for i, path in enumerate(paths))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _digests(root: str, listing: Listing, index: Index | None, progress: Progress | None) -> np.ndarray:
    """Every file's digest; only files that are new, or whose size or times changed, are read, and headers checked."""
    paths, digests = listing.paths, np.zeros((len(listing.paths), 32), np.uint8)
    row = {}
    if index is not None:
        row = {path: i for i, path in enumerate(index.names.split("\0"))}
    old = np.array([row.get(path, -1) for path in paths])
    known = old >= 0
    known[known] = (index.stat[old[known]] == listing.stat[known]).all(1) if known.any() else False
    if known.any():
        digests[known] = index.digests[old[known]]
    changed = np.flatnonzero(~known)
    for span, chunk in _read(root, [paths[i] for i in changed], int(listing.stat[changed, 0].sum()), 0, 0, None, progress):
        digests[changed[span]] = chunk.digests
    return digests


def _decode(
    root: str, listing: Listing, shape: tuple[int, ...], resize: Resize | None, progress: Progress | None, index: Index | None,
    digests: np.ndarray | None,
) -> tuple[np.ndarray, str, torch.Tensor]:  # fmt: skip
    """Every file's digest and pixels: (digests, fingerprint, pixels).

    Files are read once for both, but for those whose pixels, by their digests, lie in the file that the index names.
    """
    paths = listing.paths
    old = None
    if index is not None and digests is not None:
        old = read_pixels(index.fingerprint, (len(index.stat), *shape[1:]), resize)
    row = np.full(len(paths), -1) if old is None else _rows_of(digests, index.digests)
    kept, new = np.flatnonzero(row >= 0), np.flatnonzero(row < 0)
    digests = np.empty((len(paths), 32), np.uint8) if digests is None else digests.copy()
    file = PixelFile(shape, resize)
    try:
        for some in np.array_split(kept, -(-len(kept) // COPIED)) if len(kept) else []:
            file.pixels[some] = old.numpy()[row[some]]
        size, total = sized(*shape[1:3]), int(listing.stat[new, 0].sum())
        for span, chunk in _read(root, [paths[i] for i in new], total, size, shape[3], resize, progress):
            digests[new[span]], file.pixels[new[span]] = chunk.digests, chunk.pixels
        fingerprint = fingerprint_of(paths, digests)
        return digests, fingerprint, file.commit(fingerprint)
    finally:
        file.discard()


def _rows_of(digests: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each of (n, 32) digests a row of `among` that is the same, or -1: (n,) int64."""
    row = {digest.tobytes(): i for i, digest in enumerate(among)}
    return np.array([row.get(digest.tobytes(), -1) for digest in digests], np.int64)


def _read(
    root: str, paths: list[str], size_bytes: int, size: Size, channels: int, resize: Resize | None, progress: Progress | None
) -> Iterator[tuple[slice, "Chunk"]]:
    """The files' chunks in order, from worker processes when that pays; an error at the end if any file was bad."""
    from unlearn_cli.data.workers import Workers  # starts Pillow, which an unchanged folder never needs

    step = max(1, min(CHUNK_FILES, CHUNK_BYTES // max(1, prod(sides(size)) * channels)))
    spans = [slice(start, min(start + step, len(paths))) for start in range(0, len(paths), step)]
    problems = []
    with Workers(None if len(paths) + size_bytes / 2_500 > WORTH_WORKERS else 1) as workers:
        plain = resize and astuple(resize)
        answers = workers.map((root, paths[span], size, channels, plain) for span in spans)
        for span, chunk in zip(spans, answers, strict=True):
            problems += [(span.start + position, problem) for position, problem in chunk.problems]
            yield span, chunk
            if progress is not None:
                progress(span.stop, len(paths))
    raise_first(paths, problems)


def _sample(root: str, listing: Listing) -> dict:
    """The default size and channels, from the headers of training images evenly spaced in path order."""
    from unlearn_cli.data.decode import GREY_MODES, look

    train = np.flatnonzero(~listing.test)
    sides, grey = [], True
    for i in np.unique(np.linspace(0, len(train) - 1, SAMPLE).astype(int)):
        try:
            with open(f"{root}/{listing.paths[train[i]]}", "rb") as file, warnings.catch_warnings(action="ignore"):
                image = look(file)
        except (OSError, ValueError):
            continue  # a bad file is named when all files are read
        sides.append(min(image.size))
        grey = grey and image.mode in GREY_MODES
    middle = int(np.median(sides or LARGEST_DEFAULT))
    return {"size": min(max(middle, SMALLEST_DEFAULT), LARGEST_DEFAULT), "channels": 1 if grey else 3}
