"""Adversarial points: where a model errs, near the inputs it knows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearn_cli.ops.losses import cross_entropy


def partial_pgd(head: nn.Linear, x: Tensor, y: Tensor, step: float, radius: float, steps: int,
                low: float | None = None) -> Tensor:  # fmt: skip
    """Projected gradient ascent on features through a linear head.

        x_0 = x;   x_{t+1} = Proj_{‖x' - x‖_∞ ≤ radius}( x_t + step · sign( (σ(W x_t + b) - e_y) W ) )

    Args:
        x: (n, d) features. The gradient of the cross-entropy is in closed form: no autograd.
        y: (n,) labels to move away from.
        step, radius: in feature units, > 0.
        low: smallest value a feature may take (0 for features behind a ReLU), or None.

    Source: "Layer Attack Unlearning", Eq. 2-3.
    """
    weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
    moved, rows = x, torch.arange(len(y), device=y.device)
    below, above = x - radius, x + radius
    if low is not None:
        below = below.clamp(min=low)
    for _ in range(steps):
        ascent = nn.functional.linear(moved, weight, bias).softmax(1)
        ascent[rows, y] -= 1
        moved = (ascent @ weight).sign_().mul_(step).add_(moved)
        moved = torch.minimum(torch.maximum(moved, below), above)
    return moved


def pgd(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, step: float, radius: float, steps: int) -> Tensor:
    """Projected gradient ascent on the cross-entropy of images; L-infinity, from the image itself, within [0, 1].

    Args:
        function: images (n, C, H, W) in [0, 1] to logits (n, K); it normalises by itself.
        step, radius: in units of [0, 1] pixels, > 0.

    Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018.
    """
    below, above = (x - radius).clamp(min=0), (x + radius).clamp(max=1)
    moved = x
    for _ in range(steps):
        with torch.enable_grad():
            moved = moved.detach().requires_grad_()
            (ascent,) = torch.autograd.grad(cross_entropy(function(moved), y).sum(), moved)
        moved = torch.minimum(torch.maximum(moved.detach() + step * ascent.sign(), below), above)
    return moved.detach()
