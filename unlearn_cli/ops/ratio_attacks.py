"""Attacks on single images that ask what other models say of the same image: RMIA and U-LiRA.

Both start from the margin (log-odds of the true class), which keeps apart what rounds to the same probability.
"""

from math import log

import torch
from torch import Tensor

from unlearn_cli.ops.attack_scores import log_confidence

LARGEST = 100.0
"""Margins are cut to ±100 nats: a masked class is infinitely unlikely, and no Gaussian has such a point."""
POOLED_BELOW = 64
"""Models from which on each image has a variance of its own; below, LiRA takes one for all."""
LEAST = 1e-6
"""Smallest variance of an image, relative to the mean over images."""


def log_ratio(own: Tensor, outside: Tensor, a: float = 0.3) -> Tensor:
    """log of p_y(x) over p(x), how likely an image is under any model: (n,) in [-inf, log(2 / (1 - a))].

        p(x) = ((1 + a) · mean_j p_y^j(x) + (1 - a)) / 2

    The references never saw the image; the line in `a` corrects their mean to what models with and without it would say.

    Args:
        own: (n,) margins under the attacked model.
        outside: (R, n) margins under R >= 1 references.
        a: in [0, 1); about 0.3 suits CIFAR-10.

    Source: Zarifzadeh, Liu and Shokri, "Low-Cost High-Power Membership Inference Attacks", 2024, offline form.
    """
    expected = ((1 + a) * outside.sigmoid().mean(0) + (1 - a)) / 2
    return log_confidence(own) - expected.log()


def rmia_scores(ratios: Tensor, population: Tensor, gamma: float = 1.0) -> Tensor:
    """(n,) shares in [0, 1] of a population that an image outdoes: ratio(x) / ratio(z) > gamma.

    Args:
        ratios: (n,) log ratios of the attacked images; population: (m,) of images that no model saw.
    """
    below = torch.searchsorted((population + log(gamma)).sort().values, ratios)
    return below.double() / len(population)


def likelihood_ratio(own: Tensor, inside: Tensor, outside: Tensor) -> Tensor | None:
    """log N(φ; μ_in, σ²_in) - log N(φ; μ_out, σ²_out) of each image's margin φ, in nats.

    Args:
        own: (n,) margins under the attacked model.
        inside: (S, n) under models that were trained with the members and forgot them, the attacked one left out.
        outside: (R, n) under models that never saw the members; S, R >= 2.

    Returns:
        (n,) scores, or None when all models of one kind agree on every image: there is no spread to judge by.

    With fewer than 64 models of either kind, each kind has one variance, the mean over images of the unbiased ones.

    Source: "Inexact Unlearning Needs More Careful Evaluations" (U-LiRA), 2024, after Carlini et al. 2022 (LiRA).
    """
    pooled = min(len(inside), len(outside)) < POOLED_BELOW
    own = own.clamp(-LARGEST, LARGEST)
    one, other = (log_density(own, seen.clamp(-LARGEST, LARGEST), pooled) for seen in (inside, outside))
    return None if one is None or other is None else one - other


def log_density(x: Tensor, seen: Tensor, pooled: bool) -> Tensor | None:
    """log N(x; mean, variance of seen) without its constant, or None for a variance of zero; x (n,), seen (S, n)."""
    variance = (seen - seen[0]).var(0)          # models that agree give exactly zero
    mean = variance.mean()
    if mean == 0:
        return None
    variance = mean if pooled else variance.clamp(min=LEAST * mean.item())
    return -((x - seen.mean(0)) ** 2) / (2 * variance) - variance.log() / 2
