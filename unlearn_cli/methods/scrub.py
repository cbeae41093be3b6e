"""SCRUB: the network departs from its own former answers on the forget set, and follows them and the labels on the retain set.

    max step   θ ← θ + lr · ∇ KD(θ; x_f)                                  KD = τ²·KL( σ(f_θ0(x)/τ) ‖ σ(f_θ(x)/τ) )
    min step   θ ← θ - lr · ∇ [ γ·CE(f_θ(x_r), y_r) + α·KD(θ; x_r) ]
    an epoch   all max steps, then all min steps; after `max_epochs` epochs min steps only
    rewind     of θ_0 .. θ_E the first whose error on D_f is closest to that of θ_E on unseen images of D_f's classes

Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023; the KL has the teacher first, is summed over classes
and averaged over images. Defaults are the authors' small privacy run; of their large runs: alpha=0.001 gamma=0.99
max_epochs=2 epochs=3 batch_size=256 forget_batch_size=512. In the MUFAC benchmark (schedule=min-then-max alpha=1 lr=0.001
momentum=0 weight_decay=0 decay=1 epochs=2 max_epochs=2 batch_size=64 forget_batch_size=64) an epoch ends on its max steps;
with schedule=interleave, as in GLI's code, the steps alternate until the shorter set ends.
At θ_0 the KL and its gradient are zero in eval mode, and the first max steps would do nothing. They move because in train
mode BatchNorm's batch statistics differ from the teacher's, so train mode is the default, as published; it needs the
retain set to bring the statistics back. With bn=eval, `warm_up` epochs of min steps may go first.
Departures: images are read plainly, so the teacher's answers are computed once and kept; the authors' rewind cannot
return the original network, this one does and says so. The images that rewinding compares with are set aside from the
test set, and their classes weigh as they occur in the forget set; without an image of them, nothing is rewound.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Literal

from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import kl
from unlearn_cli.ops.modes import batchnorms, train_mode
from unlearn_cli.ops.schedules import stepped
from unlearn_cli.techniques.stopping import too_few, unseen_accuracy

Order = Literal["paper", "min-then-max", "interleave"]


@method("Scalable remembering and unlearning unbound", paper="SCRUB, NeurIPS 2023", scope="class classes instances",
        reads="forget retain")  # fmt: skip
def scrub(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the retain set", ge=1)] = 5,
    max_epochs: Annotated[int, setting("how many of them also depart on the forget set", ge=0)] = 3,
    warm_up: Annotated[int, setting("epochs before them that do not", ge=0)] = 0,
    schedule: Annotated[Order, setting("of an epoch: max steps first, last, or every other one")] = "paper",
    alpha: Annotated[float, setting("weight of following the teacher on the retain set", ge=0)] = 0.5,
    gamma: Annotated[float, setting("weight of the retain set's labels", ge=0)] = 1.0,
    temperature: Annotated[float, setting("softens both distributions", gt=0)] = 4.0,
    optimizer: Annotated[Literal["sgd", "adam"], setting("the optimiser, one for both kinds of steps")] = "sgd",
    lr: Annotated[float, setting("its step size at first", gt=0)] = 5e-4,
    milestones: Annotated[str, setting("epochs after which it decays, as 3,5,9", pattern=r"^(\d+(, ?\d+)*)?$")] = "3,5,9",
    decay: Annotated[float, setting("factor on it at each milestone", gt=0, le=1)] = 0.1,
    momentum: Annotated[float, setting("SGD's momentum", when={"optimizer": "sgd"}, ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 5e-4,
    batch_size: Annotated[int, setting("retain images per step", ge=1)] = 32,
    forget_batch_size: Annotated[int, setting("forget images per step", ge=1)] = 16,
    rewind: Annotated[bool, setting("return the epoch with the forget error of unseen images", opens={True: "selection"})] = False,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    task = splits.task
    taught_f, taught_r = (run.logits(model, part, "the teacher") for part in (splits.forget, splits.retain))
    wrong = ~task.correct(taught_f, splits.forget.y.to(run.device))
    path = [(int(wrong.sum()), snapshot(model))] if rewind else []
    given = {"momentum": momentum} if optimizer == "sgd" else {}
    opt = run.optimizer(model, optimizer, lr=lr, weight_decay=weight_decay, **given)
    marks = [int(mark) for mark in milestones.split(",") if mark]
    if schedule == "paper" and warm_up == 0 and max_epochs and (bn == "eval" or not batchnorms(model)):
        run.note("the first max steps do nothing without BatchNorm in train mode: warm_up=1 begins with min steps")

    for epoch in run.epochs(epochs, "departing and following", len(splits.forget) + len(splits.retain)):
        train_mode(model, bn)
        now = stepped(lr, epoch + 1, marks, decay)
        departing = warm_up <= epoch < warm_up + max_epochs
        depart = run.batches(splits.forget, taught_f, size=forget_batch_size) if departing else None
        follow = run.batches(splits.retain, taught_r, size=batch_size)
        for b, away in ordered(schedule, depart, follow):
            logits = model(b.x)
            distance = temperature**2 * kl((b.extra / temperature).softmax(1), logits, temperature)
            loss = -distance if away else gamma * task.loss(logits, b.y) + alpha * distance
            run.step(b.mean(loss), opt, lr=now)
        if rewind:
            path.append((len(splits.forget) - run.correct(model, splits.forget), snapshot(model)))
    if rewind:
        rewind_(run, model, splits, path)


def ordered(schedule: Order, depart: Iterable | None, follow: Iterable) -> Iterator[tuple]:
    """An epoch's batches, each with whether it is one to depart on."""
    follow = ((b, False) for b in follow)
    if depart is None:
        return follow
    depart = ((b, True) for b in depart)
    if schedule == "paper":
        return chain(depart, follow)
    if schedule == "min-then-max":
        return chain(follow, depart)
    return chain.from_iterable((b, a) for a, b in zip(depart, follow, strict=False))


def rewind_(run: Run, model: nn.Module, splits: Splits, path: list[tuple[int, dict[str, Tensor]]]) -> None:
    """Bring back the first state whose forget error is closest to the final one's on unseen images of those classes.

    Args:
        path: per epoch from 0, how many forget images are not given their label, and the state.
    """
    if splits.kind == "images" and (why := too_few(splits)):
        return run.note(f"not rewound: the error to compare with cannot be measured: {why}")
    known = unseen_accuracy(run, model, splits)
    if known is None:
        return run.note("not rewound: no selection image is like a forgotten one")
    reference = 1 - known
    gaps = [abs(wrong / len(splits.forget) - reference) for wrong, _ in path]
    chosen = gaps.index(min(gaps))
    model.load_state_dict(path[chosen][1])
    what = f"epoch {chosen} of {len(path) - 1}" if chosen else "the original network"
    run.note(f"rewound to {what}: its forget error is the closest to the {reference:.1%} of unseen images")
    if not chosen:
        run.stop("nothing to forget: rewinding found the original network best")


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
