"""Amnesiac: go on training on everything, with wrong labels for the forget set, drawn once among the classes that stay.

    θ ← θ - lr · ∇ CE(f_θ(x), ỹ)        x ∈ D_r ∪ D_f shuffled;   ỹ = y on D_r, one fixed wrong label per image of D_f

"Amnesiac Machine Learning", AAAI 2021, in its relabelling form, which most tables call amnesiac. Images are read plainly.
Departures: three epochs of Adam at 1e-4 in batches of 256, as in the comparisons of "Can Bad Teaching Induce Forgetting?"
(the authors' own: epochs=10 lr=0.001 batch_size=64); with several classes, no image is given another forgotten class.
Listed images lose their label altogether, although a retrained model would still know many of them: membership attacks
see that.

The paper's other form subtracts from the weights what the batches with forgotten images added to them, and then repairs
the model on D_r. A checkpoint alone cannot do that: the updates are gone unless training kept them. The log holds one copy of
the parameters per touched batch, and a batch of B images is touched with probability 1 - (1 - 1/K)^B by a class out of K.
With ten classes and batches of 64 that is 99.9 % of them: 7,800 copies of ResNet-18's 45 MB, 350 GB, for ten epochs of
CIFAR-10, and subtracting them all leads back to the initial weights. A hundred images touch 12 %, for 42 GB. One running sum
of 45 MB would do, but only where the forget set is known before training.
"""

from typing import Annotated

import torch
from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode


@method("Amnesiac unlearning by relabelling", paper="Amnesiac, AAAI 2021", scope="class classes instances", reads="forget retain")
def amnesiac(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over retain and forget set", ge=1)] = 3,
    lr: Annotated[float, setting("Adam's step size", gt=0)] = 1e-4,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 256,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    retain, forget = splits.retain, splits.forget
    wrong = splits.task.wrong(forget.y, run.noise)
    labels = torch.cat([retain.y, wrong]).to(run.device)
    opt = run.optimizer(model, "adam", lr=lr)
    train_mode(model, bn)
    for _ in run.epochs(epochs, "relearning", len(labels)):
        for b in run.batches([retain, forget], labels, size=batch_size):
            run.step(b.mean(splits.task.loss(model(b.x), b.extra)), opt)
