"""BatchNorm's running statistics, estimated anew."""

import torch
from torch import nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.modes import batchnorms


@torch.no_grad()
def recalibrate(run: Run, model: nn.Module, split: Split, size: int = 500) -> None:
    """Replace the running mean and variance of every BatchNorm layer by their plain average over a split's batches.

    A network without such a layer is left alone, and no image is read.
    """
    layers = [layer for layer in batchnorms(model) if layer.running_mean is not None]
    if not layers:
        return
    kept = {layer: layer.momentum for layer in layers}
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a cumulative average
        layer.train()
    run.progress.start("BatchNorm's statistics", len(split))
    for b in run.batches(split, size=size):
        model(b.x)
    run.progress.end()
    model.eval()
    for layer in layers:
        layer.momentum = kept[layer]
