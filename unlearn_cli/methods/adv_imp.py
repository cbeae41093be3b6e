"""ADV+IMP: unlearn the forget set, while adversarial copies of it hold the boundaries and a pull holds the other weights.

    A = {(x', c)}: x' a targeted L2 attack on f_θ₀ from a forget image to a class c other than its own
    Ω = 1 - minmax(I) in each tensor,  I = |∂/∂θ mean ‖f_θ₀(x_f)‖₂|                  1: does not matter for the forget set
    L = ( Σ_{B_A} CE(f_θ(x'), c) - Σ_{B_f} CE(f_θ(x_f), y) ) / (|B_A| + |B_f|)  +  λ/2 Σ Ω (θ - θ₀)²
    θ ← SGD( θ, ∇L ), until after some step acc(D_f) ≤ stop_accuracy             relabel: + CE(f_θ(x_f), ỹ) in place of - CE

Cha et al., "Learning to Unlearn", AAAI 2024, in the form of the authors' code and launch script. The attack reads the
original model only, so A is made once; an attack that fails keeps its target. radius suits images of 32x32 pixels;
attack_steps=20 attack_step=0.4 is five times as fast. Weight decay is plain, on top of the pull.
Departures: targets are uniform over the other classes, where the code's draw favours the middle one, and never a forgotten
class. A has at most adv_cap images, each forget image as often as every other, or one time more: for a whole class the
published number would take hours on a CPU. A tensor whose importances are all equal gets Ω = 1, where the code divides 0 by 0.
BatchNorm keeps its statistics throughout, which the forget set alone would drag along (bn=train for the published
behaviour; I then comes from a copy). Forget batches are drawn anew on each pass. ỹ is drawn once. The look after each step
reads images known at the last one first, and the others only when all of those are forgotten, which changes no answer.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.batches import Batch, Features
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.attacks import targeted_pgd
from unlearn_cli.ops.importance import pull, unimportance
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.sampling import repeated
from unlearn_cli.techniques.importance import output_importance
from unlearn_cli.techniques.stopping import still_known, watch


@method("Adversarial examples and weight importance", paper="Learning to Unlearn, AAAI 2024", scope="class classes instances",
        reads="forget", quick={"epochs": 1, "n_adv": 1, "attack_steps": 3, "attack_step": 1.0})  # fmt: skip
def adv_imp(
    run: Run, model: nn.Module, splits: Splits, *,
    n_adv: Annotated[int, setting("adversarial images per forget image", ge=1)] = 20,
    adv_cap: Annotated[int, setting("adversarial images in all, at most", ge=1)] = 2000,
    radius: Annotated[float, setting("how far the attack may go, L2 over an image, in [0, 1] pixels", gt=0)] = 4.0,
    attack_step: Annotated[float, setting("length of one attack step, in [0, 1] pixels", gt=0)] = 0.1,
    attack_steps: Annotated[int, setting("attack steps", ge=1)] = 100,
    forget_term: Annotated[Literal["ascent", "relabel"], setting("climb the own label's loss, or learn a wrong one")] = "ascent",
    lam: Annotated[float, setting("pull towards the original weights", ge=0)] = 1.0,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 1e-3,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 1e-4,
    batch_size: Annotated[int, setting("forget images per step", ge=1)] = 32,
    adv_batch_size: Annotated[int, setting("adversarial images per step", ge=1)] = 256,
    epochs: Annotated[int, setting("passes over the adversarial images, at most", ge=1)] = 1000,
    stop_accuracy: Annotated[float, setting("forget accuracy that ends it", ge=0, le=1)] = 0.0,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget, task = splits.forget, splits.task
    reached = watch(run, model, forget, int(stop_accuracy * len(forget) + 1e-9))
    if reached():
        return run.stop("nothing to forget: the forget accuracy is that asked for")

    def wrong(y: Tensor) -> Tensor:
        return task.wrong(y, run.noise).to(run.device)

    copies = repeated(len(forget), n_adv, adv_cap, run.noise)
    if len(copies) < n_adv * len(forget):
        run.note(f"{len(copies)} adversarial images instead of {n_adv * len(forget)}: adv_cap")
    attack = partial(targeted_pgd, step=attack_step, radius=radius, steps=attack_steps, loss=task.loss)
    adversarial = attacked(run, model, forget.subset(copies), wrong(forget.y[copies]), attack)
    original = copy.deepcopy(model)
    train_mode(original, bn)
    hold = unimportance(output_importance(run, original, forget, batch_size))
    weights = [p for p in model.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in weights]

    sign, label = (-1, forget.y.to(run.device)) if forget_term == "ascent" else (1, wrong(forget.y))

    def forget_batches() -> Iterator[Batch]:
        while True:
            yield from run.batches(forget, label, size=batch_size)

    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    train_mode(model, bn)
    again, steps = forget_batches(), -(-len(adversarial) // adv_batch_size)
    for epoch in run.epochs(epochs, "unlearning", len(adversarial) + steps * min(batch_size, len(forget))):
        for a, f in zip(run.batches(adversarial, size=adv_batch_size, shuffle=False), again):
            kept, lost = task.loss(model(a.x), a.y), task.loss(model(f.x), f.extra)
            loss = (kept.sum() + sign * lost.sum()) / (a.size + f.size)
            run.step(loss + lam * pull(weights, start, hold) / run.ranks.world, opt)
            if reached():
                return run.stop(f"the forget accuracy reached {stop_accuracy:.4g}, pass {epoch + 1}, step {run.steps}")
    known = still_known(run, model, forget)
    run.note(f"the budget of {epochs} passes ended with {known} of {len(forget)} forget images known")


def attacked(run: Run, model: nn.Module, split: Split, targets: Tensor, attack: Callable[..., Tensor]) -> Features:
    """The normalised images that attack(function, pixels, targets, uniform noise) makes of a split, under their targets."""
    function = run.pixels.into(model)

    def move(b: Batch) -> Tensor:
        noise = torch.rand(b.size, *b.x.shape[1:], generator=run.noise)[b.share].to(run.device, run.dtype)
        return run.pixels.normalised(attack(function, run.pixels.of(b.x), targets[b.index], noise))

    return Features(run.over(split, move, model, phase="adversarial images"), targets, "adversarial")
