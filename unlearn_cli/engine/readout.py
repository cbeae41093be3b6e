"""The readout: one inference pass of a model over every image; each metric reads from it, and the next command too.

What is kept is the penultimate features, under the digest of the backbone: models that differ in their heads alone, as
after a head-only method, share one pass.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unlearn_cli.checkpoints import store
from unlearn_cli.data.cache import cache_folder
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Run

LAYOUT = 2
"""Raise when the same model and images would give other numbers."""
LARGEST_KEPT = 1 << 30
"""Bytes of features; more are used and not kept."""


def readout(run: Run, model: nn.Module, head: str, folder: Folder, tensors: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """(N, C) float32 logits and (N, d) float32 features of all images in folder order, on the CPU.

    Args:
        tensors: the checkpoint's, by which its backbone is known again.
        name: of the checkpoint, for the progress.
    """
    images = folder.images
    below = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{head}.")}
    key = (LAYOUT, store.digest(below), folder.fingerprint, images.size, images.channels, run.mean, run.std,
           str(run.precision), run.device.type, head, torch.__version__)  # fmt: skip
    path = cache_folder() / f"readout-{hashlib.sha256(repr(key).encode()).hexdigest()[:40]}.safetensors"
    features = _kept(path, len(images))
    found = run.ranks.sum_(torch.tensor(int(features is not None), device=run.device))
    if found < run.ranks.world:  # caches of several hosts may differ, and a pass needs every process
        features = None
    with run.adopted(model, head):
        backbone, last = run.split(model)
        if features is None:
            everything = Split("all", images, torch.arange(len(images)))
            features = run.features(backbone, everything, f"reading {name}").x
            if run.ranks.first and features.numel() * features.element_size() <= LARGEST_KEPT:
                _keep(path, features)
        with torch.no_grad():
            logits = torch.cat([last(part.to(run.device, run.dtype)) for part in features.split(10_000)])
    run.ranks.wait()
    return logits.float().cpu(), features.float().cpu()


def _kept(path: Path, n: int) -> Tensor | None:
    try:
        with safe_open(path, "pt") as file:
            features = file.get_tensor("features")
    except (OSError, SafetensorError):
        return None
    return features if features.dim() == 2 and len(features) == n and features.is_floating_point() else None


def _keep(path: Path, features: Tensor) -> None:
    """Losing the cache costs time only, so a folder that takes no file is no error."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file({"features": features.cpu().contiguous()}, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
