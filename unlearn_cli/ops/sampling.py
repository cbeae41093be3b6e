"""Which images, by position."""

import torch
from torch import Tensor


def some_of_each(y: Tensor, count: int, draw: torch.Generator | None) -> Tensor:
    """Positions, in order, of at most `count` images of each label: drawn, or the first without a generator."""
    order = torch.arange(len(y)) if draw is None else torch.randperm(len(y), generator=draw)
    return torch.cat([order[y[order] == c][:count] for c in y.unique()]).sort().values


def repeated(n: int, each: int, cap: int, draw: torch.Generator) -> Tensor:
    """(m,) positions below n in random order, m = min(each · n, cap): each as often as every other, or one time more."""
    count = min(each * n, cap)
    return torch.cat([torch.randperm(n, generator=draw) for _ in range(-(-count // n))])[:count]
