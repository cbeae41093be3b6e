"""EU-k: the last k layers get new weights and learn the retain set from them; everything below is frozen, bit for bit.

    L = the last k convolutions and linear layers, with the BatchNorm between them
    θ_L ~ Kaiming-normal, biases zero;   θ_L ← θ_L - lr · ∇_L CE(f_θ(x_r), y_r)

"Exactly unlearning" k layers: Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022. Layers
are counted backwards in the order of registration; `blocks` names modules instead. The head is always among them: other
repositories leave it frozen, even on new weights.
Departures: lr 0.01 falls to a tenth after each third of the original training's epochs, where the authors' 62 epochs
restart a cosine from 0.1 (schedule=restarts epochs=62 lr=0.1). BatchNorm inside L begins anew, where the authors keep it
and with it a trace of the forget set (reset_bn=false). Frozen layers are in eval mode; with bn=recalibrate all statistics
are estimated anew at the end, theirs too. What the training recipe froze stays frozen and keeps its values; new weights
are random even if training began from pre-trained ones, which a checkpoint does not hold. Images are read plainly, and
where the head alone learns, once.
"""

from typing import Annotated, Literal

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.freezing import blocks as blocks_of
from unlearn_cli.ops.freezing import freeze_but, last_layers, renew, train_only
from unlearn_cli.ops.schedules import rate
from unlearn_cli.techniques.freezing import read_once


@method("Retraining of the last k layers", paper="baseline, 2022", scope="class classes instances", reads="retain")
def eu_k(
    run: Run, model: nn.Module, splits: Splits, *,
    layers: Annotated[int, setting("how many layers begin anew, counted from the output", when={"blocks": None}, ge=1)] = 3,
    blocks: Annotated[str | None, setting("modules to renew with the head, as layer4", none="the last layers")] = None,
    epochs: Annotated[int | None, setting("passes over the retain set", computed="the original's", ge=1)] = None,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights that are trained", ge=0)] = 5e-5,
    schedule: Annotated[Literal["constant", "step", "cosine", "restarts"], setting("of the rate")] = "step",
    batch_size: Annotated[int, setting("images per step", ge=1)] = 64,
    clip: Annotated[float, setting("largest norm of the gradient", gt=0)] = 10.0,
    reset_bn: Annotated[bool, setting("BatchNorm among these layers begins anew as well")] = True,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    _, head = run.split(model)
    chosen = [*(blocks_of(model, blocks) if blocks else last_layers(model, layers)), head]
    freeze_but(model, chosen, run.recipe.frozen)
    renew(chosen, run.noise, reset_bn)
    network, images = read_once(run, model, splits.retain)
    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    epochs, per_epoch = run.settle("epochs", epochs or run.recipe.epochs), -(-len(images) // batch_size)
    for epoch in run.epochs(epochs, "new last layers", images):
        train_only(model, chosen, bn)
        for number, b in enumerate(run.batches(images, size=batch_size)):
            now = rate(schedule, lr, epoch + number / per_epoch, epochs)
            run.step(b.mean(splits.task.loss(network(b.x), b.y)), opt, lr=now, clip=clip)
