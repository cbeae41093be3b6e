"""Networks on a run's device, in its precision and memory format, and given back as they came."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from unlearn_cli.engine.precision import restore_forward, run_in
from unlearn_cli.engine.ranks import Ranks


class Networks:
    """The networks that a run has taken in, each with its head.

    Args:
        dtype: of the weights.
        precision: of the layers below the head.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, precision: torch.dtype, ranks: Ranks):
        self.device, self.dtype, self.precision, self.ranks = device, dtype, precision, ranks
        self._heads: dict[nn.Module, nn.Linear] = {}

    @contextmanager
    def adopted(self, model: nn.Module, head: str) -> Iterator[nn.Module]:
        """`take_in`, and the way back: place, type, modes and flags are what they were."""
        training = {module: module.training for module in model.modules()}
        wanted = {p: p.requires_grad for p in model.parameters()}
        place, dtype = (getattr(next(model.parameters()), what) for what in ("device", "dtype"))
        self.take_in(model, head)
        try:
            yield model
        finally:
            restore_forward(model)
            self._heads.pop(model, None)
            for module, mode in training.items():
                module.training = mode
            for p, flag in wanted.items():
                p.requires_grad_(flag)
                p.grad = None
            model.to(place, dtype)

    def take_in(self, model: nn.Module, head: str) -> nn.Module:
        """Bring a network to the device for good; `head` is the name of its last layer."""
        model.to(self.device, self.dtype)
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 4:  # Module.to would try it on five dimensions too, and fail
                tensor.data = tensor.data.to(memory_format=torch.channels_last)
        layer = model.get_submodule(head)
        run_in(model, layer, self.precision)
        self.ranks.synchronise_batchnorm(model)
        self._heads[model] = layer
        return model

    def head(self, model: nn.Module) -> nn.Linear:
        return self._heads[model]

    def head_name(self, model: nn.Module) -> str:
        return next(name for name, module in model.named_modules() if module is self._heads[model])
