"""Kept runs: what a method made of a checkpoint, in the cache folder, so that a broken comparison goes on where it stopped.

A kept run is a checkpoint file with its lineage.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unlearn_cli
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.checkpoints.record import KEY, Record, Step, from_json
from unlearn_cli.data.requests import Target
from unlearn_cli.engine import kept
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import Method

LAYOUT = 3
"""Raise when a kept run is to be read in another way."""


def place(first: Loaded, method: Method, values: dict[str, Any], target: Target, selection: float, run: Run) -> Path:
    """Where the run of a method is kept: a name made of all that its result and its seconds depend on."""
    images, record = first.folder.images, first.record
    device = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else run.device.type
    described = (*first.computes, record.mean, record.std, first.head)
    test = hashlib.sha256(images.test.numpy().tobytes()).hexdigest()
    data = (first.folder.fingerprint, *images.prepared, record.classes, test)
    computed = (device, str(run.precision), torch.get_num_threads(), run.ranks.world, torch.__version__, program())
    asked = (method.name, sorted(values.items()), target.digest, selection, run.seed, first.recipe())
    return kept.place("run", (LAYOUT, first.checkpoint.digest, described, data, computed, asked))


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
    found = kept.find(path)
    if found is None:
        return None
    tensors, metadata = found
    return tensors, from_json(metadata[KEY], str(path)).last


def keep(path: Path, tensors: dict[str, Tensor], record: Record) -> None:
    """Write a run whole or not at all; one that is too large, or that the folder does not take, is not kept."""
    kept.keep(path, tensors, {"format": "pt", KEY: record.to_json()})
