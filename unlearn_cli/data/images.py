"""Every image of a folder, ready to be gathered by index: from one memory-mapped tensor, or decoded on demand."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import cached_property

import torch
from torch import Tensor

from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Resize, Size, sides


@dataclass(frozen=True, eq=False)
class Images:
    """What every split indexes into. `pixels` is None where the data is larger than the cache may be."""

    root: str
    paths: list[str]  # relative to root, '/'-separated, sorted
    labels: Tensor  # (N,) int64
    test: Tensor  # (N,) bool
    size: Size
    channels: int
    pixels: Tensor | None  # (N, height, width, channels) uint8
    resize: Resize | None = None  # how they were brought to the size, where not in our own way

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def prepared(self) -> tuple:
        """What pixels depend on beside the files: two of the same files that are alike in this have the same pixels."""
        return (self.size, self.channels) if self.resize is None else (self.size, self.channels, self.resize)

    @property
    def values(self) -> int:
        """How many numbers an image is."""
        height, width = sides(self.size)
        return height * width * self.channels

    def gather(self, index: Tensor) -> Tensor:
        """The images at `index`, (B,) int64 on the CPU, as (B, height, width, channels) uint8."""
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

    def _request(self, batch: Tensor, asked: list) -> tuple:
        names = [self.paths[i] for i in batch.tolist()]
        asked.append(names)
        return self.root, names, self.size, self.channels, self.resize and astuple(self.resize)

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
