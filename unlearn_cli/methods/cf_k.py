"""CF-k: the last k layers go on learning the retain set; everything below them is frozen, bit for bit.

    L = the last k convolutions and linear layers, with the BatchNorm between them;   θ_L ← θ_L - lr · ∇_L CE(f_θ(x_r), y_r)

"Catastrophically forgetting": Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022. Layers
are counted backwards in the order of registration, a short-cut's convolution included; `blocks` names modules instead,
and then exactly these are trained (blocks=layer3,layer4,fc epochs=2 lr=0.001 momentum=0 weight_decay=0 is the form of GLI's
comparisons, CVPR workshops 2024; the same with blocks=layer3 and lr=0.01 is what they call EU-k, since it resets nothing).
Departures: lr 0.01 and ten epochs, as Kurmanji et al. 2023 run it, where the authors' 62 epochs restart a cosine from
0.1 (schedule=restarts epochs=62 lr=0.1); decay, momentum and clip are the authors'. Frozen layers are in eval mode,
where published loops let their BatchNorm drift; with bn=recalibrate all statistics are estimated anew at the end,
theirs too. What the training recipe froze stays frozen. Images are read plainly, and where the head alone learns, once.
"""

from typing import Annotated, Literal

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.freezing import blocks as blocks_of
from unlearn_cli.ops.freezing import freeze_but, last_layers, train_only
from unlearn_cli.ops.schedules import rate
from unlearn_cli.techniques.freezing import read_once


@method("Fine-tuning of the last k layers", paper="baseline, 2022", scope="class classes instances", reads="retain")
def cf_k(
    run: Run, model: nn.Module, splits: Splits, *,
    layers: Annotated[int, setting("how many layers are trained, counted from the output", when={"blocks": None}, ge=1)] = 3,
    blocks: Annotated[str | None, setting("modules to train, as layer4,fc", none="the last layers")] = None,
    epochs: Annotated[int, setting("passes over the retain set", ge=1)] = 10,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights that are trained", ge=0)] = 5e-5,
    schedule: Annotated[Literal["constant", "step", "cosine", "restarts"], setting("of the rate")] = "constant",
    batch_size: Annotated[int, setting("images per step", ge=1)] = 64,
    clip: Annotated[float, setting("largest norm of the gradient", gt=0)] = 10.0,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    chosen = blocks_of(model, blocks) if blocks else last_layers(model, layers)
    freeze_but(model, chosen, run.recipe.frozen)
    network, images = read_once(run, model, splits.retain)
    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    per_epoch = -(-len(images) // batch_size)
    for epoch in run.epochs(epochs, "last layers", images):
        train_only(model, chosen, bn)
        for number, b in enumerate(run.batches(images, size=batch_size)):
            now = rate(schedule, lr, epoch + number / per_epoch, epochs)
            run.step(b.mean(splits.task.loss(network(b.x), b.y)), opt, lr=now, clip=clip)
