"""Losses of single images: logits in, one number per image (n,) out, in nats."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log p_target per image; (n, C) logits, (n,) class indices or (n, C) probabilities -> (n,)."""
    return F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(target ‖ σ(logits / τ)) per image, summed over classes; target (n, C) probabilities, zeros allowed -> (n,)."""
    return F.kl_div(F.log_softmax(logits / temperature, 1), target, reduction="none").sum(1)


def entropy(logits: Tensor) -> Tensor:
    """H(σ(logits)) per image -> (n,); from log-softmax, so that a certain model gives 0 and not NaN."""
    log_p = F.log_softmax(logits, 1)
    return -torch.where(log_p.isneginf(), 0, log_p.exp() * log_p).sum(1)
