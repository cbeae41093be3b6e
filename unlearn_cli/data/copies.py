"""Copies of the images to forget that stay elsewhere: the same file, the same pixels, or nearly the same picture.

A near copy is found by a thumbnail of 16 by 16 grey means, brought to mean 0 and norm 1, so that brightness and contrast
do not count. The distance of two images is 1 - their thumbnails' product. Two are near copies where it is below LIMIT and
where an image that has nothing to do with the first would hardly come as close by chance:

    K·(d / d_K)^s <= CHANCE      d_K: distance to the K-th nearest image;  s = median of ln(K / J) / ln(d_K / d_J)

The left side is how many images a ball of radius d holds if they lie as they do between the J-th and the K-th nearest; s
is taken over a sample of the data. So handwriting, or shirts on black, must be much closer than photographs must. Found:
other compression, resizing, brightness, contrast, grey for colour. Not found: crops, mirror images, rotations.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from unlearn_cli.data.cache import read_index
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.images import Images
from unlearn_cli.errors import one_line

SIDE = 16  # of a thumbnail
LIMIT = 0.02  # no near copy is farther away
CERTAIN = 0.0005  # whatever lies around it, this is a copy: more copies than K would hide each other
CHANCE = 0.001  # of an unrelated image this close, per image to forget
J, K = 10, 50  # neighbours that tell how densely the images lie
FEWEST = 25  # images; among fewer nothing tells what is usual, and only certain copies are named
FLAT = 2.0  # grey levels of spread; with less, a thumbnail shows noise
SAMPLE = 256  # images that tell the density of a data set
CHUNK_BYTES, CHUNK_PRODUCTS = 16 << 20, 1 << 24
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images that are not to be forgotten, and for each the one to forget that it is a copy of."""

    copies: np.ndarray  # (m,) int64, sorted, each once
    of: np.ndarray  # (m,) int64

    def __len__(self) -> int:
        return len(self.copies)

    def where(self, mask: np.ndarray) -> "Pairs":
        return Pairs(self.copies[mask], self.of[mask])


@dataclass(frozen=True, eq=False)
class Traits:
    """What copies are told by, of every image."""

    pixels: np.ndarray  # (N, 16) uint8: a digest of what is decoded
    thumbnails: Tensor  # (N, SIDE²) float32, mean 0 and norm 1; zero for a flat image


@dataclass(frozen=True, eq=False)
class Copies:
    """The copies of a set of images, by how alike they are; each also by where it stays."""

    images: Images
    exact: Pairs  # of the same bytes, or of the same pixels
    near: Pairs

    def in_retain(self, pairs: Pairs) -> Pairs:
        """The training images among them, of any class."""
        return pairs.where(~self._test[pairs.copies])

    def in_test(self, pairs: Pairs) -> Pairs:
        return pairs.where(self._test[pairs.copies])

    def in_another_class(self, pairs: Pairs) -> Pairs:
        """Those that carry another label, among training and test images alike."""
        labels = self.images.labels.numpy()
        return pairs.where(labels[pairs.copies] != labels[pairs.of])

    def in_words(self) -> list[str]:
        """A line for each kind and place that has any, each with an example."""
        places = (
            (self.in_retain, ("stays in the retain set", "stay in the retain set")),
            (self.in_test, ("is a test image", "are test images")),
            (self.in_another_class, ("carries another class", "carry another class")),
        )
        kinds = ((self.exact, "exact copy", "exact copies"), (self.near, "near copy", "near copies"))
        return [
            self._line(found, kind if len(found) == 1 else kinds, place[len(found) > 1])
            for pairs, kind, kinds in kinds
            for chosen, place in places
            if len(found := chosen(pairs))
        ]

    def _line(self, pairs: Pairs, kind: str, place: str) -> str:
        copy, of = (one_line(self.images.paths[i[0]]) for i in (pairs.copies, pairs.of))
        what = f"{len(pairs)} {kind} of {'an image' if len(pairs) == 1 else 'images'} to forget {place}: {copy}, of {of}"
        return f"{what}, among them" if len(pairs) > 1 else what

    @cached_property
    def _test(self) -> np.ndarray:
        return self.images.test.numpy()


def find(
    images: Images, digests: np.ndarray, chosen: Sequence[int] | np.ndarray | Tensor, *, near: bool = True,
    traits: Traits | None = None,
) -> Copies:  # fmt: skip
    """The copies, among all other images, of those at the positions `chosen`.

    Args:
        digests: (N, 32) uint8, of the files: see `digests_of`.
        near: look for near copies as well.
        traits: of these images, if they are known already: computing them reads every pixel once.
    """
    chosen = np.unique(np.asarray(chosen, np.int64))
    labels = images.labels.numpy()
    traits = traits_of(images) if traits is None else traits
    same = _merged(exact(digests, chosen, labels), exact(traits.pixels, chosen, labels))
    empty = np.empty(0, np.int64)
    alike = near_copies(traits.thumbnails, chosen) if near else Pairs(empty, empty)
    return Copies(images, same, alike.where(~np.isin(alike.copies, same.copies)))


def exact(digests: np.ndarray, chosen: np.ndarray, labels: np.ndarray | None = None) -> Pairs:
    """The images not chosen whose digest equals a chosen one's, and which: the first of the same label, else the first.

    Args:
        digests: (N, w) uint8.
        chosen: (n,) positions.
        labels: (N,) int, or None where they do not matter.
    """
    keys = np.ascontiguousarray(digests[:, :8]).view(np.uint64)[:, 0]
    rows = np.flatnonzero(np.isin(keys, keys[chosen]))  # few, so that only they are compared whole
    whole = np.ascontiguousarray(digests[rows]).view(np.dtype((np.void, digests.shape[1])))[:, 0]
    group = np.unique(whole, return_inverse=True)[1].reshape(-1)
    mine = np.isin(rows, chosen)
    label = np.zeros(len(rows), np.int64) if labels is None else labels[rows].astype(np.int64)
    group_label = group * (label.max(initial=0) + 1) + label
    of = _first_of(group_label, mine, rows)
    of = np.where(of < 0, _first_of(group, mine, rows), of)
    copies = ~mine & (of >= 0)
    return Pairs(rows[copies], of[copies])


def near_copies(thumbnails: Tensor, chosen: np.ndarray) -> Pairs:
    """The images not chosen that are near copies of a chosen one, each with the nearest of those.

    Args:
        thumbnails: (N, w) float32, as in `Traits`.
        chosen: (n,) positions.
    """
    count = len(thumbnails)
    others = torch.ones(count, dtype=torch.bool)
    others[torch.from_numpy(chosen)] = False
    best, of = torch.full((count,), torch.inf), torch.full((count,), -1)
    if not others.any():
        return _pairs(best, of)
    slope = _slope(thumbnails)
    wanted = torch.from_numpy(chosen)
    coarse = _coarse(thumbnails)
    theirs = coarse[others].T
    for rows in wanted.split(max(1, CHUNK_PRODUCTS // count)):
        rows = rows[(coarse[rows] @ theirs).amax(1) >= 1 - LIMIT - 1e-4]  # the others are too far away from every image
        if not len(rows):
            continue
        distance = _distances(thumbnails, rows)
        closest = distance.masked_fill(~others, torch.inf)
        closest = closest.masked_fill_(closest > _limits(distance, slope)[:, None], torch.inf)
        nearest, row = closest.min(0)
        of = torch.where(nearest < best, rows[row], of)
        best = torch.minimum(nearest, best)
    return _pairs(best, of)


def traits_of(images: Images) -> Traits:
    """The digest and the thumbnail of every image; each pixel is read once."""
    chunks = torch.arange(len(images)).split(max(1, CHUNK_BYTES // images.values))
    digests, thumbnails = [], []
    for pixels in _chunks(images, chunks):
        rows = pixels.numpy().reshape(len(pixels), -1)
        digests += [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
        thumbnails.append(thumbnails_of(pixels))
    return Traits(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16), torch.cat(thumbnails))


def thumbnails_of(pixels: Tensor) -> Tensor:
    """(n, height, width, channels) uint8 as (n, SIDE²) float32 thumbnails."""
    grey = pixels[..., 0].float() if pixels.shape[-1] == 1 else pixels.float() @ torch.tensor(GREY)
    small = adaptive_avg_pool2d(grey[:, None], SIDE).flatten(1)
    small = small - small.mean(1, keepdim=True)
    spread = small.square().mean(1, keepdim=True).sqrt()
    return torch.where(spread >= FLAT, small / (spread.clamp(min=FLAT) * SIDE), 0.0)


def digests_of(folder: Folder, positions: Sequence[int] | None = None) -> np.ndarray:
    """(n, 32) uint8: SHA-256 of the images' files, all by default, from the index that opening the folder left in the cache."""
    paths = folder.images.paths
    positions = range(len(paths)) if positions is None else positions
    index = read_index(os.path.abspath(folder.root))
    if index is not None and index.fingerprint == folder.fingerprint and index.names == "\0".join(paths):
        return index.digests[np.asarray(positions, np.int64)]
    digests = [hashlib.sha256(Path(folder.root, paths[i]).read_bytes()).digest() for i in positions]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _chunks(images: Images, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pixels at these consecutive positions, without a copy where they are mapped."""
    if images.pixels is None:
        yield from images.stream(chunks)
    else:
        yield from (images.pixels[int(chunk[0]) : int(chunk[-1]) + 1] for chunk in chunks)


def _first_of(group: np.ndarray, mine: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each row the lowest row of its group that is `mine`, or -1."""
    kinds, group = np.unique(group, return_inverse=True)
    first = np.full(len(kinds), np.iinfo(np.int64).max)
    np.minimum.at(first, group[mine], rows[mine])
    return np.where(first == np.iinfo(np.int64).max, -1, first)[group.reshape(-1)]


def _merged(first: Pairs, second: Pairs) -> Pairs:
    """Every copy once; the first's answer where both have one."""
    copies, at = np.unique(np.concatenate([first.copies, second.copies]), return_index=True)
    return Pairs(copies, np.concatenate([first.of, second.of])[at])


def _pairs(best: Tensor, of: Tensor) -> Pairs:
    copies = torch.isfinite(best).nonzero()[:, 0]
    return Pairs(copies.numpy(), of[copies].numpy())


def _distances(thumbnails: Tensor, rows: Tensor) -> Tensor:
    """(n, N) distances of some images to all; infinite to itself. Never negative."""
    distance = (1 - thumbnails[rows] @ thumbnails.T).clamp_(min=0)
    distance[torch.arange(len(rows)), rows] = torch.inf
    return distance


def _coarse(thumbnails: Tensor) -> Tensor:
    """(N, w / 4 + 1) whose products are never smaller than the thumbnails' own: a quarter of the work rules most pairs out.

    With a thumbnail split into its 2 by 2 means and the rest, a·b = mean(a)·mean(b) + rest(a)·rest(b), and the second
    term is at most |rest(a)| |rest(b)|.
    """
    half = SIDE // 2
    means = thumbnails.view(-1, half, 2, half, 2).sum((2, 4)).flatten(1) / 2
    rest = (thumbnails.square().sum(1, keepdim=True) - means.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([means, rest], 1)


def _neighbours(count: int) -> tuple[int, int]:
    """J and K for so many images: a small folder has its own."""
    k = min(K, count // 2)
    return max(1, k * J // K), k


def _slope(thumbnails: Tensor) -> float:
    """How fast the number of images grows with the distance: s of the rule above; 0 where too few can tell."""
    count = len(thumbnails)
    if count < FEWEST:
        return 0.0
    j, k = _neighbours(count)
    sample = torch.linspace(0, count - 1, min(SAMPLE, count)).long()
    sample = sample[thumbnails[sample].any(1)]
    if not len(sample):
        return 0.0
    near = torch.cat([
        _distances(thumbnails, rows).topk(k, largest=False).values for rows in sample.split(max(1, CHUNK_PRODUCTS // count))
    ])  # fmt: skip
    growth = (near[:, k - 1] / near[:, j - 1].clamp(min=1e-7)).log().median().item()
    return log(k / j) / max(growth, 1e-3)


def _limits(distance: Tensor, slope: float) -> Tensor:
    """(n,) the distance up to which an image is a copy of each row's."""
    if slope == 0:
        return torch.full((len(distance),), CERTAIN)
    _, k = _neighbours(distance.shape[1])
    kth = distance.topk(k, largest=False).values[:, -1]
    return (kth * (CHANCE / k) ** (1 / slope)).clamp(CERTAIN, LIMIT)
