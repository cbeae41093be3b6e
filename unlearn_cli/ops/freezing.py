"""Part of a network learns: which layers, from which weights, and everything else as it was, BatchNorm included."""

from collections.abc import Collection, Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from unlearn_cli.errors import UnlearnError, did_you_mean

COUNTED = (_ConvNd, nn.Linear)
"""The layers that count: convolutions, those of short-cuts included, and linear layers."""


def last_layers(model: nn.Module, k: int) -> list[nn.Module]:
    """The last k convolutions and linear layers, nearest to the output first, and the BatchNorm layers met on the way.

    The order is that in which the modules were registered, walked backwards until k were counted; BatchNorm does not
    count. All of them where there are fewer than k.

    Source: Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022.
    """
    chosen: list[nn.Module] = []
    counted = 0
    for module in reversed(list(model.modules())):
        if counted < k and isinstance(module, (*COUNTED, _BatchNorm)):
            chosen.append(module)
            counted += isinstance(module, COUNTED)
    return chosen


def blocks(model: nn.Module, names: str) -> list[nn.Module]:
    """The modules of these names, separated by commas, with everything inside them."""
    known = dict(model.named_modules())
    chosen: list[nn.Module] = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name not in known:
            hint = did_you_mean(name, known) or "its blocks: " + ", ".join(key for key, _ in model.named_children()) + "."
            raise UnlearnError(f"the network has no module called '{name}'.", hint)
        chosen += known[name].modules()
    return list(dict.fromkeys(chosen))


def freeze_but(model: nn.Module, chosen: Iterable[nn.Module], left_alone: Collection[str] = ()) -> None:
    """Turn off the gradients of all parameters but the chosen modules' own; nothing that was frozen is freed.

    Args:
        left_alone: names of parameters that stay frozen wherever they are.
    """
    own = {id(p) for module in chosen for p in module.parameters(recurse=False)}
    for name, p in model.named_parameters():
        p.requires_grad_(p.requires_grad and id(p) in own and name not in left_alone)
    if not any(p.requires_grad for p in model.parameters()):
        raise UnlearnError("nothing is left to train: the chosen layers are frozen.", "choose others with --set layers or blocks.")


def train_only(model: nn.Module, chosen: Iterable[nn.Module], bn: str) -> None:
    """Train mode for the chosen modules, eval mode for all others: a frozen BatchNorm's statistics do not drift.

    Args:
        bn: with "eval" the chosen BatchNorm layers keep theirs as well.
    """
    model.eval()
    for module in chosen:
        module.training = not (bn == "eval" and isinstance(module, _BatchNorm))


@torch.no_grad()
def renew(chosen: Iterable[nn.Module], draw: torch.Generator, reset_bn: bool = True) -> None:
    """New values for the chosen modules' parameters that require a gradient: Kaiming-normal weights, zero biases.

    Args:
        draw: a CPU generator; the same numbers in every precision.
        reset_bn: BatchNorm begins anew too, with weight 1, bias 0 and the statistics of a fresh layer; else it is kept.
    """
    for module in dict.fromkeys(chosen):
        own = {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
        if isinstance(module, COUNTED):
            for p in own.values():
                p.copy_(nn.init.kaiming_normal_(torch.empty(p.shape), nonlinearity="relu", generator=draw) if p.dim() > 1
                        else torch.zeros(p.shape))  # fmt: skip
        elif isinstance(module, _BatchNorm):
            if reset_bn:
                module.reset_running_stats()
                for name, p in own.items():
                    p.fill_(1 if name == "weight" else 0)
        elif own:
            raise UnlearnError(f"a {type(module).__name__} cannot be initialised anew.", "choose other blocks.")
