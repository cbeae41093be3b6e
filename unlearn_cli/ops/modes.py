"""Train mode, with or without BatchNorm."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batchnorms(model: nn.Module) -> list[_BatchNorm]:
    """Every BatchNorm layer, of whatever kind."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def train_mode(model: nn.Module, bn: str) -> None:
    """Put the model in train mode; with bn = "eval" its BatchNorm layers keep and use their running statistics.

    Batches of forget images alone drag running statistics towards the forgotten class, frozen weights or not.
    """
    model.train()
    if bn == "eval":
        for module in batchnorms(model):
            module.eval()
