"""A small network of linear layers, and weights for two kinds of images of which one is rare."""

import math

import torch
from torch import Tensor, nn


def dense(widths: list[int], draw: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLUs between them; weights and biases uniform within 1 / sqrt(inputs)."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
        with torch.no_grad():
            for p in linear.parameters():
                p.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=draw)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def side_weights(kind: Tensor) -> Tensor:
    """(n,) weights of mean one that give the two kinds equal sums; both in (n,) bool."""
    other = ~kind
    return torch.where(kind, len(kind) / (2 * kind.sum()), len(kind) / (2 * other.sum()))
