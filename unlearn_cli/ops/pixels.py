"""Between a network's input and pixels in [0, 1]."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Pixels:
    """The way from a network's input to pixels in [0, 1] and back.

    Args:
        mean, std: of the normalisation, one number per channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device, dtype: torch.dtype):
        self.mean, self.std = (torch.tensor(v, device=device, dtype=dtype).view(1, -1, 1, 1) for v in (mean, std))

    def of(self, x: Tensor) -> Tensor:
        """Normalised images as pixels; black is 0 and not -1e-9, which a clip would hold fast."""
        return (x * self.std + self.mean).clamp(0, 1)

    def normalised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std

    def into(self, model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The model as a function of pixels."""
        return lambda pixels: model(self.normalised(pixels))
