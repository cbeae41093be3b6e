"""Logistic regression on one feature, many fits at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

HALVINGS = 60


def fit(x: Tensor, y: Tensor, use: Tensor, steps: int = 100, precision: float = 1e-9) -> tuple[Tensor, Tensor] | None:
    """Fit P(y) = sigmoid(w·x + b) on each row's selection of the points.

        minimise  w²/2 + Σ_use [ log(1 + exp(z)) - y·z ],   z = w·x + b        (scikit-learn's C = 1)

    Newton's method with step halving: the objective is convex, and its minimum is finite, also for separable points,
    as long as every selection holds both kinds.

    Args:
        x: (M,) feature.
        y: (M,) bool.
        use: (F, M) bool, the points each fit learns from; both kinds in every row.
        precision: the last Newton step is smaller than this, relative to the weights.

    Returns:
        (F,) slopes and (F,) intercepts in float64, or None when the steps did not suffice.
    """
    middle = x.double().mean()
    x = x.double() - middle           # the intercept is free, so this changes nothing but the conditioning
    # Neither does a factor, if the penalty has it too; slopes on huge features would round to nothing. Powers of 2 are exact.
    _, exponent = torch.frexp(x.abs().amax().clamp(min=1))
    scale = torch.ldexp(torch.ones((), dtype=torch.float64), exponent)
    x, penalty = x / scale, scale**-2
    sign, use = torch.where(y, 1.0, -1.0).double(), use.double()

    def margins(w: Tensor, b: Tensor) -> Tensor:
        return sign * (w[:, None] * x + b[:, None])

    def objective(margin: Tensor, w: Tensor) -> Tensor:
        return penalty * w**2 / 2 + (use * F.softplus(-margin)).sum(1)

    w = torch.zeros(len(use), dtype=torch.float64)
    b = torch.zeros_like(w)
    margin = margins(w, b)
    for _ in range(steps):
        doubt = (-margin).sigmoid()           # 1 - p(own side), without the rounding of 1 - p
        pull, curve = use * doubt * sign, use * doubt * margin.sigmoid()
        slope_w, slope_b = penalty * w - pull @ x, -pull.sum(1)
        weight = curve.sum(1)
        centre = curve @ x / weight
        spread = (curve * (x - centre[:, None]) ** 2).sum(1)
        step_w = (slope_w - centre * slope_b) / (penalty + spread)
        step_b = slope_b / weight - centre * step_w

        size = torch.maximum(step_w.abs() / (1 + w.abs()), step_b.abs() / (1 + b.abs()))
        if bool((size < precision).all()):
            return w / scale, b - w * (middle / scale)
        now, gain = objective(margin, w), step_w * slope_w + step_b * slope_b
        length = torch.ones_like(w)
        for _ in range(HALVINGS):
            margin = margins(w - length * step_w, b - length * step_b)
            then = objective(margin, w - length * step_w)
            # Near the minimum the gain drowns in rounding: accept what is not measurably worse.
            worse = ~(then <= now - 1e-4 * length * gain + 1e-12 * now)
            if not bool(worse.any()):
                break
            length = torch.where(worse, length / 2, length)
        w, b = w - length * step_w, b - length * step_b
    return None


def cross_validate(x: Tensor, y: Tensor, fold: Tensor) -> Tensor | None:
    """Accuracy on each fold of a fit to all the others.

    Args:
        x: (M,) feature.
        y: (M,) bool.
        fold: (M,) int, from 0 without gaps; both kinds in every fold.

    Returns:
        (F,) held-out accuracies in float64, or None when a fit did not converge.
    """
    held_out = fold == torch.arange(int(fold.max()) + 1)[:, None]
    fitted = fit(x, y, ~held_out)
    if fitted is None:
        return None
    w, b = fitted
    right = (w[:, None] * x.double() + b[:, None] > 0) == y
    return (right & held_out).sum(1).double() / held_out.sum(1)
