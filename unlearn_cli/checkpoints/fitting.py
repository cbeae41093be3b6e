"""A file's tensors under the names and types that a network has for them: what wrappers and exports change is undone.

    prefix      `module.` or `_orig_mod.` before every name, as wrappers write it, in any nesting: taken off, with a note
    counters    BatchNorm's `num_batches_tracked`, which changes no output: 0 where missing, else as a whole number

Anything else that does not fit is refused by name.
"""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from unlearn_cli.checkpoints.store import COUNTER, digest
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.presented import as_library

Tensors = dict[str, Tensor]
WRAPPERS = ("_orig_mod", "module")
"""What `torch.compile` and data-parallel wrappers call the network, or the part of one, that is in them."""

USUAL_PREFIXES = ("module.", "_orig_mod.", "model.", "_orig_mod.module.", "module._orig_mod.")
"""What stands before every name most often; any other is taken off as well."""


def fit(tensors: Tensors, model: nn.Module, what: str, hint: str) -> tuple[Tensors, str]:
    """The tensors as MODEL's library names them, and the prefix that was taken off (mostly none).

    The very dict that was given where nothing had to be changed.

    Args:
        what: how a problem begins, as `model.safetensors does not fit resnet18`.
        hint: what to do about it.

    Raises:
        UnlearnError: a tensor is missing, left over or of another shape or kind, or only some names have a prefix.
    """
    wanted, counters = as_library(model.state_dict(), model), counters_of(model)
    prefix = ""
    if any(key not in tensors for key in wanted if key not in counters):
        prefix = prefix_of(tensors, wanted)
        if not prefix:
            _refuse_some_prefixes(tensors, wanted, what)
    fitted = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()} if prefix else tensors
    what = f"{what} without the prefix {prefix} of its names" if prefix else what
    for key, tensor in wanted.items():
        if key not in counters:
            _check(key, fitted.get(key), tensor, what, hint)
    if extra := sorted(set(fitted) - set(wanted)):
        _refuse_some_prefixes(fitted, wanted, what)
        raise UnlearnError(f"{what}: the architecture has no tensor {extra[0]}.", hint)
    counted = {key: _count(key, fitted.get(key), what, hint) for key in counters}
    if all(counted[key] is fitted.get(key) for key in counters):
        return fitted, prefix
    return fitted | counted, prefix


def counters_of(model: nn.Module) -> set[str]:
    """Names of the counters that change nothing: with a momentum of its own, a BatchNorm layer never reads them."""
    return {
        f"{name}.{COUNTER}".removeprefix(".")
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.num_batches_tracked is not None and module.momentum is not None
    }


def prefix_of(names: Iterable[str], wanted: Iterable[str]) -> str:
    """The dotted prefix before every name without which most names are the network's; nothing where it is none."""
    names, wanted = sorted(names), set(wanted)
    parts = names[0].split(".")
    prefixes = ["".join(f"{part}." for part in parts[:depth]) for depth in range(len(parts))]
    common = [prefix for prefix in prefixes if all(name.startswith(prefix) for name in names)]
    return max(common, key=lambda prefix: sum(name.removeprefix(prefix) in wanted for name in names))  # the first of equals


def weights_digest(tensors: Tensors) -> str:
    """Equal for files of the same weights, whatever type they are kept in and whatever their counters say."""
    return digest({key: _widened(tensor) for key, tensor in tensors.items() if not key.endswith(COUNTER)})


def _widened(tensor: Tensor) -> Tensor:
    """In float32 where that holds every value, as it does nearly always; otherwise as it is."""
    if not tensor.is_floating_point() or tensor.dtype == torch.float32:
        return tensor
    single = tensor.to(torch.float32)
    return single if torch.equal(single.to(tensor.dtype), tensor) else tensor


def _refuse_some_prefixes(tensors: Tensors, wanted: Tensors, what: str) -> None:
    """Name the prefixes that stand before some of the names only, or the one that stands within them."""
    hint = "save the network's own state dict, without what wraps it."
    strange = [key for key in tensors if key not in wanted]
    ends = {key: next((name for name in _ends(key) if name in wanted), None) for key in strange}
    counts = Counter(key.removesuffix(name) for key, name in ends.items() if name)
    if counts:
        said = ", ".join(f"{prefix} before {n}" for prefix, n in counts.most_common(5))
        other = next((key for key in tensors if not ends.get(key)), None)
        also = f"; {other} has none of them" if other else ""
        raise UnlearnError(f"{what}: not every name has the same prefix ({said} of {len(tensors)} tensors{also}).", hint)
    within = [key for key in strange if _unwrapped(key) != key and _unwrapped(key) in wanted]
    if within:
        part = next(part for part in WRAPPERS if f".{part}." in within[0])
        raise UnlearnError(
            f"{what}: the prefix {part}. stands within {len(within)} of {len(tensors)} names, as in {within[0]}.", hint
        )


def _ends(key: str) -> list[str]:
    """A name without its first part, its first two, and so on."""
    parts = key.split(".")
    return [".".join(parts[i:]) for i in range(1, len(parts))]


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _check(key: str, given: Tensor | None, wanted: Tensor, what: str, hint: str) -> None:
    if given is None:
        raise UnlearnError(f"{what}: it has no tensor {key}.", hint)
    if given.shape != wanted.shape:
        raise UnlearnError(f"{what}: {key} has the shape {tuple(given.shape)}, not {tuple(wanted.shape)}.", hint)
    if given.is_floating_point() != wanted.is_floating_point():
        raise UnlearnError(f"{what}: {key} holds {given.dtype}.", hint)
    if key.endswith(COUNTER) and not torch.isfinite(given).all():  # of those that are read, `store` lets it pass
        raise UnlearnError(f"{what}: {key} has values that are not finite.", "the training diverged.")


def _count(key: str, given: Tensor | None, what: str, hint: str) -> Tensor:
    """A counter as an int64 scalar; 0 where there is none, or where float16 could not hold it."""
    if given is None:
        return torch.zeros((), dtype=torch.int64)
    if given.numel() != 1:
        raise UnlearnError(f"{what}: {key} has the shape {tuple(given.shape)}, not ().", hint)
    if given.is_complex() or given.dtype == torch.bool:
        raise UnlearnError(f"{what}: {key} holds {given.dtype}.", hint)
    if given.dtype == torch.int64 and given.dim() == 0:
        return given
    value = given.reshape(())
    if given.is_floating_point() and not torch.isfinite(value):
        value = torch.zeros(())
    return value.round().to(torch.int64) if value.is_floating_point() else value.to(torch.int64)
