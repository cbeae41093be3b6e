"""Initial label: teach the forget set what a network with random weights says of it.

    θ ← θ - lr · ∇ CE(f_θ(x_f), ỹ_f)        ỹ = argmax f_new(x),  f_new: the same architecture, never trained
    soft:  θ ← θ - lr · ∇ KL(σ(f_new(x_f)) ‖ σ(f_θ(x_f)))

A baseline of "Fine-Grained and Efficient Self-Unlearning with Layered Iteration", 2025, after "Can Bad Teaching Induce
Forgetting?", AAAI 2023; with soft=true, the latter's incompetent teacher without its competent one. A network that was never
trained tends to give one label to all images. The forget set then moves into one class, or, where that is its own, stays
where it is: the note counts the labels, and if_same=runner_up takes the next best class for such images.
Departures: rates and batches are those of random-label, since none are published; BatchNorm keeps its statistics (bn=train
for the published behaviour), and the loop stops once no forget image is given a label that is to vanish, where the paper's
comparisons end listed images at the accuracy on images never seen, which stop_accuracy asks for.
"""

from typing import Annotated, Literal

import torch
from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import kl
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.techniques.stopping import until_forgotten


@method("Fine-tuning on a random network's labels", paper="baseline", scope="class classes instances", reads="forget")
def initial_label(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the forget set, at most", ge=1)] = 10,
    optimizer: Annotated[Literal["adam", "sgd"], setting("the optimiser")] = "adam",
    lr: Annotated[float, setting("its step size", gt=0)] = 1e-4,
    momentum: Annotated[float, setting("SGD's momentum", when={"optimizer": "sgd"}, ge=0, lt=1)] = 0.0,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 256,
    if_same: Annotated[Literal["keep", "runner_up"], setting("a label that is to go: keep it, or take the next best")] = "keep",
    soft: Annotated[bool, setting("learn the random network's probabilities, not its labels")] = False,
    stop_accuracy: Annotated[float, setting("forget accuracy that ends it", ge=0, le=1)] = 0.0,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget, task = splits.forget, splits.task
    y = forget.y.to(run.device)
    said = task.teachable(run.logits(run.newborn(model, "initial label"), forget, "initial labels"))
    if if_same == "runner_up":
        said = said.masked_fill(task.vanishing(y) & task.known(said, y)[:, None], -torch.inf)
    labels = task.answer(said)
    counts, order = task.group(labels).bincount().sort(descending=True, stable=True)
    parts = [f"class {c} for {n}" for c, n in zip(order.tolist()[:10], counts.tolist(), strict=False) if n]
    own = int(task.correct(said, y).sum())
    run.note(f"initial labels: {', '.join(parts)} of {len(forget)} images; {own} keep their own")

    target, loss = (said.softmax(1), lambda logits, goal: kl(goal, logits)) if soft else (labels, task.loss)
    opt = run.optimizer(model, optimizer, lr=lr, **({"momentum": momentum} if optimizer == "sgd" else {}))
    for _ in until_forgotten(run, model, forget, epochs, "initial labels", stop_accuracy):
        train_mode(model, bn)
        for b in run.batches(forget, target, size=batch_size):
            run.step(b.mean(loss(model(b.x), b.extra)), opt)
