"""Part of a network learns: which layers, from which weights, and everything else as it was, BatchNorm included."""

import copy
import inspect
from collections.abc import Collection, Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from unlearn_cli.errors import UnlearnError, did_you_mean

COUNTED = (_ConvNd, nn.Linear)
"""The layers that count: convolutions, those of short-cuts included, and linear layers."""
LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def last_layers(model: nn.Module, k: int) -> list[nn.Module]:
    """The last k convolutions and linear layers, nearest to the output first, and whatever else has parameters on the way.

    The order is that in which the modules were registered, walked backwards until k were counted; norms do not count. All
    of them where there are fewer than k.

    Networks with attention count blocks: the last layer is the head with all that follows the last block, k = j + 1 is that
    and all from the j-th block before the end on.

    Source: Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022, where the fused weights of
    attention would never be met: they belong to no linear layer.
    """
    modules = list(model.modules())
    if repeated := encoder_blocks(model):
        place = {module: number for number, module in enumerate(modules)}
        last = repeated[-1]
        begin = [place[last] + len(list(last.modules())), *(place[block] for block in reversed(repeated)), 0]
        return modules[begin[min(k, len(begin)) - 1] :][::-1]
    chosen: list[nn.Module] = []
    counted = 0
    for module in reversed(modules):
        if counted < k and (isinstance(module, (*COUNTED, _BatchNorm)) or module._parameters):
            chosen.append(module)
            counted += isinstance(module, COUNTED)
    return chosen


def encoder_blocks(model: nn.Module) -> list[nn.Module]:
    """The innermost blocks of a network with attention, in order of registration; none for any other network.

    Blocks are siblings of one class that each have attention inside, and single modules of such a class elsewhere. A
    network that repeats nothing has its block in a list of one.
    """
    holding = {module for module in model.modules() if any(attends(inner) for inner in module.modules() if inner is not module)}
    classes: set[type] = set()
    alone: list[nn.Module] = []
    for parent in model.modules():
        able = [child for child in parent.children() if child in holding]
        kinds = [type(child) for child in able]
        classes |= {kind for kind in kinds if kinds.count(kind) > 1}
        if isinstance(parent, LISTS):
            alone += able
    found = [module for module in model.modules() if module in holding and type(module) in classes and module is not model]
    innermost = [module for module in found if not any(inner in found for inner in module.modules() if inner is not module)]
    return innermost or alone[:1]


def attends(module: nn.Module) -> bool:
    """Whether it is an attention layer: by its class's name, or by what it calls its queries, keys and values."""
    names = {name for name, _ in module.named_children()} | module._parameters.keys()
    fused = any("in_proj" in name or "qkv" in name for name in names)
    return fused or names >= {"q", "k", "v"} or names >= {"q", "kv"} or "attention" in type(module).__name__.lower()


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
    """New values for the chosen modules' own parameters that require a gradient: Kaiming-normal weights, zero biases.

    What is no convolution, no linear layer and no BatchNorm begins as its own `reset_parameters` has it. What that leaves
    out, and all of a module that has none: one for scales, zero for biases, and for tokens, embeddings and tables
    normal numbers of standard deviation 0.02, none beyond twice that.

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
            _begin(module, own, draw)


def _begin(module: nn.Module, own: dict[str, nn.Parameter], draw: torch.Generator) -> None:
    """The beginning of any other module: on a copy, since its own reset may reach what is inside or frozen."""
    fresh = copy.deepcopy(module).float().cpu()
    for name, p in fresh.named_parameters(recurse=False):
        flat = sum(side > 1 for side in p.shape) <= 1
        if flat and ("bias" in name or name == "beta"):
            p.zero_()
        elif flat and any(word in name for word in ("weight", "gamma", "scale", "lambda")):
            p.fill_(1)
        else:
            nn.init.trunc_normal_(p, std=0.02, a=-0.04, b=0.04, generator=draw)
    reset = getattr(fresh, "reset_parameters", None) or getattr(fresh, "_reset_parameters", None)
    if reset and not any(p.default is p.empty for p in inspect.signature(reset).parameters.values()):
        seed = int(torch.randint(2**62, (), generator=draw))
        with torch.random.fork_rng(devices=[]):  # a reset draws from the global generator
            torch.manual_seed(seed)
            reset()
    for name, p in own.items():
        p.copy_(fresh.get_parameter(name))
    for name, buffer in module.named_buffers(recurse=False):
        buffer.copy_(fresh.get_buffer(name))
