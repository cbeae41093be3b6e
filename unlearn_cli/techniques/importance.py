"""How much each weight matters to a model's outputs on a split."""

import torch
from torch import Tensor, nn

from unlearn_cli.engine.loader import Source
from unlearn_cli.engine.run import Run


def output_importance(run: Run, model: nn.Module, split: Source, size: int) -> list[Tensor]:
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
