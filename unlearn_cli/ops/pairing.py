"""Which images stand in batches that come in pairs of one size."""

import torch
from torch import Tensor

from unlearn_cli.errors import UnlearnError


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
