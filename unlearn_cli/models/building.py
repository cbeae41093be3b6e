"""A network of an architecture with fresh weights, presented as every method reads it."""

import torch
from torch import nn

from unlearn_cli.inputs import Size, sides
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.ops.features import find_head
from unlearn_cli.ops.presenting import Presented, present


def new(
    architecture: Architecture, classes: int, channels: int, size: Size, settings: dict, seed: int, head: str | None = None
) -> tuple[nn.Module, Presented]:
    """New weights from the seed alone, and what there is to say of the network's head.

    Args:
        settings: as given or as recorded; they are checked, and defaults fill them up.
        head: the head's name, where somebody said it.

    Raises:
        UnlearnError: it cannot be built so, does not take such images, or has no linear layer at its end.
    """
    architecture.check(size, channels)
    settings = architecture.parsed(settings, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.construct(classes, channels, size, settings)
    if architecture.ours:
        return model, Presented(find_head(model, classes, head))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sample = torch.randn(2, channels, *sides(size))
    return model, present(model, sample, architecture.name, head)
