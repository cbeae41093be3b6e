"""From splits and kept tensors to batches on the device: whose rows they are, how they were augmented, who counts them."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unlearn_cli.data import augment as pixels
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Augmentation, Batch, Features
from unlearn_cli.engine.ranks import Ranks

Source = Split | Features


class Loader:
    """Batches for one device and one process of several; `images_read` counts images of the whole run per split."""

    def __init__(self, device: torch.device, dtype: torch.dtype, ranks: Ranks, mean: Sequence[float], std: Sequence[float]):
        self.device, self.dtype, self.ranks = device, dtype, ranks
        self.mean, self.std = mean, std
        self.images_read: Counter[str] = Counter()
        self._resident: dict[int, Tensor] = {}

    def batches(
        self,
        parts: Sequence[Source],
        extra: Tensor | None,
        order: Tensor,
        size: int,
        augment: Augmentation | None = None,
        draw: torch.Generator | None = None,
        epoch: int = 0,
    ) -> Iterator[Batch]:
        """One pass over the parts, one after another under the positions in `order`, in batches of at most `size`.

        The batches are of equal size, give or take one image: a short last one would sway BatchNorm's statistics.
        """
        wholes = order.tensor_split(-(-len(order) // size))
        shares = [self.ranks.slice(len(whole)) for whole in wholes]
        placed = order.to(self.device).tensor_split(len(wholes))  # once per pass: a copy per batch would wait for the device
        mine = [whole[share] for whole, share in zip(placed, shares, strict=True)]
        y = torch.cat([part.y.to(self.device) for part in parts])
        bounds = [0]
        for part in parts:
            bounds.append(bounds[-1] + len(part))
        if len(parts) == 1:
            streams = [self._rows(parts[0], mine)]
        else:
            local = [whole[share] for whole, share in zip(wholes, shares, strict=True)]
            inside = [[(at >= low) & (at < high) for at in local] for low, high in zip(bounds, bounds[1:], strict=False)]
            streams = [
                self._rows(part, [at[here] - low for at, here in zip(local, masks, strict=True)])
                for part, low, masks in zip(parts, bounds, inside, strict=False)
            ]
        for number, (whole, share, here) in enumerate(zip(wholes, shares, mine, strict=True)):
            rows = [next(stream) for stream in streams]
            how = self._draws(whole, share, augment, draw, epoch) if augment and draw is not None else None
            ready = []
            for i, (part, x) in enumerate(zip(parts, rows, strict=True)):
                if isinstance(part, Split):
                    self.images_read[part.name] += int(((whole >= bounds[i]) & (whole < bounds[i + 1])).sum())
                    if how:
                        chosen = how if len(parts) == 1 else [t[inside[i][number].to(self.device)] for t in how]
                        x = pixels.augment(x, *chosen, augment.padding)
                    x = pixels.normalise(x, self.mean, self.std, self.dtype)
                ready.append(x)
            if len(parts) == 1:
                x = ready[0]
            else:
                x = ready[0].new_empty(len(here), *ready[0].shape[1:])
                if x.dim() == 4:
                    x = x.to(memory_format=torch.channels_last)
                for masks, part in zip(inside, ready, strict=True):
                    x[masks[number].to(self.device)] = part.to(x.dtype)
            yield Batch(x, y[here], None if extra is None else extra[here], here, len(whole), share)

    def _rows(self, part: Source, mine: list[Tensor]) -> Iterator[Tensor]:
        """Rows of one part at the positions of each batch: kept tensors as they are, images as (n, H, W, C) uint8.

        Off the CPU the decoded images are moved to the device once.
        """
        if isinstance(part, Features):
            return (part.x[here.to(part.x.device)] for here in mine)
        store = part.images
        if store.pixels is None or self.device.type == "cpu":
            chosen = store.stream(part.index[here.cpu()] for here in mine)  # on the CPU already, or bound by decoding
            return (x.to(self.device, non_blocking=True) for x in chosen)
        if id(store) not in self._resident:
            self._resident[id(store)] = store.pixels.to(self.device)
        there, rows = self._resident[id(store)], part.index.to(self.device)
        return (there[rows[here.to(self.device)]] for here in mine)

    def _draws(self, whole: Tensor, share: slice, how: Augmentation, draw: torch.Generator, epoch: int) -> list[Tensor]:
        drawn = pixels.draws(draw, len(whole), padding=how.padding, flip_mode=how.flip, epoch=epoch, index=whole)
        return [t[share].to(self.device, non_blocking=True) for t in drawn]
