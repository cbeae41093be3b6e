"""Noise on the images of a batch."""

from torch import Tensor

from unlearn_cli.engine.batches import Batch
from unlearn_cli.engine.run import Run


def noisy(run: Run, b: Batch, chosen: Tensor, std: float) -> Tensor:
    """The batch's images, the chosen ones (n,) with fresh Gaussian noise; std in [0, 1] pixels."""
    return b.x + run.gaussian(b) * (std / run.pixels.std) * chosen.view(-1, 1, 1, 1)
