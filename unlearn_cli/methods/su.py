"""SU: teach the forget set what the original model would have said without the label that is to vanish.

    q_y = ε,  q_k = (1 - ε) · p_k / Σ_{j≠y} p_j,  p = σ(f_θ₀(x_f) / τ)        y: the forgotten classes, or the image's own
    θ ← Adam( θ, ∇ KL(q ‖ σ(f_θ(x_f) / τ)) )                                  no factor τ², until acc(D_f) ≤ stop_accuracy

"Fine-Grained and Efficient Self-Unlearning with Layered Iteration", 2025: its method in one phase. The original model is
fixed, so q is computed once. For listed images the loop ends at the accuracy a_ref that the original model has on unseen
images. Class-wise and instance-wise defaults are those of the authors' notebooks; a forget set of one batch takes one step
an epoch, and may want more epochs or a larger lr.
Departures: BatchNorm keeps its statistics, which the forget set alone would drag along (bn=train for the published
behaviour). Listed images lose their own label, as the paper has it; the authors' code takes away the prediction
(spa_label=argmax). ε is 0 as in the code; the paper's small number is not given. a_ref comes from the selection set, a
fifth of the test images, where the authors set aside 1 % of the training images, and its classes weigh as in the list:
of listed cats as many may be known as of unseen cats. With several classes, ε is shared among them, and an image given
any of them is not forgotten yet.
"""

from typing import Annotated, Literal

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import kl
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.relabel import without
from unlearn_cli.techniques.stopping import goal_of, until_forgotten


@method("Self-Unlearning", paper="SULI, 2025", scope="class classes instances", reads="forget", instances_read="selection")
def su(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the forget set, at most", images=30, ge=1)] = 10,
    lr: Annotated[float, setting("Adam's step size", images=6e-5, gt=0)] = 1e-4,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 256,
    temperature: Annotated[float, setting("softens both sides", images=1.0, ge=1)] = 4.0,
    epsilon: Annotated[float, setting("probability left to what is to vanish", ge=0, lt=1)] = 0.0,
    spa_label: Annotated[Literal["true", "argmax"], setting("what each loses: its label or the answer", only="images")] = "true",
    stop_accuracy: Annotated[
        float | None,
        setting("forget accuracy that ends it", classes=0.0, computed="the original's on unseen ones", ge=0, le=1),
    ] = None,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget = splits.forget
    if stop_accuracy is None:
        stop_accuracy = run.settle("stop_accuracy", goal_of(run, model, splits))
    logits, y = run.logits(model, forget, "the original's answers"), forget.y.to(run.device)
    lost = splits.task.vanishing(y if spa_label == "true" else splits.task.answer(logits))
    target = without(logits, lost, temperature, epsilon)

    opt = run.optimizer(model, "adam", lr=lr, weight_decay=weight_decay)
    train_mode(model, bn)
    for _ in until_forgotten(run, model, forget, epochs, "self-unlearning", stop_accuracy):
        for b in run.batches(forget, target, size=batch_size):
            run.step(b.mean(kl(b.extra, model(b.x), temperature)), opt)
