"""What a file holds beside a network: averaged copies of it, what training code leaves behind, and what it computes by itself.

    EMA copy      names that begin with `ema.`, `model_ema.`, `ema_model.module.` ..: the plain weights are the network's
    counts        `total_ops` and `total_params`, as profilers register them
    computed      a buffer that the network makes by itself and keeps in no file, or keeps in a file that lacks it
    outside       no weights, and without the prefix that all of the network's names have: a loss's or a metric's state

Anything else is somebody's weights: it is refused by name (`fitting`), never left aside.
"""

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
Shapes = Mapping[str, Collection[torch.Size]]
COUNTS = ("total_ops", "total_params")
COMPUTED = ("relative_position_index", "relative_coords_table", "attn_mask", "position_ids")
"""Last parts of the names of buffers that follow from a network's shape alone; versions of a library differ in saving them."""

SHOWN = 5
"""Names that a note or a refusal tells, of however many."""

_EMA = re.compile(r"(?:^|_)ema(?:_|$)", re.IGNORECASE)


def is_ema(part: str) -> bool:
    """Whether a key or a part of a name is what averaged weights are called: `ema`, `model_ema`, `state_dict_ema`."""
    return bool(_EMA.search(part))


def ema_root(name: str) -> str:
    """The beginning of a tensor's name up to the part that calls it averaged: `ema_model.` of `ema_model.module.conv.weight`."""
    parts = name.split(".")[:-1]
    last = max((i for i, part in enumerate(parts) if is_ema(part)), default=None)
    return "" if last is None else "".join(f"{part}." for part in parts[: last + 1])


def is_averaged(name: str, tensor: Tensor, plain: Shapes) -> bool:
    """Whether a tensor is part of an averaged copy of the plain ones, or a number that its averaging counts with.

    Args:
        plain: the shapes that a plain tensor of a name may have.
    """
    root = ema_root(name)
    if not root or not _is_weight(tensor):
        return bool(root)
    rest = name.removeprefix(root)
    flat = rest.replace(".", "")  # a module's buffers cannot have dots in their names
    return any(tensor.shape in plain.get(end, ()) for end in ends(rest)) or any(
        tensor.shape in shapes for one, shapes in plain.items() if one.replace(".", "") == flat
    )


def may_stay(name: str, tensor: Tensor, prefix: str, wanted: Shapes, buffers: Tensors) -> bool:
    """Whether a tensor of the file may be left aside when the network's own are those under PREFIX.

    Args:
        wanted: the shapes of the network's own tensors and buffers; buffers: those, kept in files or not.
    """
    inside = name.removeprefix(prefix) if name.startswith(prefix) else None
    if name.rpartition(".")[2] in COUNTS or is_averaged(name, tensor, wanted):
        return True
    if inside is None:
        return not _is_weight(tensor) and not any(end in wanted for end in ends(name))
    if inside in buffers:
        return _agrees(tensor, buffers[inside])
    if inside.endswith(".relative_position_index"):  # where another version of the library had it
        return not tensor.is_floating_point() and any(key.endswith(".relative_position_index") for key in buffers)
    return inside.rpartition(".")[2] == "position_ids" and tensor.flatten().tolist() == list(range(tensor.numel()))


def ends(name: str) -> list[str]:
    """A name, the same without its first part, without its first two, and so on."""
    parts = name.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]


def computed(model: nn.Module, wanted: Tensors) -> set[str]:
    """Names of the buffers in a state dict that a new network of the same shape has with the same values."""
    found = {name for name, _ in model.named_buffers(remove_duplicate=False) if name.rpartition(".")[2] in COMPUTED}
    return {name for name in found & set(wanted) if not wanted[name].is_meta}


def remarks(tensors: Tensors, fitted: Tensors, prefix: str, name: str) -> list[str]:
    """What to say of a file's tensors once the network has taken its own (`fitting.fit`): nothing where they were just those."""
    aside = sorted(set(tensors) - {prefix + key for key in fitted})
    averaged = [key for key in aside if ema_root(key)]
    others = [key for key in aside if not ema_root(key)]
    lacking = sorted(key for key in fitted if prefix + key not in tensors and key.rpartition(".")[2] in COMPUTED)
    notes = []
    if prefix:
        whose = "every tensor's name" if not aside else f"the names of the network's {len(tensors) - len(aside)} tensors"
        notes.append(f"the prefix {prefix} was taken off {whose} of {name}")
    if averaged:
        roots = ", ".join(sorted({ema_root(key) for key in averaged}))
        notes.append(
            f"{name} also holds an EMA copy of the weights ({_count(averaged)} under {roots}), which was left aside: it is neither "
            f"changed nor judged, no output holds it, and {name} itself still knows all that it knew"
        )
    if others:
        which = f"{_count(others)} of {name} {'is' if len(others) == 1 else 'are'} none that the network saves"
        notes.append(f"{which}, left aside and in no output: {first_of(others)}")
    if lacking:
        notes.append(f"{name} lacks {first_of(lacking)}, which the network computes by itself")
    return notes


def first_of(names: Iterable[str], most: int = SHOWN) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) != 1 else ''}"


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1


def _agrees(given: Tensor, own: Tensor) -> bool:
    """Whether a buffer is the one that the network makes; one of another shape was made for images of another size."""
    if given.shape != own.shape:
        return given.dim() == own.dim()
    return torch.allclose(given.to(torch.float64), own.to(torch.float64), rtol=1e-3, atol=1e-6)  # as far as float16 holds it
