"""A network of which only a part learns, on images that are read no more often than they have to be."""

from torch import nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Run


def read_once(run: Run, model: nn.Module, split: Split) -> tuple[nn.Module, Split | Features]:
    """What to run on which images: the head on kept features where nothing below it learns, else the model on the split.

    Both give the same training, as the frozen backbone is in eval mode.
    """
    backbone, head = run.split(model)
    if all(not p.requires_grad for p in set(model.parameters()) - set(head.parameters())):
        return head, run.features(backbone, split)
    return model, split
