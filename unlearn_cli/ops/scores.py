"""The forgetting score and the final score of the MUFAC benchmark, from losses and an accuracy."""

import math

import torch
from torch import Tensor

from unlearn_cli.ops import logistic

SPLITS, SHARE = 10, 0.1


def final_score(accuracy: float, forgetting: float) -> float:
    """(accuracy + 1 - 2·forgetting) / 2, in [0, 1], higher is better; accuracy in [0, 1], forgetting score in [0, 0.5]."""
    return (accuracy + 1 - 2 * forgetting) / 2


def forgetting_score(forget: Tensor, unseen: Tensor, generator: torch.Generator) -> float | None:
    """|1/2 - M|, lower is better: M is how well one threshold on the loss tells forgotten from unseen images.

    The forget losses are shuffled and cut to as many as there are unseen ones, which are never cut. M is the mean
    accuracy of a logistic regression on ten stratified random splits that hold out a tenth.

    Args:
        forget, unseen: (n,) and (m,) losses of single images, as they are: no scaling, no clipping.
        generator: of the shuffle and the splits; the same state gives the same ones, so that scores can be compared.

    Returns:
        The score in [0, 0.5], or None with fewer than two images on a side, or when the regression did not converge.

    Source: the MUFAC / MUCAC benchmark's public code (`M` is what it calls MIA).
    """
    forget = forget[torch.randperm(len(forget), generator=generator)[: len(unseen)].to(forget.device)]
    if len(forget) < 2:
        return None
    losses = torch.cat([unseen, forget]).double().cpu()
    member = torch.arange(len(losses)) >= len(unseen)
    accuracy = attack_accuracy(losses, member, stratified(member, generator))
    return None if accuracy is None else abs(0.5 - accuracy)


def attack_accuracy(losses: Tensor, member: Tensor, held_out: Tensor) -> float | None:
    """Mean over splits of the accuracy on the held-out points of a regression fitted to the others.

    Args:
        losses: (n,) float64.
        member: (n,) bool.
        held_out: (S, n) bool, one split a row; both kinds among the points that a row learns from.
    """
    fitted = logistic.fit(losses, member, ~held_out)
    if fitted is None:
        return None
    w, b = fitted
    right = (w[:, None] * losses + b[:, None] > 0) == member
    return ((right & held_out).sum(1).double() / held_out.sum(1)).mean().item()


def stratified(y: Tensor, generator: torch.Generator, splits: int = SPLITS, share: float = SHARE) -> Tensor:
    """(splits, n) bool: ceil(share·n) points held out at random, at least two, of each kind as its part of all.

    Sizes as in scikit-learn's StratifiedShuffleSplit, draws of our own: of the points learned from, each kind has its
    part rounded to the nearest, a tie falling at random.

    Args:
        y: (n,) bool, which of two kinds.
    """
    n, kinds = len(y), (y.nonzero().squeeze(1), (~y).nonzero().squeeze(1))
    learned = n - max(2, math.ceil(share * n))
    low, part = divmod(len(kinds[0]) * learned, n)
    out = torch.zeros(splits, n, dtype=torch.bool)
    for row in out:
        up = 2 * part > n or (2 * part == n and bool(torch.randint(2, (1,), generator=generator)))
        for kind, count in zip(kinds, (low + up, learned - low - up), strict=True):
            row[kind[torch.randperm(len(kind), generator=generator)[count:]]] = True
    return out
