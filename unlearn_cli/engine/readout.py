"""The readout: one inference pass of a model over every image; each metric reads from it, and the next command too."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unlearn_cli.data.cache import cache_folder
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Run

LAYOUT = 1
"""Raise when the same model and images would give other numbers."""


def readout(run: Run, model: nn.Module, head: str, folder: Folder, digest: str, name: str) -> Tensor:
    """(N, C) float32 logits of all images in folder order, from the cache where this model was read before."""
    key = (LAYOUT, digest, folder.fingerprint, folder.images.size, folder.images.channels, folder.classes,
           run.mean, run.std, str(run.precision), run.device.type, head, torch.__version__)  # fmt: skip
    path = cache_folder() / f"readout-{hashlib.sha256(repr(key).encode()).hexdigest()[:40]}.safetensors"
    shape = (len(folder.images), len(folder.classes))
    logits = _kept(path, shape)
    if logits is None:
        everything = Split("all", folder.images, torch.arange(len(folder.images)))
        with run.adopted(model, head):
            logits = run.logits(model, everything, f"reading {name}").float().cpu()
        if run.ranks.first:
            _keep(path, logits)
    run.ranks.wait()
    return logits


def _kept(path: Path, shape: tuple[int, int]) -> Tensor | None:
    try:
        with safe_open(path, "pt") as file:
            logits = file.get_tensor("logits").clone()
    except (OSError, SafetensorError):
        return None
    return logits if logits.shape == shape and logits.dtype == torch.float32 else None


def _keep(path: Path, logits: Tensor) -> None:
    """Losing the cache costs time only, so a folder that takes no file is no error."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file({"logits": logits}, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
