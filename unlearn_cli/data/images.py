"""Every image of a folder, ready to be gathered by index: from one memory-mapped tensor, or decoded on demand."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unlearn_cli.errors import UnlearnError


@dataclass(frozen=True, eq=False)
class Images:
    """What every split indexes into. `pixels` is None where the data is larger than the cache may be."""

    root: str
    paths: list[str]  # relative to root, '/'-separated, sorted
    labels: Tensor  # (N,) int64
    test: Tensor  # (N,) bool
    size: int
    channels: int
    pixels: Tensor | None  # (N, size, size, channels) uint8

    def __len__(self) -> int:
        return len(self.paths)

    def gather(self, index: Tensor) -> Tensor:
        """The images at `index`, (B,) int64 on the CPU, as (B, size, size, channels) uint8."""
        if self.pixels is not None:
            return self.pixels.index_select(0, index)
        parts = index.split(max(1, -(-len(index) // len(self._workers))))
        return torch.cat(list(self.stream(parts)))

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """`gather` of each batch in order; when decoding on demand, the next few are under way in worker processes."""
        if self.pixels is not None:
            yield from map(self.gather, batches)
            return
        asked = []  # the names of each batch not yet answered, for the message when one turned bad
        for chunk in self._workers.map(self._request(batch, asked) for batch in batches):
            raise_first(asked.pop(0), chunk.problems)
            yield torch.from_numpy(chunk.pixels)

    def _request(self, batch: Tensor, asked: list) -> tuple[str, list[str], int, int]:
        names = [self.paths[i] for i in batch.tolist()]
        asked.append(names)
        return self.root, names, self.size, self.channels

    @cached_property
    def _workers(self):
        from unlearn_cli.data.workers import Workers  # starts Pillow, which a cached folder never needs

        return Workers()


def raise_first(names: list[str], problems: list[tuple[int, str]]) -> None:
    """Stop at a bad file, named relative to the root, if there is any."""
    if problems:
        position, problem = problems[0]
        others = len(problems) - 1
        also = f" ({others} other file{'s are' if others > 1 else ' is'} bad too)" if others else ""
        raise UnlearnError(f"{names[position]} {problem}{also}.", "repair it, or take it out of the folder.")
