"""Bad teacher: imitate the original on retain images, and a network with random weights on forget images.

    θ ← θ - lr · ∇ KL(T(x) ‖ σ(f_θ(x) / τ))        T = σ(f_new(x) / τ) on D_f,  σ(f_θ₀(x) / τ) on a random 30 % of D_r

"Can Bad Teaching Induce Forgetting?", AAAI 2023: one epoch over one shuffled data set, labels unread. f_new has the same
architecture and was never trained; the note says how far from a guess it is. A score that measures how alike the result and
a random network are should draw another one: run it with another seed.
Departures: teacher probabilities are computed once per image, which without augmentation changes nothing; the KL is summed
over classes (kl_reduction=mean divides it by them, as PyTorch's default did in the authors' code; Adam hardly notices); the
student is in train mode by intent, where the authors' loop leaves it as it was built.
Others' forms: pairing=cycle takes a forget batch to every retain batch, both losses at equal weight, as in GLI's comparisons
(optimizer=sgd lr=0.001 epochs=2 batch_size=64 temperature=4 exponent=2 retain_fraction=1; their code computes a
classification loss and leaves it out) and in those of SCRUB (lr=0.001 weight_decay=0.0005 temperature=4 retain_fraction=1,
with batches of 128 and 512 where here both have one size).
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import entropy, kl
from unlearn_cli.ops.modes import train_mode


@method("Good and bad teacher", paper="Bad Teaching, AAAI 2023", scope="class classes instances", reads="forget retain")
def bad_teacher(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over both sets; cycle: over the retain images", ge=1)] = 1,
    optimizer: Annotated[Literal["adam", "sgd"], setting("the optimiser")] = "adam",
    lr: Annotated[float, setting("its step size", gt=0)] = 1e-4,
    momentum: Annotated[float, setting("SGD's momentum", when={"optimizer": "sgd"}, ge=0, lt=1)] = 0.0,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0,
    batch_size: Annotated[int, setting("images per step; cycle: of either kind", ge=1)] = 256,
    retain_fraction: Annotated[float, setting("share of the retain set that is used, drawn once", gt=0, le=1)] = 0.3,
    temperature: Annotated[float, setting("softens teachers and student", gt=0)] = 1.0,
    exponent: Annotated[float, setting("of the temperature before the loss", ge=0)] = 0.0,
    kl_reduction: Annotated[Literal["batchmean", "mean"], setting("mean also divides the KL by the classes")] = "batchmean",
    pairing: Annotated[Literal["mixed", "cycle"], setting("one shuffled data set, or a forget batch per retain batch")] = "mixed",
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    forget, retain = splits.forget, run.sample(splits.retain, retain_fraction)
    random = splits.task.teachable(run.logits(run.newborn(model, "bad teacher"), forget, "bad teacher"))
    bad = (random / temperature).softmax(1)
    good = (run.logits(model, retain, "good teacher") / temperature).softmax(1)
    mean = float(entropy(random).mean())
    run.note(f"the bad teacher's mean entropy is {mean:.3f} nats, a guess has {splits.task.guess:.3f}")

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return distillation(logits, target, temperature, exponent, kl_reduction)

    more = {"momentum": momentum} if optimizer == "sgd" else {}
    opt = run.optimizer(model, optimizer, lr=lr, weight_decay=weight_decay, **more)
    train_mode(model, bn)
    if pairing == "mixed":
        for _ in run.epochs(epochs, "two teachers", len(forget) + len(retain)):
            for b in run.batches([forget, retain], torch.cat([bad, good]), size=batch_size):
                run.step(b.mean(loss(model(b.x), b.extra)), opt)
    else:
        for _ in run.epochs(epochs, "two teachers", retain):
            for f, r in run.paired(forget, retain, size=batch_size, extra=bad):
                run.step(r.mean(loss(model(r.x), good[r.index])) + f.mean(loss(model(f.x), f.extra)), opt)


def distillation(logits: Tensor, target: Tensor, temperature: float = 1.0, exponent: float = 0.0,
                 reduction: str = "batchmean") -> Tensor:  # fmt: skip
    """(n,) τ^exponent · KL(target ‖ σ(logits / τ)); reduction "mean" divides by the classes as well."""
    per_image = temperature**exponent * kl(target, logits, temperature)
    return per_image / logits.shape[1] if reduction == "mean" else per_image
