"""A file's tensors under the names and types that a network has for them: what wrappers and exports change is undone.

    prefix      `module.` or `_orig_mod.` before every name, as wrappers write it, in any nesting: taken off, with a note
    copies      of a plain and an averaged copy the plain one; of two plain ones neither
    counters    BatchNorm's `num_batches_tracked`, which changes no output: 0 where missing, else as a whole number
    ties        one weight under two names: equal in the file, or in it once
    leftovers   what is provably no part of the network stays behind (`leftovers`), and `remarks` says it

Anything else that does not fit is refused by name.
"""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from unlearn_cli.checkpoints.leftovers import computed, ema_root, ends, first_of, may_stay
from unlearn_cli.checkpoints.store import COUNTER, digest
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.presented import as_library, names_in_files

Tensors = dict[str, Tensor]
WRAPPERS = ("_orig_mod", "module")
"""What `torch.compile` and data-parallel wrappers call the network, or the part of one, that is in them."""

USUAL_PREFIXES = ("module.", "_orig_mod.", "model.", "_orig_mod.module.", "module._orig_mod.", "timm_model.")
"""What stands before every name most often; any other is taken off as well."""


def fit(tensors: Tensors, model: nn.Module, what: str, hint: str) -> tuple[Tensors, str]:
    """The tensors as MODEL's library names them, no others among them, and the prefix that was taken off (mostly none).

    The very dict that was given where nothing had to be changed. What was left aside is for `leftovers.remarks` to say.

    Args:
        what: how a problem begins, as `model.safetensors does not fit resnet18`.
        hint: what to do about it.

    Raises:
        UnlearnError: a tensor is missing, left over or of another shape or kind, only some names have a prefix, there are
            two plain copies of the network, or two names of one weight have different values.
    """
    wanted, counters = as_library(model.state_dict(), model), counters_of(model)
    ties, own = _ties(wanted), computed(model, wanted)
    needed = [key for key in wanted if key not in counters | own]
    names = {key: ties.get(key, [key]) for key in needed}
    prefix = _chosen(_copies(tensors, names), what)
    if prefix is None:  # something is missing: say it without what stands before all names
        prefix = prefix_of(tensors, wanted)
        if not prefix:
            _refuse_some_prefixes(tensors, wanted, what)
    strange = sorted(key for key in tensors if not (key.startswith(prefix) and key.removeprefix(prefix) in wanted))
    there = names_in_files(model)
    buffers = {there.get(key, key): buffer for key, buffer in model.named_buffers(remove_duplicate=False)}
    shapes = {key: (tensor.shape,) for key, tensor in (buffers | wanted).items()}
    extra = [key for key in strange if not may_stay(key, tensors[key], prefix, shapes, buffers)]
    taken = {key: tensors[prefix + key] for key in wanted if prefix + key in tensors}
    what = f"{what} without the prefix {prefix} of its names" if prefix else what
    for key in needed:
        _check(key, _first(taken, names[key]), wanted[key], what, hint)
    if extra:
        named = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
        _refuse_some_prefixes(named, wanted, what)
        one = extra[0].removeprefix(prefix)
        why = f"{one} is not what the network computes" if one in buffers else f"the architecture has no tensor {one}"
        raise UnlearnError(f"{what}: {why}.", hint)
    for key in sorted(own & set(taken)):
        _check(key, taken[key], wanted[key], what, hint)
    made = {key: wanted[key].detach().clone() for key in own if key not in taken}
    counted = {key: _count(key, taken.get(key), what, hint) for key in counters}
    tied = {key: _one(key, taken, ties[key], what, hint) for key in needed if key in ties}
    fitted = {key: (taken | made | counted | tied)[key] for key in wanted}
    same = not prefix and len(tensors) == len(fitted) and all(fitted[key] is tensors.get(key) for key in fitted)
    return (tensors if same else fitted), prefix


def _ties(wanted: Tensors) -> dict[str, list[str]]:
    """The names of every weight that has several, by each of them."""
    groups: dict[tuple, list[str]] = {}
    for key, tensor in wanted.items():
        if tensor.numel() and not tensor.is_meta:
            groups.setdefault((tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()), []).append(key)
    return {key: keys for keys in groups.values() if len(keys) > 1 for key in keys}


def _copies(tensors: Tensors, names: dict[str, list[str]]) -> list[str]:
    """The prefixes under which every tensor that is needed is in the file, under one of its names."""
    if not names:
        return [""]
    last = names[max(names, key=len)]
    found = {name.removesuffix(end) for name in tensors for end in last if f".{name}".endswith(f".{end}")}
    return sorted(p for p in found if all(any(p + name in tensors for name in each) for each in names.values()))


def _chosen(copies: list[str], what: str) -> str | None:
    """The prefix of the one copy, or of the one that is not averaged; None where the network is not whole in the file."""
    plain = [prefix for prefix in copies if not ema_root(f"{prefix}x")]
    if len(copies) < 2 or len(plain) == 1:
        return next(iter(plain or copies), None)
    several = [prefix or "no prefix" for prefix in plain or copies]
    raise UnlearnError(f"{what}: it holds {len(several)} copies of the network, under {first_of(several)}.",
                       "keep one of them in the file.")  # fmt: skip


def _first(taken: Tensors, names: list[str]) -> Tensor | None:
    return next((taken[name] for name in names if name in taken), None)


def _one(key: str, taken: Tensors, names: list[str], what: str, hint: str) -> Tensor:
    """The weight that has several names, under this one: the file's own, which has to equal those of its other names."""
    first = _first(taken, names)
    given = taken.get(key, first)
    if given.dtype != first.dtype or not torch.equal(given, first):
        other = next(name for name in names if name in taken)
        raise UnlearnError(f"{what}: {other} and {key} are one weight of the network, and differ in the file.", hint)
    return given


def counters_of(model: nn.Module) -> set[str]:
    """Names of the counters that change nothing: with a momentum of its own, a BatchNorm layer never reads them."""
    return {
        f"{name}.{COUNTER}".removeprefix(".")
        for name, module in model.named_modules(remove_duplicate=False)
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
    found = {key: next((name for name in ends(key)[1:] if name in wanted), None) for key in strange}
    counts = Counter(key.removesuffix(name) for key, name in found.items() if name)
    if counts:
        said = ", ".join(f"{prefix} before {n}" for prefix, n in counts.most_common(5))
        other = next((key for key in tensors if not found.get(key)), None)
        also = f"; {other} has none of them" if other else ""
        raise UnlearnError(f"{what}: not every name has the same prefix ({said} of {len(tensors)} tensors{also}).", hint)
    within = [key for key in strange if _unwrapped(key) != key and _unwrapped(key) in wanted]
    if within:
        part = next(part for part in WRAPPERS if f".{part}." in within[0])
        raise UnlearnError(
            f"{what}: the prefix {part}. stands within {len(within)} of {len(tensors)} names, as in {within[0]}.", hint
        )


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
