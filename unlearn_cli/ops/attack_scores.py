"""What an attacker reads from one model's logits: (n, K) logits and (n,) labels in, (n,) float64 out, larger = more like a member.

Logits may be minus infinity (a masked class) or huge; the largest of a row is finite. Probabilities are never formed and then
subtracted from one, so images that the model is sure of keep their order.

Source: Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models", 2021.
"""

from math import inf

import torch
from torch import Tensor


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """z_y - log Σ_{k≠y} exp z_k = log p_y - log(1 - p_y): the log-odds of the true class, in [-inf, inf].

    It ranks as the confidence does, and as minus the loss, but tells images apart whose confidence rounds to 1.
    """
    z, y = logits.double(), labels[:, None]
    return z.gather(1, y)[:, 0] - z.scatter(1, y, -inf).logsumexp(1)


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """p_y, the probability of the true class, in [0, 1]."""
    return margin(logits, labels).sigmoid()


def log_confidence(margin: Tensor) -> Tensor:
    """log p_y from the margin, <= 0; minus the loss."""
    return torch.nn.functional.logsigmoid(margin)


def negative_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Σ_k p_k log p_k, in [-log K, 0]; the labels are not read."""
    log_p, _ = log_probabilities(logits)
    return torch.where(log_p.isneginf(), 0, log_p.exp() * log_p).sum(1)


def negative_modified_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(1 - p_y) log p_y + Σ_{k≠y} p_k log(1 - p_k), in [-inf, 0]: 0 when p_y is 1, minus infinity when it is 0.

    A copy that is in wide use writes log p for log(1 - p), and takes the label columns of the whole batch for each image.
    """
    log_p, log_not = log_probabilities(logits)
    y = labels[:, None]
    weight = log_p.scatter(1, y, log_not.gather(1, y)).exp()
    return (weight * log_not.scatter(1, y, log_p.gather(1, y))).sum(1)


def log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(n, K) log p_k and log(1 - p_k), both to full relative precision, also where p_k rounds to 0 or to 1."""
    z = logits.double()
    top = z.argmax(1, keepdim=True)
    z = z - z.gather(1, top)
    rest = z.scatter(1, top, -inf).logsumexp(1, keepdim=True)      # of all but the largest: what it lacks of 1
    log_total = rest.exp().log1p()
    log_p = z - log_total
    return log_p, torch.log1p(-log_p.exp()).scatter(1, top, rest - log_total)
