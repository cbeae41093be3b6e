"""The state dict in what a training script saved: found by its key, checked tensor by tensor, copied out of the file.

    the file itself    a dictionary of tensors
    by a usual key     `state_dict`, `model`, `net` .., or the only key that has one; once more inside
    averaged copies    `state_dict_ema`, or names as `ema_model.` beside plain ones: left behind, unless asked for by key

Optimisers, schedulers and settings are left behind. Of several that are equally good none is taken.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unlearn_cli.checkpoints.leftovers import ema_root, ends, first_of, is_averaged, is_ema
from unlearn_cli.checkpoints.store import COUNTER
from unlearn_cli.errors import UnlearnError, one_line

USUAL = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights", "params")
"""Keys under which training scripts keep a network's tensors."""

TRAINING = ("optim", "sched", "scaler", "loss", "criterion", "callback", "loop", "hyper", "rng")
"""What the keys of training's own state have in them; a network is looked for under such a key only where it is named."""

LEVELS = 2
"""Keys that lead to a state dict, at most, unless more are named."""

DEPTH = 8
"""Dictionaries in dictionaries that are counted through; a file may hold one that contains itself."""

LISTED = 20
"""Keys that are told, of however many."""

SAVED = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
                   torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool})  # fmt: skip


@dataclass
class Imported:
    """A state dict, and what became of the rest of its file.

    Args:
        key: the dotted path of keys to it; empty where the file is the state dict.
        left: what was left behind, in words.
    """

    tensors: dict[str, Tensor]
    key: str
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def state_dict_of(data: Any, name: str, key: str | None = None) -> Imported:
    """The state dict in DATA, as `pickled.read` gives it: the one under KEY, or the one that there is.

    Raises:
        UnlearnError: there is none, or several; a tensor is of a kind that no safetensors file holds, or is not finite.
    """
    if not isinstance(data, Mapping):
        raise UnlearnError(f"{name} holds {_kind(data)}, and no state dict.", "save the model's state_dict().")
    path, prefix = _found(data, name) if key is None else _named(data, key, name)
    value, place = _at(data, path), ".".join(path)
    tensors = {k: v for k, v in value.items() if isinstance(v, Tensor)}
    left, notes = _beside(data, path)
    left += [_in_words(str(k), v) for k, v in value.items() if not isinstance(v, Tensor)]
    if key is None and any(map(is_ema, path)):
        notes.append(f"{place} is an EMA copy by its name, and the only state dict that there is")
    if prefix:
        kept = {k: v for k, v in tensors.items() if k.startswith(prefix)}
        notes.append(f"the prefix {prefix} was taken off every tensor's name")
        left += [f"{_count(len(tensors) - len(kept))} of other names"] if len(kept) < len(tensors) else []
    else:
        averaged = _averaged(tensors)
        kept = {k: v for k, v in tensors.items() if k not in averaged}
        copies = Counter(f"{place}.{ema_root(k)}".strip(".") for k in averaged)
        left += [f"{copy} ({_count(n)})" for copy, n in sorted(copies.items())]
        notes += [_also(copy, n) for copy, n in sorted(copies.items())]
    if shared := _shared(kept):
        notes.append(f"{_count(shared)} shared memory with others, as tied weights do: each is written as a copy")
    own = {k.removeprefix(prefix): _copied(k, tensor, name) for k, tensor in kept.items()}
    return Imported(own, ".".join(filter(None, (place, prefix.removesuffix(".")))), left, notes)


def tensors_in(value: Any, depth: int = DEPTH) -> int:
    """The number of tensors in dictionaries, lists and tuples, however deep."""
    if isinstance(value, Tensor):
        return 1
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(tensors_in(one, depth - 1) for one in inside) if depth else 0


def _is_state_dict(value: Any) -> bool:
    """Whether there are tensors by name, and no others deeper in it."""
    if not isinstance(value, Mapping):
        return False
    names = [k for k, v in value.items() if isinstance(v, Tensor)]
    return bool(names) and all(isinstance(k, str) for k in names) and len(names) == tensors_in(value)


def _found(data: Mapping, name: str) -> tuple[list[str], str]:
    if not tensors_in(data):
        raise UnlearnError(f"{name} holds no tensors.", "save the model's state_dict().")
    path = _search(data, name, LEVELS)
    if path is None:
        raise UnlearnError(f"{name} holds no state dict where one is looked for: {_listed(data)}.",
                           "name it with --key, as a dotted path of keys.")  # fmt: skip
    return path, ""


def _beside(data: Mapping, path: list[str]) -> tuple[list[str], list[str]]:
    """What lies beside the keys that lead to a state dict, and a note of every averaged copy among it."""
    left, notes, value = [], [], data
    for i, part in enumerate(path):
        before = "".join(f"{one}." for one in path[:i])
        others = {f"{before}{key}": other for key, other in value.items() if key != part}
        left += [_in_words(key, other) for key, other in others.items()]
        notes += [_also(key, tensors_in(other)) for key, other in others.items()
                  if is_ema(key) and not is_ema(part) and tensors_in(other)]  # fmt: skip
        value = value[part]
    return left, notes


def _search(node: Any, name: str, levels: int) -> list[str] | None:
    """The keys to the one state dict, the most usual first; None where there is none.

    Raises:
        UnlearnError: several keys are equally good.
    """
    if _is_state_dict(node):
        return []
    if not isinstance(node, Mapping) or not levels:
        return None
    keys = [k for k in node if isinstance(k, str) and not any(word in k.lower() for word in TRAINING)]
    plain = [k for k in keys if not is_ema(k)]
    usual = [k for k in plain if k in USUAL]
    for group in (usual, plain, keys):
        paths = {k: path for k in group if (path := _search(node[k], name, levels - 1)) is not None}
        if paths:
            first = next(iter(paths))
            if not all(_same(_at(node[first], paths[first]), _at(node[other], paths[other])) for other in paths):
                raise UnlearnError(f"{name} holds several state dicts: {_listed(node)}.", "name the one that is meant with --key.")
            return [first, *paths[first]]
    return None


def _named(data: Mapping, key: str, name: str) -> tuple[list[str], str]:
    """The keys that a dotted path goes by, and the beginning of names that its last part may be."""
    found = _resolved(data, key)
    if found is None:
        raise UnlearnError(f"{name} has no key {key}.", f"its keys: {_listed(data, every=True)}.")
    path, prefix = found
    value = _at(data, path)
    more = [] if prefix else _search(value, name, LEVELS)
    if more is None:
        what = f"holds {_listed(value)}" if isinstance(value, Mapping) and tensors_in(value) else f"is {_kind(value)}"
        raise UnlearnError(f"{key} of {name} is no state dict: it {what}.", f"its keys: {_listed(data, every=True)}.")
    return [*path, *more], prefix


def _resolved(node: Any, text: str) -> tuple[list[str], str] | None:
    if not isinstance(node, Mapping):
        return None
    if text in node:
        return [text], ""
    for key in node:
        if isinstance(key, str) and text.startswith(f"{key}.") and (rest := _resolved(node[key], text[len(key) + 1 :])):
            return [key, *rest[0]], rest[1]
    begun = any(isinstance(k, str) and k.startswith(f"{text}.") and isinstance(v, Tensor) for k, v in node.items())
    return ([], f"{text}.") if begun else None


def _at(node: Any, path: list[str]) -> Any:
    for key in path:
        node = node[key]
    return node


def _same(one: Mapping, other: Mapping) -> bool:
    """Whether two state dicts have the same tensors under the same names."""
    return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one if isinstance(one[k], Tensor))


def _equal(one: Any, other: Any) -> bool:
    if not isinstance(other, Tensor) or one.dtype != other.dtype or one.layout != other.layout or one.is_meta or other.is_meta:
        return False
    return torch.equal(one, other)


def _averaged(tensors: dict[str, Tensor]) -> set[str]:
    """The names of an averaged copy, where the plain one is there too and none of its weights stands for itself."""
    averaged = {k for k in tensors if ema_root(k)}
    plain: dict[str, set[torch.Size]] = {}
    for k in tensors.keys() - averaged:
        for end in ends(k):
            plain.setdefault(end, set()).add(tensors[k].shape)
    return averaged if plain and all(is_averaged(k, tensors[k], plain) for k in averaged) else set()


def _shared(tensors: dict[str, Tensor]) -> int:
    """How many tensors lie in memory that another before them lies in."""
    places = [t.untyped_storage().data_ptr() for t in tensors.values() if t.layout == torch.strided and t.numel() and not t.is_meta]
    return len(places) - len(set(places))


def _copied(key: str, tensor: Tensor, name: str) -> Tensor:
    """The tensor in memory of its own."""
    said = f"{name}: the tensor {one_line(key, 100)}"
    if not key.isprintable() or key == "__metadata__":
        raise UnlearnError(f"{said} has a name that no safetensors file can hold.", "rename it where the file was made.")
    kind = (
        f"is a {type(tensor).__name__}" if type(tensor) not in (Tensor, nn.Parameter)
        else "is quantised" if tensor.is_quantized
        else "is nested" if tensor.is_nested
        else f"is {str(tensor.layout).removeprefix('torch.').replace('_', ' ')}" if tensor.layout != torch.strided
        else "has no values" if tensor.is_meta
        else f"holds {tensor.dtype}" if tensor.dtype not in SAVED
        else ""
    )  # fmt: skip
    if kind:
        raise UnlearnError(f"{said} {kind}.", "save it as a plain tensor of float32 or bfloat16.")
    own = tensor.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
    if own.is_floating_point() and not key.endswith(COUNTER) and not torch.isfinite(own).all():
        raise UnlearnError(f"{said} has values that are not finite.", "the training diverged.")
    return own


def _also(key: str, count: int) -> str:
    return f"an EMA copy of the weights is in the file as well ({_count(count)}): --key {one_line(key, 100)} takes that one"


def _listed(node: Mapping, every: bool = False) -> str:
    """Keys with the number of tensors in each: those that have some, or every one."""
    words = [_in_words(str(k), v) for k, v in node.items() if every or tensors_in(v)]
    return first_of(words, LISTED)


def _in_words(key: str, value: Any) -> str:
    count = tensors_in(value)
    return one_line(key, 100) + (f" ({_count(count)})" if count else "")


def _count(count: int) -> str:
    return f"{count} tensor{'s' if count != 1 else ''}"


def _kind(value: Any) -> str:
    """What a value is, for a refusal."""
    if isinstance(value, Tensor):
        return "a lone tensor"
    what = {list: "a list", tuple: "a tuple", dict: "a dictionary"}.get(type(value), f"one {type(value).__name__}")
    count = tensors_in(value)
    return f"{what} of {_count(count)}" if count else what
