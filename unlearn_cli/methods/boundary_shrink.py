"""Boundary shrink: teach each forget image the nearest wrong class, found by an adversarial step on the original model.

    x' = clip_[0,1]( x + β · sign ∇_x CE(f_θ₀(x), y) ),   ỹ = argmax f_θ₀(x')       once: the original model is fixed
    θ ← SGD( θ, ∇ CE(f_θ(x), ỹ) )                                                the image itself, with that hard label
    weight_assign: times 3·σ(5·(m - ½)),  m = max_{k≠ỹ} p_k - p_ỹ,  p = σ(f_θ₀(x'))        in effect a much smaller step

Chen et al., "Boundary Unlearning", CVPR 2023, in the form of the authors' code. lr is theirs, for an AllCNN; other networks
often need 1e-4 to 1e-3. For listed images, stop_accuracy is best the accuracy on images never seen.
Departures: the attack works in [0, 1] pixels. The authors' code attacks in those of another normalisation than its model's,
where its β = 0.1 is a quarter of the pixels' range: β is 0.25 here (beta=0.1 for the number as printed). Attacked images are
not rounded to 256 levels. BatchNorm keeps its statistics, which the forget set alone would drag along (bn=train for the
published behaviour). Left out: the curvature penalty, whose second derivatives take ten times as long. An image that the
attack does not move keeps its own label, and is learned better, as in the code (on_fail=runner_up for the next class). With
several classes, the runner-up is none of them.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.attacks import fgsm, pgd
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.techniques.stopping import until_forgotten


@method("Boundary Shrink", paper="Boundary Unlearning, CVPR 2023", scope="class classes instances", reads="forget")
def boundary_shrink(
    run: Run, model: nn.Module, splits: Splits, *,
    attack: Annotated[Literal["fgsm", "pgd"], setting("one step of beta, or several within it")] = "fgsm",
    beta: Annotated[float, setting("how far the attack goes, L-infinity, in [0, 1] pixels", gt=0, le=1)] = 0.25,
    attack_step: Annotated[float, setting("size of one step, in [0, 1] pixels", when={"attack": "pgd"}, gt=0, le=1)] = 8 / 255,
    attack_steps: Annotated[int, setting("steps of the attack", when={"attack": "pgd"}, ge=1)] = 5,
    on_fail: Annotated[Literal["keep", "runner_up"], setting("where the attack fails: the own label, or the next class")] = "keep",
    weight_assign: Annotated[bool, setting("weigh images by how near the attack left them to another class")] = False,
    epochs: Annotated[int, setting("passes over the forget set, at most", ge=1)] = 10,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 1e-5,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 64,
    stop_accuracy: Annotated[float | None, setting("forget accuracy that ends it", none="the budget does", ge=0, le=1)] = None,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget, task = splits.forget, splits.task
    y = forget.y.to(run.device)

    def move(function, x: Tensor, y: Tensor) -> Tensor:
        if attack == "fgsm":
            return fgsm(function, x, y, beta, task.loss)
        return pgd(function, x, y, attack_step, beta, attack_steps, task.loss)

    attacked = task.teachable(run.attacked(model, forget, move))
    near = task.answer(candidates(attacked, task.vanishing(y), on_fail))
    weight = caution(attacked, near) if weight_assign else torch.ones_like(attacked[:, 0])
    run.note(f"the attack moved {(~task.known(attacked, y)).double().mean():.0%} of the images to another class")

    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    train_mode(model, bn)
    for _ in until_forgotten(run, model, forget, epochs, "nearest classes", stop_accuracy):
        for b in run.batches(forget, near, size=batch_size):
            run.step(b.mean(weight[b.index] * task.loss(model(b.x), b.extra)), opt)


def candidates(attacked: Tensor, own: Tensor, on_fail: str) -> Tensor:
    """(n, C) logits after the attack; runner_up: without the classes that are to vanish, `own` (n, C) bool."""
    return attacked.masked_fill(own, -torch.inf) if on_fail == "runner_up" else attacked


def caution(attacked: Tensor, near: Tensor) -> Tensor:
    """(n,) weights 3·σ(5·(m - ½)) from logits (n, C) and classes (n,): small where the attack went far beyond the boundary."""
    p = attacked.softmax(1)
    chosen = p.gather(1, near[:, None]).squeeze(1)
    other = p.scatter(1, near[:, None], 0).amax(1)
    return 3 * torch.sigmoid(5 * (other - chosen - 0.5))
