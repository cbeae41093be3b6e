"""Distributions: a density from a sample, and how far two distributions lie apart."""

import math

import torch
from torch import Tensor

POINTS = 1000
CHUNK = 1 << 22
"""Kernel values held at a time."""


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of each row, in nats, from 0 to ln 2; (..., K) probabilities, zeros allowed -> (...).

        JS = ½ KL(p ‖ m) + ½ KL(q ‖ m),   m = (p + q) / 2
    """
    m = (p + q) / 2
    apart = torch.xlogy(p, p) + torch.xlogy(q, q) - 2 * torch.xlogy(m, m)
    return (apart.sum(-1) / 2).clamp(0, math.log(2))


def log_density(sample: Tensor, at: Tensor) -> Tensor:
    """Logarithm of the Gaussian kernel density estimate of a sample; (n,) and (g,) float64 -> (g,).

    The bandwidth is Scott's, n^(-1/5) times the sample's standard deviation (n - 1 below the line). In logarithms, so
    that a narrow density does not vanish between points that are far apart.

    Args:
        sample: at least two of its values differ.
    """
    n = len(sample)
    width = sample.std() * n**-0.2
    kernels = [
        (-0.5 * ((part[:, None] - sample) / width) ** 2).logsumexp(1) for part in at.split(max(1, CHUNK // n))
    ]  # fmt: skip
    return torch.cat(kernels) - (n * width * math.sqrt(2 * math.pi)).log()


def sample_distance(a: Tensor, b: Tensor) -> float | None:
    """Square root of the Jensen-Shannon divergence of two samples' densities, from 0 (alike) to sqrt(ln 2).

    Both densities are read at POINTS equally spaced points from the smallest to the largest value of either sample, and
    scaled to sum to one there: an integral over the points in between would only be divided out again.

    Args:
        a, b: (n,) and (m,) finite values, at least one each.

    Returns:
        None when the values of one sample alone are all equal: it has no density. Two such samples have distance 0 when
        they agree, and the largest otherwise.

    Source: GLI's public evaluation code: SciPy's `gaussian_kde` and `jensenshannon`, natural base.
    """
    a, b = a.double(), b.double()
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    single = [bool(x.min() == x.max()) for x in (a, b)]
    if all(single):
        return 0.0 if low == high else math.sqrt(math.log(2))
    if any(single):
        return None
    # Shift and scale change nothing; on [0, 1] no square overflows or vanishes.
    points = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    p, q = (log_density((x - low) / (high - low), points).softmax(0) for x in (a, b))
    return math.sqrt(jensen_shannon(p, q).item())
