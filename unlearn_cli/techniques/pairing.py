"""Batches in pairs of one size: forget images beside retain images."""

from collections.abc import Iterator

import torch

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Batch
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.pairing import positions


def pairs(run: Run, forget: Split, retain: Split, size: int, pairing: str,
          draw: torch.Generator) -> Iterator[tuple[float, Batch, Batch]]:  # fmt: skip
    """(how far the epoch is, from 0 to 1; forget batch; retain batch of the same size), once over the retain set."""
    size, times, f, r = positions(len(forget), len(retain), size, pairing, draw)
    beside = run.batches(forget.subset(f), size=size, shuffle=False)
    yield from zip(times, beside, run.batches(retain.subset(r), size=size), strict=True)
