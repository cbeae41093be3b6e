"""How well one score tells two sides apart, what chance alone would show, and how sure that is.

Scores are larger for positives (members); infinite ones are allowed, NaN is not. All counts are exact.
"""

from collections.abc import Callable
from math import hypot, inf, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from unlearn_cli.ops.binomial import at_least, clopper_pearson

ROUNDING = 1e-9
"""0.29 · 100 is a little less than 29."""


def auc(positive: Tensor, negative: Tensor) -> float:
    """P(positive > negative) + P(equal) / 2 over all pairs of (n,) and (m,) scores."""
    # A win counts two and a tie one: whole numbers, so that the sum is exact.
    return int(wins(positive, negative).sum()) / (2 * len(positive) * len(negative))


def wins(own: Tensor, others: Tensor) -> Tensor:
    """(n,) int64: twice the number of `others` below each of `own`, plus the number of equal ones."""
    ordered = others.sort().values
    return torch.searchsorted(ordered, own, right=True) + torch.searchsorted(ordered, own)


def auc_variance(positive: Tensor, negative: Tensor) -> float:
    """DeLong's estimate of the AUC's sampling variance, without any assumption on the two distributions, ties included.

        S²(V10) / n + S²(V01) / m,   V10: each positive's share of negatives below it,   V01: each negative's of positives above

    Needs two scores on each side. Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    n, m = len(positive), len(negative)
    above, below = wins(positive, negative).double() / (2 * m), wins(negative, positive).double() / (2 * n)
    return (above.var() / n + below.var() / m).item()


def auc_interval(positive: Tensor, negative: Tensor, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval of the AUC that may be trusted for few images, for ties, and at 0 and 1.

    DeLong's normal interval, after adding to each side one score above and one below all others. Hanley and McNeil's
    variance takes the scores to be exponential and never tied, which a 0/1 score violates; DeLong's takes nothing. But its
    estimate is zero where the sides separate or where all scores tie, as if nothing could be learned from more images. The
    added scores do for the AUC what Agresti and Coull's added successes and failures do for a share: the intervals keep
    their coverage from 5 images on, and the effect vanishes as 1/n.
    """
    edges = positive.new_tensor([inf, -inf])
    positive, negative = torch.cat([positive, edges]), torch.cat([negative, edges])
    middle = auc(positive, negative)
    reach = NormalDist().inv_cdf((1 + level) / 2) * sqrt(auc_variance(positive, negative))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def auc_noise(positive: Tensor, negative: Tensor) -> float:
    """The AUC's standard deviation around 1/2 when these scores are dealt to the two sides by chance, exactly.

        sqrt( (N + 1 - Σ_ties (t³ - t) / (N (N - 1))) / (12 n m) ),   N = n + m,   t: how many scores share a value

    Source: the Wilcoxon statistic's permutation variance with ties; without ties, sqrt((n + m + 1) / (12 n m)).
    """
    n, m = len(positive), len(negative)
    ties = torch.cat([positive, negative]).unique(return_counts=True)[1].double()
    lost = ((ties**3 - ties).sum() / ((n + m) * (n + m - 1))).item()
    return sqrt(max(0.0, n + m + 1 - lost) / (12 * n * m))


def tpr_at(positive: Tensor, negative: Tensor, rate: float) -> float:
    """The largest share of positives above a threshold that at most `rate` of the negatives exceed."""
    allowed = false_positives(len(negative), rate)
    return above(positive, negative, allowed + 1) / len(positive)


def false_positives(m: int, rate: float) -> int:
    """How many of m negatives may be called positive."""
    return int(rate * m + ROUNDING)


def above(positive: Tensor, negative: Tensor, rank: int) -> int:
    """How many positives exceed the rank-th largest negative; 0 stands for one above everything, m + 1 for one below."""
    if rank < 1 or rank > len(negative):
        return 0 if rank < 1 else len(positive)
    return int((positive > negative.topk(rank).values[-1]).sum())


def tpr_interval(positive: Tensor, negative: Tensor, rate: float, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval of the TPR at a false-positive rate of the *population*, for any continuous distributions.

        low = t - sqrt((t - l_share)² + (t - l_threshold)²),   high likewise,   t: the measured TPR

    Two things are uncertain: the share of positives above the threshold (Clopper and Pearson's limits), and the threshold
    itself, whose place among the negatives is binomial (the TPR at the outermost places that are no surprise). The share
    alone would claim too much: ten negatives of a thousand fix the threshold for 1 %. With too few negatives to bound the
    threshold from above, low is 0.

    Source: Zou and Donner 2008 for adding the squares.
    """
    n, m, tail = len(positive), len(negative), (1 - level) / 2
    strict = last(lambda rank: 1 - at_least(rank, m, rate) <= tail, m)
    lax = last(lambda rank: at_least(rank, m, rate) > tail, m) + 1
    count = above(positive, negative, false_positives(m, rate) + 1)
    share, (low, high) = count / n, clopper_pearson(count, n, level)
    down = hypot(share - low, share - above(positive, negative, strict) / n)
    up = hypot(high - share, above(positive, negative, lax) / n - share)
    return max(0.0, share - down), min(1.0, share + up)


def last(holds: Callable[[int], bool], most: int) -> int:
    """The largest of 0..most for which a condition holds that, once false, stays false; 0 when it holds for none."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def tpr_noise(n: int, m: int, rate: float) -> tuple[float, float]:
    """Mean and standard deviation of `tpr_at` when n and m scores come from one continuous distribution.

    With k = ⌊rate·m⌋ negatives let through, the threshold is exceeded with a chance that is Beta(k + 1, m - k), so the
    count of positives above it is beta-binomial.
    """
    a = false_positives(m, rate) + 1
    mean = a / (m + 1)
    return mean, sqrt(mean * (1 - mean) * (n + m + 1) / (n * (m + 2)))


def best_threshold(positive: Tensor, negative: Tensor) -> tuple[float, float]:
    """The threshold of the best balanced accuracy when scores from it on are called positive, and that accuracy.

    Every value that occurs is tried; of equally good ones the largest counts. Accuracy 1/2 means that none is of use.
    """
    values = torch.cat([positive, negative]).unique()
    n, m = len(positive), len(negative)
    hits = n - torch.searchsorted(positive.sort().values, values)
    false = m - torch.searchsorted(negative.sort().values, values)
    gain = hits * m - false * n                     # whole numbers: equal is equal
    best = len(values) - 1 - int(gain.flip(0).argmax())
    return values[best].item(), 0.5 + int(gain[best]) / (2 * n * m)
