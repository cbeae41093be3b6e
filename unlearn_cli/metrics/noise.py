"""How far a retrained model with another seed may lie from those at hand."""

from collections.abc import Sequence
from functools import cache
from math import exp, lgamma, pi, sqrt
from statistics import stdev

FEWEST = 3
"""References that give a band; the spread of two says next to nothing."""
COVERAGE = 0.99


def band(values: Sequence[float]) -> float:
    """Half the width of the interval around the mean that holds the next value with a chance of COVERAGE.

        t_{R-1} · s · sqrt(1 + 1/R)        s: sample standard deviation of R values, t: quantile of Student's distribution

    Returns:
        0 for fewer than FEWEST values, which tell nothing of their spread.

    Source: the prediction interval of a normal variable with unknown mean and variance.
    """
    count = len(values)
    if count < FEWEST:
        return 0.0
    return student(count - 1) * stdev(values) * sqrt(1 + 1 / count)


@cache
def student(freedom: int, coverage: float = COVERAGE) -> float:
    """The t for which Student's distribution lies within ±t with a chance of `coverage`."""
    low, high = 0.0, 1.0
    while within(high, freedom) < coverage:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < coverage else (low, middle)
    return high


def within(t: float, freedom: int, pieces: int = 2000) -> float:
    """The chance that Student's variable lies within ±t, by Simpson's rule in u = x / sqrt(freedom + x²)."""
    end = t / sqrt(freedom + t * t)
    scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(pi)

    def density(u: float) -> float:
        return scale * (1 - u * u) ** (freedom / 2 - 1)

    step = end / pieces
    inner = sum((4 if i % 2 else 2) * density(i * step) for i in range(1, pieces))
    return 2 * step / 3 * (density(0.0) + inner + density(end))
