"""Mask: the forgotten classes' logits are set so that they never win; nothing is learned and no image is read.

    w_c = 0,  b_c = -10^4        without a bias: w_c = the mean of the other rows, which never exceeds their largest

The other rows are those of the classes that stay. Without a bias, classes that earlier requests forgot get the mean anew, as
the one they had was made of rows that are now gone.

The trivial control. It reaches perfect scores wherever a metric looks at predictions alone, so every table shows its
methods beside it: what a method does better than the mask is what it does.
"""

import torch
from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import method

NEVER = -1e4
"""A logit that no network reaches, and that half precision still holds."""


@method("Masked logits (control)", paper="none: the trivial control", scope="class classes", reads="")
@torch.no_grad()
def mask(run: Run, model: nn.Module, splits: Splits) -> None:
    _, head = run.split(model)
    before = [p.clone() for p in head.parameters()]
    if head.bias is not None:
        gone = splits.task.gone(run.device)
        head.weight[gone] = 0
        head.bias[gone] = NEVER
    else:
        stays = splits.task.stays(run.device)
        head.weight[~stays] = head.weight[stays].mean(0)
    if all(map(torch.equal, before, head.parameters())):
        run.stop("nothing to forget: the classes are masked already")
