"""LAU: push the forget set's features over the head's nearest boundary; the backbone never changes.

    attack    l_adv = Proj(l + step·sign(∂CE(T(l), y)/∂l)), repeated      T: the head as the epoch began
    learn     (1-α)·CE(S(l), y_adv) + α·τ²·KL(σ(Z/τ) ‖ σ(S(l)/τ)),  Z = σ(T(l_adv))

"Layer Attack Unlearning", AAAI 2024, Eq. 2-7. An image already forgotten keeps its own prediction as its goal (Eq. 4).
Departures: the paper leaves radius, epochs and batch open, and its rates are in feature units, which differ between
networks. Here lr is divided by 1 + E‖l‖², and step and radius are multiples of the median distance of the forget
features to the head's nearest boundary (for the paper's own scale: units=absolute lr=0.01 step=0.4 radius=1). These
defaults were chosen on Fashion-MNIST and on digits, with two architectures, and on nothing that is reported elsewhere.
The loop stops at the step after which no forget image is given its class, which kept features make almost free.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import method, setting
from unlearn_cli.ops.attacks import partial_pgd, pgd
from unlearn_cli.ops.heads import boundary_distance
from unlearn_cli.ops.losses import kl
from unlearn_cli.tasks.classes import Classes


@method("Layer Attack Unlearning", paper="LAU, AAAI 2024", scope="class classes", reads="forget", quick={"epochs": 3})
def lau(
    run: Run, model: nn.Module, splits: Splits, *,
    alpha: Annotated[float, setting("weight of distillation against the hard label", ge=0, le=1)] = 0.6,
    temperature: Annotated[float, setting("softens both distributions", ge=1)] = 4.0,
    exponent: Annotated[float, setting("of the temperature before the distillation term", ge=0)] = 2.0,
    double_softmax: Annotated[bool, setting("targets pass two softmaxes, as in the paper, or one")] = True,
    reduction: Annotated[Literal["batchmean", "mean"], setting("mean also divides the KL by the classes")] = "batchmean",
    units: Annotated[Literal["relative", "absolute"], setting("of lr, step and radius: the network's own, or plain")] = "relative",
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 1.0,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.0,
    epochs: Annotated[int, setting("passes over the forget set, at most", ge=1)] = 30,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128,
    stop_check: Annotated[Literal["step", "epoch"], setting("when to look whether all is forgotten")] = "step",
    attack: Annotated[Literal["features", "images"], setting("attack the head alone, or the whole model")] = "features",
    step: Annotated[float, setting("size of one attack step", when={"attack": "features"}, gt=0)] = 1.25,
    radius: Annotated[float, setting("how far the attack may go, L-infinity", when={"attack": "features"}, gt=0)] = 2.5,
    attack_steps: Annotated[int, setting("attack steps per epoch", ge=1)] = 10,
    attack_fallback: Annotated[Literal["none", "runner_up"], setting("where the attack fails")] = "none",
    feature_min: Annotated[float | None, setting("lowest value of a feature", when={"attack": "features"}, none="no bound")] = None,
    pixel_step: Annotated[float, setting("of one attack step, in [0, 1] pixels", when={"attack": "images"}, gt=0, le=1)] = 2 / 255,
    pixel_radius: Annotated[float, setting("of the attack, in [0, 1] pixels", when={"attack": "images"}, gt=0, le=1)] = 8 / 255,
    share: Annotated[float, setting("share of the forget set that is used", gt=0, le=1)] = 1.0,
    cache: Annotated[bool, setting("keep the features, or read the backbone anew at every look")] = True,
) -> None:  # fmt: skip
    backbone, head = run.split(model)
    task = splits.task
    forget = run.sample(splits.forget, share)
    kept = run.features(backbone, forget) if cache else None   # one pass for the whole run: the backbone is frozen

    def look():
        return kept or run.features(backbone, forget)

    @torch.no_grad()
    def known(features: Features) -> Tensor:
        return task.known(head(features.x), features.y)

    features = look()
    if not known(features).any():
        return run.stop("nothing to forget: no image is given its class")
    if units == "relative":
        lr = lr / (1 + features.x.square().sum(1).mean().item())
        unit = boundary_distance(head, features.x, features.y)[known(features)].median().item()
        step, radius = step * unit, radius * unit
    model.eval()
    opt = run.optimizer(head, "sgd", lr=lr, momentum=momentum)
    gone = task.gone(run.device)

    for epoch in run.epochs(epochs, "attack and learn", forget):
        teacher = run.teacher(head)

        def attacked(x: Tensor, y: Tensor, teacher: nn.Module = teacher) -> Tensor:
            return task.teachable(teacher(partial_pgd(teacher, x, y, step, radius, attack_steps, feature_min)))

        target = None
        if attack == "images":
            target = run.attacked(model, forget, lambda f, x, y: pgd(f, x, y, pixel_step, pixel_radius, attack_steps, task.loss))
            target = task.teachable(target)
        elif epoch == 0:
            target = attacked(features.x, features.y)
        if epoch == 0 and (moved := (~gone[task.answer(target)]).float().mean().item()) < 0.5:
            run.note(f"the attack moved only {moved:.0%} of the images: a larger radius may forget faster")
        for b in run.batches(kept or forget, target, size=batch_size):
            with torch.no_grad():
                x = b.x if cache else backbone(b.x)
            logits = head(x)
            goal = b.extra if b.extra is not None else of_known(task, logits.detach(), x, b.y, attacked)
            if attack_fallback == "runner_up":
                goal = goal.masked_fill(gone[task.answer(goal)][:, None] & gone, -torch.inf)
            loss = losses(task, logits, goal, alpha, temperature, exponent, double_softmax, reduction)
            run.step(b.mean(loss), opt)
            if stop_check == "step" and not known(look()).any():
                return run.stop(f"every image forgotten, epoch {epoch + 1}")
        if stop_check == "epoch" and not known(look()).any():
            return run.stop(f"every image forgotten, epoch {epoch + 1}")
    run.note(f"the budget of {epochs} epochs ended with {int(known(look()).sum())} images known")


def of_known(task: Classes, logits: Tensor, x: Tensor, y: Tensor, attacked: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(n, C) goals: attacked(x, y) of the images that are still known, and the others' own logits, which no loss looks at."""
    known = task.gone(logits.device)[task.answer(logits)].nonzero()[:, 0]
    return logits.index_copy(0, known, attacked(x[known], y[known])) if len(known) else logits


def losses(
    task: Classes, logits: Tensor, attacked: Tensor, alpha: float, temperature: float, exponent: float = 2.0,
    double_softmax: bool = True, reduction: str = "batchmean",
) -> Tensor:  # fmt: skip
    """(n,) loss per image, Eq. 4-7.

    Args:
        logits: (n, C) of the student.
        attacked: (n, C), the teacher's at the attacked features.
    """
    known = task.gone(logits.device)[task.answer(logits)]
    goal = task.teachable(torch.where(known[:, None], attacked, logits).detach())   # forgotten: its own prediction
    hard = task.loss(logits, task.answer(goal))
    soft_goal = goal.softmax(1) if double_softmax else goal                         # Eq. 5
    soft = kl((soft_goal / temperature).softmax(1), logits, temperature)            # Eq. 6
    if reduction == "mean":
        soft = soft / logits.shape[1]
    return (1 - alpha) * hard + alpha * temperature**exponent * soft
