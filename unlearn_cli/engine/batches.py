"""Batches: the same order and the same random numbers whatever the number of processes."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Batch:
    """One process's share of a batch.

    `x` is (n, C, H, W) normalised images, or (n, d) features; `y` (n,) labels; `extra` the rows of whatever was passed
    along; `index` (n,) positions within the split; `size` the images of the whole batch over all processes, and
    `share` this process's part of it.
    """

    x: Tensor
    y: Tensor
    extra: Tensor | None
    index: Tensor
    size: int
    share: slice

    def mean(self, per_image: Tensor) -> Tensor:
        """(n,) -> scalar: the sum over this share divided by the size of the whole batch.

        Gradients are summed over processes, so that uneven and empty shares give one process's gradient.
        """
        return per_image.sum() / self.size


@dataclass(frozen=True)
class Features:
    """Penultimate features of a split, kept: `x` (n, d), `y` (n,) labels."""

    x: Tensor
    y: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Augmentation:
    """Translation by up to `padding` pixels with reflection, then a flip: none | random | alternating by epochs."""

    padding: int = 0
    flip: str = "none"


def seeded(seed: int, *words: object) -> torch.Generator:
    """A CPU generator for one purpose: the seed and the words name it, so that one use never moves another."""
    name = "\0".join(str(word) for word in (seed, *words))
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big"))
