"""What passes, trainings and methods gave, kept in the cache folder under everything it depends on: no command makes it again.

A file is sealed by a digest of its name and all that it holds: one that is damaged counts as none. Losing any costs time only.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unlearn_cli.checkpoints import store
from unlearn_cli.data.cache import cache_folder
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError

LARGEST = 2 << 30
"""Bytes of one result; a larger one is used and not kept."""
MOST = 4 << 30
"""Bytes of all files of a kind together; those that were not used for the longest go first."""


def kept(
    run: Run, kind: str, key: tuple, make: Callable[[], dict[str, Tensor]], whole: Callable[[dict[str, Tensor]], bool]
) -> dict[str, Tensor]:
    """make(), or what it gave when it was last called with this key; on the CPU if it was read.

    Args:
        kind: what the file's name begins with.
        key: everything that the tensors depend on; its text is what counts.
        make: called on every process or on none.
        whole: whether tensors that were read are such as `make` gives; others are made again.
    """
    path = place(kind, key)
    found, _ = find(path) or (None, {})
    if found is not None and not whole(found):
        found = None
    if not everywhere(run, found is not None):
        found = make()
        if run.ranks.first:
            keep(path, found)
    run.ranks.wait()
    return found


def place(kind: str, key: tuple) -> Path:
    """Where something is kept."""
    return cache_folder() / f"{kind}-{hashlib.sha256(repr(key).encode()).hexdigest()[:40]}.safetensors"


def find(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """The tensors and the metadata of a kept file; None where there is none, or none that is whole."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError):
        return None
    if metadata.pop("seal", None) != _seal(path, tensors, metadata):
        return None
    with suppress(OSError):
        os.utime(path)  # used now
    return tensors, metadata


def everywhere(run: Run, found: bool) -> bool:
    """Whether every process has found it: caches of several hosts may differ, and what is made needs every process."""
    return bool(run.ranks.sum_(torch.tensor(int(found), device=run.device)) == run.ranks.world)


def keep(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file whole or not at all, and let go of the oldest of its kind; a folder that takes no file is no error."""
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > LARGEST:
        return
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    metadata = metadata or {}
    sealed = metadata | {"seal": _seal(path, tensors, metadata)}
    with suppress(OSError, UnlearnError):
        path.parent.mkdir(parents=True, exist_ok=True)
        store.replace_whole(str(path), lambda temporary: save_file(tensors, temporary, sealed))
        _prune(path)


def _prune(newest: Path) -> None:
    """Keep the files of a kind that were used last, as many as MOST allows."""
    kind = newest.name.partition("-")[0]
    found = sorted(((path.stat(), path) for path in newest.parent.glob(f"{kind}-*.safetensors")),
                   key=lambda pair: -pair[0].st_mtime_ns)  # fmt: skip
    total = 0
    for stat, path in found:
        total += stat.st_size
        if total > MOST:
            path.unlink(missing_ok=True)


def _seal(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Binds name, tensors and metadata together."""
    whole = f"{path.name}\0{store.digest(tensors)}\0{json.dumps(metadata, sort_keys=True)}"
    return hashlib.sha256(whole.encode()).hexdigest()
