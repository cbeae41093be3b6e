"""Wrong labels drawn by chance."""

import torch
from torch import Tensor


def wrong_labels(y: Tensor, classes: int, forgotten: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """(n,) labels drawn uniformly among the classes other than y and the forgotten ones; y (n,) on the CPU."""
    allowed = torch.ones(len(y), classes)
    allowed[torch.arange(len(y)), y] = 0
    allowed[:, list(forgotten)] = 0
    return torch.multinomial(allowed, 1, generator=generator).squeeze(1)
