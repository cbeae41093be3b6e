"""From how much each weight matters to how much it is held, and a pull back to where weights began."""

from collections.abc import Sequence

import torch
from torch import Tensor


def unimportance(importance: Sequence[Tensor]) -> list[Tensor]:
    """1 - (I - min I) / (max I - min I) within each tensor: 1 where it matters least, 0 where most.

    A tensor whose importances are all equal has no more and less (a bias before BatchNorm, say): 1 everywhere, not 0/0.
    """
    ranges = [part.aminmax() for part in importance]
    return [
        torch.where(high > low, 1 - (part - low) / (high - low), torch.ones_like(part))
        for part, (low, high) in zip(importance, ranges, strict=True)
    ]


def pull(weights: Sequence[Tensor], start: Sequence[Tensor], hold: Sequence[Tensor]) -> Tensor:
    """½ Σ Ω (θ - θ₀)² over all tensors, a scalar; zero, with a zero gradient, where the weights began."""
    return sum((o * (w - w0).square()).sum() for w, w0, o in zip(weights, start, hold, strict=True)) / 2
