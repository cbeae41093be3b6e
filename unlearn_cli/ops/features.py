"""The split of a network into backbone and head, found in any network without knowing its name."""

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UnlearnError, did_you_mean


def find_head(model: nn.Module, classes: int, name: str | None = None) -> str:
    """The name of the head: the last nn.Linear with one output per class, or the module the user named."""
    linear = {key: module for key, module in model.named_modules() if isinstance(module, nn.Linear)}
    if name is not None:
        if name not in linear:
            hint = did_you_mean(name, linear) or "linear layers: " + ", ".join(linear)
            raise UnlearnError(f"the network has no linear layer called '{name}'.", hint)
        if (outputs := linear[name].out_features) != classes:
            raise UnlearnError(
                f"the layer '{name}' has {outputs} outputs for {classes} classes.", "name the right layer with --head."
            )
        return name
    fitting = [key for key, module in linear.items() if module.out_features == classes]
    if not fitting:
        raise UnlearnError(f"no linear layer of the network has {classes} outputs.", "name the head with --head.")
    return fitting[-1]


class Backbone:
    """Everything below the head, as a function: images (n, C, H, W) to features (n, d) in the head's precision.

    It runs the whole network and keeps what reaches the head, so it needs to know nothing of the architecture; at its
    first call it checks that the head's output is the network's.
    """

    def __init__(self, model: nn.Module, head: nn.Linear):
        self.model, self.head = model, head
        self.checked = False

    def __call__(self, x: Tensor) -> Tensor:
        reached: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
        try:
            logits = self.model(x)
        finally:
            hook.remove()
        if not reached or reached[-1][0].numel() != self.head.in_features:
            raise UnlearnError("the head is not the last step of this network.", "name the right layer with --head.")
        features = reached[-1].flatten(1).to(self.head.weight.dtype)
        if not self.checked:
            if not torch.isfinite(logits).all():
                raise UnlearnError("the network's outputs are not finite.", "the checkpoint is damaged, or its training diverged.")
            if not torch.equal(self.head(features), logits):
                raise UnlearnError("the head's output is not the network's.", "name the right layer with --head.")
            self.checked = True
        return features
