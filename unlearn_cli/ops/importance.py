"""How much each weight matters to a model's outputs, and a pull back to where weights began."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def output_importance(run, model: nn.Module, split, size: int) -> list[Tensor]:
    """How the length of the logits answers to each weight that requires a gradient, on a split; no labels.

        I = Σ_B |B| / n · | ∂/∂θ mean_B ‖f_θ(x)‖₂ |          over batches B of at most `size`; the absolute value is a batch's

    The model is left in its mode; in train mode its BatchNorm statistics move, so give it a copy.

    Source: after Aljundi et al., "Memory Aware Synapses", 2018, whose norm is squared and absolute value a single image's.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in weights]
    for _ in run.epochs(1, "importance", split):
        for b in run.batches(split, size=size):
            length = b.mean(torch.linalg.vector_norm(model(b.x), dim=1))
            slopes = torch.autograd.grad(length, weights, allow_unused=True, materialize_grads=True)
            slopes = [run.ranks.sum_(slope.contiguous()) for slope in slopes]
            torch._foreach_add_(total, torch._foreach_abs(slopes), alpha=b.size / len(split))
    return total


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
