"""NegGrad: climb the loss on the forget set, instead of descending it.

    θ ← θ + lr · ∇ CE(f_θ(x_f), y_f)        until CE(D_f) > ln K, or the accuracy asked for

The common baseline (Golatkar et al. 2020). The loss has no maximum, so the gradient is clipped and the climb ends once
the forget set's mean loss is that of a guess. Departures: the budget counts passes over the forget set, where published
loops count retain batches; BatchNorm keeps its statistics (bn=train for the published behaviour).
"""

from typing import Annotated

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode


@method("Gradient ascent on the forget set", paper="baseline", scope="class classes instances", reads="forget")
def neg_grad(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the forget set, at most", ge=1)] = 2,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 1e-3,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 64,
    clip: Annotated[float, setting("largest norm of the gradient", gt=0)] = 1.0,
    stop_loss: Annotated[float | None, setting("mean forget loss that ends the climb", computed="ln of the classes", gt=0)] = None,
    stop_accuracy: Annotated[float, setting("forget accuracy that ends the climb", ge=0, le=1)] = 0.0,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    task, y = splits.task, splits.forget.y.to(run.device)
    guess = run.settle("stop_loss", task.guess if stop_loss is None else stop_loss)
    opt = run.optimizer(model, "sgd", lr=lr)
    for epoch in run.epochs(epochs, "ascent", splits.forget):
        train_mode(model, bn)
        for b in run.batches(splits.forget, size=batch_size):
            run.step(-b.mean(task.loss(model(b.x), b.y)), opt, clip=clip)
        logits = run.logits(model, splits.forget, "checking")
        if task.loss(logits, y).mean() > guess:
            return run.stop(f"the forget loss passed {guess:.3f} nats, epoch {epoch + 1}")
        if int(task.known(logits, y).sum()) / len(y) <= stop_accuracy:
            return run.stop(f"the forget accuracy reached {stop_accuracy:.4g}, epoch {epoch + 1}")
    run.note(f"the budget of {epochs} epochs ended before the forget loss passed {guess:.3f} nats")
