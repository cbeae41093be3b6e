"""How soon a model knows the forgotten again when it goes on training."""

from typing import Annotated

import torch
from torch import nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import seeded
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.settings import setting


def relearn_epochs(
    run: Run, model: nn.Module, train: Split, held: Split, target: int, *,
    samples: Annotated[int, setting("training images per short epoch", ge=1)] = 500,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128,
    cap: Annotated[int, setting("short epochs at most", ge=1)] = 100,
) -> tuple[int | None, list[int]]:  # fmt: skip
    """Short epochs of training until `held` is known as well as the original knows it; the adopted model is trained.

    Each epoch draws fresh images from the complete training set; the check precedes the first, so that a model that
    forgot nothing has 0. Plain SGD, train mode.

    Args:
        held: the images that are looked at: the forgotten classes' test images, or the listed images themselves.
        target: how many of them the original gets right.

    Returns:
        The epochs (None: more than `cap`), and how many of `held` were right before each epoch and after the last.

    Source: "Fast Yet Effective Machine Unlearning" (UNSIR), Sec. 5.1; rate and batch as in Golatkar et al. 2020.
    """
    opt = run.optimizer(model, "sgd", lr=lr)
    run.progress.start("relearning", cap * samples)
    curve = [run.correct(model, held)]
    while curve[-1] < target:
        if len(curve) > cap:
            break
        drawn = torch.randperm(len(train), generator=seeded(run.seed, "relearn", len(curve)))[:samples]
        model.train()
        for b in run.batches(train.subset(drawn), size=batch_size):
            run.step(b.mean(cross_entropy(model(b.x), b.y)), opt)
        run.check_losses()
        curve.append(run.correct(model, held))
    run.progress.end()
    return (len(curve) - 1 if curve[-1] >= target else None), curve
