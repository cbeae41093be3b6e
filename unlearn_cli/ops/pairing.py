"""Batches in pairs of one size: forget images beside retain images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearn_cli.errors import UnlearnError

if TYPE_CHECKING:
    from unlearn_cli.data.splits import Split
    from unlearn_cli.engine.batches import Batch
    from unlearn_cli.engine.run import Run


def pairs(run: "Run", forget: "Split", retain: "Split", size: int, pairing: str,
          draw: torch.Generator) -> "Iterator[tuple[float, Batch, Batch]]":  # fmt: skip
    """(how far the epoch is, from 0 to 1; forget batch; retain batch of the same size), once over the retain set."""
    size, times, f, r = positions(len(forget), len(retain), size, pairing, draw)
    beside = run.batches(forget.subset(f), size=size, shuffle=False)
    yield from zip(times, beside, run.batches(retain.subset(r), size=size), strict=True)


def positions(n: int, m: int, size: int, pairing: str, draw: torch.Generator) -> tuple[int, list[float], Tensor, Tensor]:
    """What to read of n forget and m retain images: size of the batches, how far each is, (k,) positions in either set.

    The order of the forget set is drawn anew for each of its passes. `crop` shrinks all batches to the forget set if that is
    smaller; `official` leaves out each pair of which one batch is the short rest of a pass.
    """
    total, retain = -(-m // size), torch.randperm(m, generator=draw)
    if pairing == "crop":
        retain = retain[: total * min(size, n)]
        size, usable = min(size, n), n
        numbers = list(range(-(-len(retain) // size)))
        total = len(numbers)
    else:
        whole, cycle, usable = n // size, -(-n // size), n // size * size
        numbers = [t for t in range(m // size) if t % cycle < whole]
        if not numbers:
            raise UnlearnError(f"pairing=official skips every batch: there is no whole one of {size}.", "pass pairing=crop.")
        retain = retain[: m // size * size].view(-1, size)[numbers].flatten()
    passes = -(-len(retain) // usable)
    forget = torch.cat([torch.randperm(n, generator=draw)[:usable] for _ in range(passes)])[: len(retain)]
    return size, [t / max(total - 1, 1) for t in numbers], forget, retain
