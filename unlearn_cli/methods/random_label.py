"""Random label: teach the forget set wrong labels, drawn among the classes that stay.

    θ ← θ - lr · ∇ CE(f_θ(x_f), ỹ_f)        ỹ uniform over the classes other than y and the forgotten ones, drawn once

Golatkar et al. 2020, Graves et al. 2020; the latter learn the retain set beside it, for which SGD suits (with_retain=true
optimizer=sgd lr=0.01 momentum=0.9 batch_size=64 epochs=5). The comparisons of "Fine-Grained and Efficient Self-Unlearning
with Layered Iteration" end listed images at the accuracy on images never seen, which stop_accuracy asks for.
Departures: BatchNorm keeps its statistics (bn=train for the published behaviour), and the loop stops once no forget image is
given a label that is to vanish. An epoch with_retain is a pass over the retain set and then one over the forget set;
amnesiac mixes them.
"""

from typing import Annotated, Literal

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.techniques.stopping import until_forgotten


@method("Fine-tuning on random wrong labels", paper="baseline", scope="class classes instances", reads="forget")
def random_label(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the forget set, at most", ge=1)] = 10,
    optimizer: Annotated[Literal["adam", "sgd"], setting("the optimiser")] = "adam",
    lr: Annotated[float, setting("its step size", gt=0)] = 1e-4,
    momentum: Annotated[float, setting("SGD's momentum", when={"optimizer": "sgd"}, ge=0, lt=1)] = 0.0,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 256,
    resample: Annotated[bool, setting("draw the labels anew each epoch")] = False,
    with_retain: Annotated[bool, setting("learn the retain set's true labels beside them", opens={True: "retain"})] = False,
    stop_accuracy: Annotated[float, setting("forget accuracy that ends it", ge=0, le=1)] = 0.0,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget, task, wrong = splits.forget, splits.task, None
    shown = len(forget) + (len(splits.retain) if with_retain else 0)
    opt = run.optimizer(model, optimizer, lr=lr, **({"momentum": momentum} if optimizer == "sgd" else {}))
    for _ in until_forgotten(run, model, forget, epochs, "random labels", stop_accuracy, images=shown):
        if wrong is None or resample:
            wrong = task.wrong(forget.y, run.noise).to(run.device)
        train_mode(model, bn)
        if with_retain:
            for b in run.batches(splits.retain, size=batch_size):
                run.step(b.mean(task.loss(model(b.x), b.y)), opt)
        for b in run.batches(forget, wrong, size=batch_size):
            run.step(b.mean(task.loss(model(b.x), b.extra)), opt)
