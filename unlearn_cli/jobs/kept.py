"""Kept runs: what a method made of a checkpoint, in the cache folder, so that a broken comparison goes on where it stopped.

A kept run is a checkpoint file with its lineage, sealed by a digest: what is damaged is run again. Losing any of it costs
time only.
"""

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import unlearn_cli
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import KEY, Record, Step
from unlearn_cli.data.cache import cache_folder
from unlearn_cli.data.splits import Request
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs.loading import Loaded
from unlearn_cli.methods import Method

LAYOUT = 1
"""Raise when a kept run is to be read in another way."""
MOST = 2 << 30
"""Bytes of all kept runs together; those that were not used for the longest go first."""


def place(first: Loaded, method: Method, values: dict[str, Any], request: Request, selection: float, run: Run) -> Path:
    """Where the run of a method is kept: a name made of all that its result and its seconds depend on."""
    images, record = first.folder.images, first.record
    device = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else run.device.type
    described = (record.architecture, sorted(record.architecture_settings.items()), record.mean, record.std, first.head)
    data = (first.folder.fingerprint, images.size, images.channels, record.classes, _sha(images.test.numpy().tobytes()))
    computed = (device, str(run.precision), torch.get_num_threads(), run.ranks.world, torch.__version__, program())
    asked = (method.name, sorted(values.items()), request, selection, run.seed, first.recipe())
    key = (LAYOUT, first.checkpoint.digest, described, data, computed, asked)
    return cache_folder() / f"run-{_sha(repr(key).encode())[:40]}.safetensors"


@cache
def program() -> str:
    """This version of the program: its number, and a digest of its code, which may have been edited since."""
    top = Path(unlearn_cli.__file__).parent
    code = hashlib.sha256()
    for path in sorted(top.rglob("*.py")):
        code.update(f"{path.relative_to(top).as_posix()}\0".encode() + path.read_bytes())
    return f"{unlearn_cli.__version__} {code.hexdigest()}"


def find(path: Path) -> tuple[dict[str, Tensor], Step] | None:
    """The tensors and the step of a kept run; None where there is none, or none that is whole."""
    try:
        with safe_open(path, "pt") as file:
            seal = (file.metadata() or {}).get("seal")
        kept = store.read(str(path))
    except (OSError, SafetensorError, UnlearnError):
        return None
    if kept.record is None or seal != _seal(path, kept.digest, kept.record):
        return None
    with suppress(OSError):
        os.utime(path)  # used now
    return kept.tensors, kept.record.last


def keep(path: Path, tensors: dict[str, Tensor], record: Record) -> None:
    """Write a run whole or not at all, and let go of the oldest; a folder that takes no file is no error."""
    if sum(t.numel() * t.element_size() for t in tensors.values()) > MOST:
        return
    metadata = {"format": "pt", KEY: record.to_json(), "seal": _seal(path, store.digest(tensors), record)}
    with suppress(OSError, UnlearnError):
        path.parent.mkdir(parents=True, exist_ok=True)
        store.replace_whole(str(path), lambda temporary: save_file(tensors, temporary, metadata))
        _prune(path.parent)


def _prune(folder: Path) -> None:
    """Keep the runs that were used last, as many as MOST allows."""
    found = sorted(((path.stat(), path) for path in folder.glob("run-*.safetensors")), key=lambda pair: -pair[0].st_mtime_ns)
    total = 0
    for stat, path in found:
        total += stat.st_size
        if total > MOST:
            path.unlink(missing_ok=True)


def _seal(path: Path, digest: str, record: Record) -> str:
    """Binds name, tensors and record together."""
    return _sha(f"{path.name}\0{digest}\0{record.to_json()}".encode())


def _sha(whole: bytes) -> str:
    return hashlib.sha256(whole).hexdigest()
