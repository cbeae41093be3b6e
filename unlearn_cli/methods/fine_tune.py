"""Fine-tune: go on training on the retain set, and let the forget set fade.

    θ ← θ - lr · ∇ CE(f_θ(x_r), y_r)

The common baseline (Golatkar et al. 2020; Kurmanji et al. 2023). Rates and epochs differ between papers; the defaults are SGD
0.01 with momentum 0.9 for ten epochs, and a decay of 5e-4, whatever the original was trained with. GLI's comparisons have
lr=0.001 momentum=0 weight_decay=0 epochs=2 batch_size=64; Golatkar's form, with BatchNorm in eval mode and a pull to θ_0, is
neg-grad-plus with beta=1 bn=eval and the training's decay as anchor. Departure: images are read plainly, without augmentation.
"""

from typing import Annotated, Literal

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode


@method("Fine-tuning on the retain set", paper="baseline", scope="class classes instances", reads="retain")
def fine_tune(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the retain set", ge=1)] = 10,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 5e-4,
    schedule: Annotated[Literal["constant", "cosine", "linear"], setting("of the rate over all steps")] = "constant",
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    steps = epochs * -(-len(splits.retain) // batch_size)
    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay, schedule=schedule, steps=steps)
    train_mode(model, bn)
    for _ in run.epochs(epochs, "fine-tuning", splits.retain):
        for b in run.batches(splits.retain, size=batch_size):
            run.step(b.mean(splits.task.loss(model(b.x), b.y)), opt)
