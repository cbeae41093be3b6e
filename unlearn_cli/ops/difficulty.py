"""Hard or easy: what tells the images that a model trained without them would still recognise from the others.

Source: "Towards Aligned Data Forgetting via Twin Machine Unlearning", 2025, and its authors' code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FARTHEST = 2.0
"""The distance between two opposite features of length one."""


def nearest_distances(x: Tensor, y: Tensor, reference_x: Tensor, reference_y: Tensor, count: int) -> Tensor:
    """Distances of features to the nearest references of their own class, all scaled to length one.

    Args:
        x: (n, d), y: (n,) labels; reference_x: (m, d), reference_y: (m,).
        count: how many of the nearest.

    Returns:
        (n, count) in [0, 2], ascending. The farthest reference stands in for missing ones, and 2 where a class has none.
    """
    x, references = F.normalize(x), F.normalize(reference_x)
    out = x.new_full((len(x), count), FARTHEST)
    for label in y.unique():
        mine, theirs = (y == label).nonzero().squeeze(1), references[reference_y == label]
        if len(theirs):
            near = torch.cdist(x[mine], theirs).topk(min(count, len(theirs)), largest=False).values
            out[mine] = torch.cat([near, near[:, -1:].expand(-1, count - near.shape[1])], 1)
    return out


def attack_loss(logits: Tensor, attacked: Tensor) -> Tensor:
    """(n,) -Σ_k σ(clean)_k · log σ(attacked)_k: how far an attack took the model from its own word; both (n, C)."""
    return F.cross_entropy(attacked, logits.softmax(1), reduction="none")


def unit_scaled(x: Tensor, reference: Tensor) -> Tensor:
    """Columns to [0, 1]: clipped at the reference's quartile fences, then from its least to its greatest value.

        fences  Q1 - 1.5·(Q3 - Q1)  and  Q3 + 1.5·(Q3 - Q1)

    Args:
        x: (n, d); reference: (m, d), x itself or another set to be measured by.

    Returns:
        (n, d); a column in which the reference does not vary becomes 1/2.
    """
    first, third = reference.quantile(0.25, 0), reference.quantile(0.75, 0)
    fence = 1.5 * (third - first)
    kept = torch.clamp(reference, first - fence, third + fence)
    least, most = kept.amin(0), kept.amax(0)
    return torch.where(most > least, (torch.clamp(x, least, most) - least) / (most - least), 0.5)


def easiest(score: Tensor, share: float) -> Tensor:
    """(n,) bool: the images whose score is at most the quantile `share` of all, a small score meaning easy."""
    return score <= score.quantile(share)
