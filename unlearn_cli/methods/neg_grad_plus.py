"""NegGrad+: descend the loss on the retain set and, with a small weight, climb it on the forget set.

    minimise  β·CE(f_θ(x_r), y_r) - (1-β)·CE(f_θ(x_f), y_f)        a batch of each per step, the forget set starting again

Kurmanji et al., "Towards Unbounded Machine Unlearning", 2023, where β is 0.95 on small data sets and 0.9999 on large ones;
with a plain difference of the losses (β=0.5 and twice the rate) it is known as Advanced NegGrad. The two batches pass the
network one after the other, the forget batch first: together they would share BatchNorm's statistics, and what came last
weighs most in the running ones.
Departures: BatchNorm in train mode and no pull towards θ_0, as in the authors' general loop; their small-scale one has
BatchNorm in eval mode and adds β·(anchor/2)·‖θ - θ_0‖² (bn=eval anchor=0.1). `clip` is a guard that they do not have, as
the second loss has no bound. Images are read plainly.
"""

from typing import Annotated

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode


@method("Descent on retain, ascent on forget", paper="baseline, 2023", scope="class classes instances", reads="forget retain")
def neg_grad_plus(
    run: Run, model: nn.Module, splits: Splits, *,
    beta: Annotated[float, setting("weight of the retain loss; the forget loss has the rest", ge=0, le=1)] = 0.95,
    epochs: Annotated[int, setting("passes over the retain set", ge=1)] = 10,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.0,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0,
    anchor: Annotated[float, setting("L2 penalty on the distance to the original weights", ge=0)] = 0.0,
    batch_size: Annotated[int, setting("images per step, of each set", ge=1)] = 64,
    clip: Annotated[float | None, setting("largest norm of the gradient", none="no limit", gt=0)] = None,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    original = [p.detach().clone() for p in opt.params]
    for _ in run.epochs(epochs, "descent and ascent", splits.retain):
        train_mode(model, bn)
        for f, r in run.paired(splits.forget, splits.retain, size=batch_size):
            climb = f.mean(splits.task.loss(model(f.x), f.y)) if beta < 1 else 0.0
            loss = beta * r.mean(splits.task.loss(model(r.x), r.y)) - (1 - beta) * climb
            if anchor:
                far = sum((p - p0).square().sum() for p, p0 in zip(opt.params, original, strict=True))
                loss = loss + beta * anchor / 2 * far / run.ranks.world  # the ranks' losses are summed
            run.step(loss, opt, clip=clip)
