"""What passes and trainings gave, kept in the cache folder under everything it depends on: no command makes it again."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unlearn_cli.data.cache import cache_folder
from unlearn_cli.engine.run import Run

LARGEST = 1 << 30
"""Bytes of one result; a larger one is used and not kept."""


def kept(
    run: Run, kind: str, key: tuple, make: Callable[[], dict[str, Tensor]], whole: Callable[[dict[str, Tensor]], bool]
) -> dict[str, Tensor]:
    """make(), or what it gave when it was last called with this key; on the CPU if it was read.

    Args:
        kind: what the file's name begins with.
        key: everything that the tensors depend on; its text is what counts.
        make: called on every process or on none.
        whole: whether tensors that were read are such as `make` gives; a damaged file is made again.
    """
    path = cache_folder() / f"{kind}-{hashlib.sha256(repr(key).encode()).hexdigest()[:40]}.safetensors"
    found = _read(path)
    if found is not None and not whole(found):
        found = None
    count = run.ranks.sum_(torch.tensor(int(found is not None), device=run.device))
    if count < run.ranks.world:  # caches of several hosts may differ, and a pass needs every process
        found = make()
        if run.ranks.first and sum(tensor.numel() * tensor.element_size() for tensor in found.values()) <= LARGEST:
            _write(path, found)
    run.ranks.wait()
    return found


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError):
        return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Losing the cache costs time only, so a folder that takes no file is no error."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
