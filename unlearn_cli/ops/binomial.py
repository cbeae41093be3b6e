"""What a count says of a chance: binomial tails and exact intervals, with nothing but the standard library."""

from collections.abc import Callable, Sequence
from math import ceil, exp, inf, lgamma, log, log1p, sqrt

ROUNDS = 10_000
ENOUGH = 0.1
"""The standard error up to which a share of images is a number to act on."""
ROUNDING = 1e-9


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for X binomial with n trials of chance p; absolute error below 1e-8 for a million trials."""
    if k <= 0 or k > n:
        return float(k <= 0)
    return beta_below(p, k, n - k + 1)


def beta_below(x: float, a: float, b: float) -> float:
    """P(B <= x) for a beta variable, the regularised incomplete beta function; a, b > 0.

    The continued fraction of Abramowitz and Stegun, 26.5.8, by Lentz's algorithm, on the side where it converges fast.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_below(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    above, below = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = below
    for m in range(1, ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            below, above = 1 / (1 + term * below), 1 + term / above
            value *= below * above
        if abs(below * above - 1) < 1e-15:
            break
    return front * value


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The chances that a count of k in n >= 1 does not contradict; they hold the true one at least `level` of the time.

    Source: Clopper and Pearson 1934, exact two-sided interval with equal tails.
    """
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else root(lambda p: at_least(k, n, p) - tail)
    high = 1.0 if k == n else root(lambda p: at_least(k + 1, n, p) - (1 - tail))
    return low, high


def root(rising: Callable[[float], float]) -> float:
    """Where a rising function passes zero in [0, 1], by halving down to the last bit."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return middle


def largest_error(weights: Sequence[float], counts: Sequence[int]) -> float:
    """The standard error of a weighted mean of shares where each is the least certain, one half.

        sqrt( Σ w² / (4 n) ) / Σ w

    Args:
        weights: of the shares, such as how many images of each class are to be forgotten; those of 0 do not count.
        counts: the images that each share is measured on; infinite error where one that counts has none.
    """
    used = [(weight, count) for weight, count in zip(weights, counts, strict=True) if weight]
    if not used or any(count == 0 for _, count in used):
        return inf
    return sqrt(sum(weight**2 / (4 * count) for weight, count in used)) / sum(weight for weight, _ in used)


def enough(weights: Sequence[float], counts: Sequence[int]) -> bool:
    """Whether a weighted mean of shares is measured on enough images to stop, choose or judge by."""
    return largest_error(weights, counts) <= ENOUGH + ROUNDING


def would_do(weights: Sequence[float], counts: Sequence[int]) -> int:
    """How many images of the classes with a weight would be enough, in the proportions that they have; of one class 25.

    Classes of which there is none are taken to have as many as they weigh.
    """
    used = [(weight, count) for weight, count in zip(weights, counts, strict=True) if weight]
    there = [count for _, count in used]
    parts = there if all(there) else [weight for weight, _ in used]
    error = largest_error([weight for weight, _ in used], parts)
    return ceil(sum(parts) * (error / ENOUGH) ** 2 - ROUNDING)
