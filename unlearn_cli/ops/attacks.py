"""Adversarial points: where a model errs, near the inputs it knows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearn_cli.ops.losses import cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]


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
        further = (ascent @ weight).sign_().mul_(step).add_(moved)
        further = torch.minimum(torch.maximum(further, below), above)
        if further.device.type == "cpu" and torch.equal(further, moved):  # every later step would be the same
            break
        moved = further
    return moved


def pgd(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, step: float, radius: float, steps: int,
        loss: Loss = cross_entropy) -> Tensor:  # fmt: skip
    """Projected gradient ascent on the loss of images; L-infinity, from the image itself, within [0, 1].

    Args:
        function: images (n, C, H, W) in [0, 1] to logits (n, K); it normalises by itself.
        step, radius: in units of [0, 1] pixels, > 0.
        loss: logits (n, K) and labels y to (n,).

    Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018.
    """
    below, above = (x - radius).clamp(min=0), (x + radius).clamp(max=1)
    moved = x
    for _ in range(steps):
        with torch.enable_grad():
            moved = moved.detach().requires_grad_()
            (ascent,) = torch.autograd.grad(loss(function(moved), y).sum(), moved)
        moved = torch.minimum(torch.maximum(moved.detach() + step * ascent.sign(), below), above)
    return moved.detach()


def fgsm(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, radius: float, loss: Loss = cross_entropy) -> Tensor:
    """One step up the loss: x + radius · sign(∂L/∂x), within [0, 1]; arguments as for `pgd`.

    Source: Goodfellow et al., "Explaining and Harnessing Adversarial Examples", 2015.
    """
    return pgd(function, x, y, radius, radius, 1, loss)


def targeted_pgd(function: Callable[[Tensor], Tensor], x: Tensor, target: Tensor, start: Tensor, step: float, radius: float,
                 steps: int, loss: Loss = cross_entropy) -> Tensor:  # fmt: skip
    """Projected gradient descent on the loss of a label that each image is to be taken for; L2, within [0, 1].

        δ_0 = Proj(start - x);   δ_{t+1} = Proj( δ_t - step · g / max(‖g‖₂, 10⁻⁶) ),   g = ∂L(f(x + δ_t), target)/∂δ
        Proj: clip x + δ to [0, 1], then scale δ down to ‖δ‖₂ ≤ radius, for each image

    Args:
        function: images (n, C, H, W) in [0, 1] to logits (n, K); it normalises by itself.
        start: (n, C, H, W) in [0, 1], such as uniform noise.
        step, radius: L2 over an image, in units of [0, 1] pixels, > 0.
        loss: as for `pgd`.

    Returns:
        (n, C, H, W) in [0, 1], after the last step, whether or not it reached the target.
    """
    every = tuple(range(1, x.dim()))

    def project(delta: Tensor) -> Tensor:
        delta = (x + delta).clamp(0, 1) - x
        return delta * (radius / torch.linalg.vector_norm(delta, dim=every, keepdim=True)).clamp(max=1)

    delta = project(start - x)
    for _ in range(steps):
        with torch.enable_grad():
            delta = delta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(loss(function(x + delta), target).sum(), delta)
        length = torch.linalg.vector_norm(slope, dim=every, keepdim=True).clamp(min=1e-6)
        delta = project(delta.detach() - step * slope / length)
    return (x + delta.detach()).clamp(0, 1)
