"""Soft labels made from a model's own word: what it would say if it did not know some classes."""

import torch
from torch import Tensor


def suppressed(labels: Tensor, classes: int, forgotten: tuple[int, ...]) -> Tensor:
    """(n, C) bool: the forgotten classes in every row, or where there are none (listed images) each row's own label."""
    if not forgotten:
        return labels[:, None] == torch.arange(classes, device=labels.device)
    row = torch.zeros(classes, dtype=torch.bool)
    row[list(forgotten)] = True
    return row.to(labels.device).expand(len(labels), classes)


def recognised(logits: Tensor, suppressed: Tensor) -> Tensor:
    """(n,) bool: the images that are still given one of the classes that were to vanish, (n, C) bool."""
    return suppressed.gather(1, logits.argmax(1, keepdim=True)).squeeze(1)


def without(logits: Tensor, suppressed: Tensor, temperature: float = 1.0, epsilon: float = 0.0) -> Tensor:
    """The model's own probabilities with some classes taken out and the rest scaled up to one.

        q_k = ε / m for the m suppressed k,   q_k = (1 - ε) · p_k / Σ_{j kept} p_j otherwise,   p = σ(logits / τ)

    Args:
        logits: (n, C) scores; treated as constant, and left as they are.
        suppressed: (n, C) bool, True where a class is to vanish; at least one of each kind per row.
        temperature: softens p, >= 1.
        epsilon: probability left to the suppressed classes together, shared equally, in [0, 1).

    Returns:
        (n, C) probabilities. Masks before the softmax, so a certain model (p_y rounds to 1) gives no 0/0.

    Source: selective probability adjustment, "Fine-Grained and Efficient Self-Unlearning with Layered Iteration".
    """
    kept = (logits.detach() / temperature).masked_fill(suppressed, -torch.inf).softmax(1)
    if epsilon == 0:
        return kept
    gone = suppressed.to(kept.dtype)
    return (1 - epsilon) * kept + epsilon * gone / gone.sum(1, keepdim=True)
