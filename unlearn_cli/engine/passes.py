"""Passes over images: shuffled for the steps of a training, or in order for a look without gradients."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Augmentation, Batch, seeded
from unlearn_cli.engine.loader import Loader, Source
from unlearn_cli.engine.progress import Silent


class Passes:
    """One pass after another; `begun` counts the shuffled ones, each of which has its own order and augmentation.

    Args:
        last_loss: what progress shows beside shuffled images.
    """

    def __init__(self, loader: Loader, seed: int, progress: Silent, last_loss: Callable[[], float]):
        self.loader, self.seed, self.progress, self.last_loss = loader, seed, progress, last_loss
        self.begun = 0

    def batches(
        self, source: Source | list[Source], extra: Tensor | None, size: int, shuffle: bool = True,
        augment: Augmentation | None = None,
    ) -> Iterator[Batch]:  # fmt: skip
        """`Run.batches`: one pass, shown as progress. It begins, and takes its order, with the first batch asked for."""
        for b in self._begin(source, extra, size, shuffle, augment):
            yield b
            self.progress.advance(b.size, self.last_loss if shuffle else None)

    def again(self, source: Source, extra: Tensor | None, size: int, augment: Augmentation | None) -> Iterator[Batch]:
        """Shuffled passes without end, of which progress shows nothing."""
        while True:
            yield from self._begin(source, extra, size, True, augment)

    def _begin(self, source, extra, size, shuffle, augment) -> Iterator[Batch]:
        parts = source if isinstance(source, list) else [source]
        n, number = sum(map(len, parts)), self.begun
        if not shuffle:
            return self.loader.batches(parts, extra, torch.arange(n), size)
        self.begun += 1
        order = torch.randperm(n, generator=seeded(self.seed, "order", number))
        draw = seeded(self.seed, "augmentation", number)
        return self.loader.batches(parts, extra, order, size, augment, draw, number)

    @torch.no_grad()
    def over(self, split: Split, function: Callable[[Batch], Tensor], models: tuple[nn.Module, ...], phase: str,
             size: int) -> Tensor:  # fmt: skip
        """`Run.over`: function(batch) for every image, with the models in eval mode."""
        modes = [(module, module.training) for model in models for module in model.modules()]
        for model in models:
            model.eval()
        self.progress.start(phase, len(split))
        out = None
        start = 0
        for b in self.batches(split, None, size, shuffle=False):
            y = function(b)
            if out is None:
                out = y.new_zeros(len(split), *y.shape[1:])
            out[start + b.share.start : start + b.share.stop] = y
            start += b.size
        self.progress.end()
        for module, mode in modes:
            module.training = mode
        return self.loader.ranks.sum_(out)
