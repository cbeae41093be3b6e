"""UNSIR: overwrite a class with noise that looks least like it, then repair on some of the retain set.

    noise     N ← argmin -CE(f_θ(N), y) + λ·‖N‖²        Adam from N(0, 1), weights at rest; one batch per class
    impair    θ ← θ - Adam ∇ CE(f_θ(x), y)              x, y: a retain subset and R copies of all noise, shuffled together
    repair    θ ← θ - Adam ∇ CE(f_θ(x_r), y_r)          the retain subset alone

"Fast Yet Effective Machine Unlearning", TNNLS 2023: zero-glance, as no forget image is read. The norm is that of the
public code, squared, and the optimiser its Adam. Rates are for models trained from scratch; for a pre-trained ResNet18
the paper has impair_lr=0.01 repair_lr=0.005 body_lr=1e-4.
Departures: every noise image is used and carries its own class (the notebook: noise_rows=3 noise_label=zero). BatchNorm
normalises the noise by its own batch, as published, but does not take note of it; dropout is off while noise is
learned. The retain subset is drawn by the seed, not the first images (retain_choice=first): here these are first by path.

Listed images are forgotten by the form of the GLI benchmark, which reads them, though not their labels:

    impair    N ← clip(argmin -MSE(f_θ(N), f_θ(x_f)), 0, 1);   θ ← θ - lr · ∇ [ CE(f_θ(N), y_r) + CE(f_θ(x_r), y_r) ]
    repair    θ ← θ - lr · ∇ CE(f_θ(x_r), y_r)          all of the retain set

Departures: an epoch draws as many retain images as there are listed ones, so that no pair of batches differs in size
and none is skipped; the noise lives in pixels, with the normalisation behind it; and f_θ(x_f) leaves BatchNorm's
statistics alone.
"""

from typing import Annotated, Literal

import torch
from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.batches import Features, seeded
from unlearn_cli.engine.optim import Optimizer
from unlearn_cli.engine.run import Run
from unlearn_cli.inputs import sides
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.noise import at_rest, descend, error_maximising
from unlearn_cli.ops.sampling import some_of_each
from unlearn_cli.tasks.classes import Classes
from unlearn_cli.techniques.training import train


@method("Error-maximising noise, impair and repair", paper="UNSIR, TNNLS 2023", scope="class classes instances", reads="retain",
        instances_read="forget", quick={"noise_batch": 16, "noise_steps": 10, "copies": 2})  # fmt: skip
def unsir(
    run: Run, model: nn.Module, splits: Splits, *,
    lam: Annotated[float, setting("weight of the noise's squared norm", only="classes", ge=0)] = 0.1,
    noise_steps: Annotated[int, setting("steps of learning the noise", only="classes", ge=1)] = 40,
    noise_lr: Annotated[float, setting("Adam's rate for the noise", only="classes", gt=0)] = 0.1,
    noise_batch: Annotated[int, setting("noise images per class, learned together", only="classes", ge=1)] = 256,
    noise_bn: Annotated[Literal["batch", "eval"], setting("noise is normalised by its own batch, or by the statistics")] = "batch",
    copies: Annotated[int, setting("how often each noise image is shown in an impair epoch", only="classes", ge=1)] = 20,
    independent: Annotated[bool, setting("learn every copy anew, in place of repeating one", only="classes")] = False,
    noise_rows: Annotated[int | None, setting("so many noise images per class are used", only="classes", none="all", ge=1)] = None,
    noise_label: Annotated[Literal["own", "zero"], setting("what noise is labelled: its class, or 0", only="classes")] = "own",
    retain_per_class: Annotated[int, setting("retain images per class, at most", only="classes", ge=1)] = 1000,
    retain_choice: Annotated[Literal["seeded", "first"], setting("which: drawn, or the first by path", only="classes")] = "seeded",
    impair_lr: Annotated[float, setting("Adam's rate in the impair stage", only="classes", gt=0)] = 0.02,
    repair_lr: Annotated[float, setting("Adam's rate in the repair stage", only="classes", gt=0)] = 0.01,
    body_lr: Annotated[float | None, setting("rate of all below the head", only="classes", none="the head's", gt=0)] = None,
    impair_epochs: Annotated[int, setting("passes over retain subset and noise", only="classes", ge=1)] = 1,
    repair_epochs: Annotated[int, setting("passes over the retain subset", ge=0)] = 1,
    batch_size: Annotated[int, setting("images per step", only="classes", ge=1)] = 256,
    instance_noise_steps: Annotated[int, setting("steps of learning a batch's noise", only="images", ge=0)] = 5,
    instance_noise_lr: Annotated[float, setting("Adam's rate for the noise", only="images", gt=0)] = 0.01,
    instance_epochs: Annotated[int, setting("impair passes over them", only="images", ge=1)] = 2,
    instance_lr: Annotated[float, setting("SGD's rate in both stages", only="images", gt=0)] = 0.001,
    instance_batch_size: Annotated[int, setting("images per step", only="images", ge=1)] = 64,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    own_batch = noise_bn == "batch"
    if splits.kind == "images":
        opt = run.optimizer(model, "sgd", lr=instance_lr)
        impair_by_images(run, model, splits, opt, instance_epochs, instance_noise_steps, instance_noise_lr, instance_batch_size,
                         own_batch, bn)  # fmt: skip
        train(run, model, opt, [splits.retain], splits.task.loss, "repair", repair_epochs, instance_batch_size, bn)
        return

    draw = seeded(run.seed, "unsir", "retain") if retain_choice == "seeded" else None
    retain = splits.retain.subset(some_of_each(splits.task.group(splits.retain.y), retain_per_class, draw))
    batch = noise_batch, retain.images.channels, *sides(retain.images.size)
    with at_rest(model, own_batch):
        sets = [class_noise(run, model, splits.task, batch, lam, noise_steps, noise_lr, noise_rows, noise_label)
                for _ in range(copies if independent else 1)]  # fmt: skip
    noise = sets if independent else sets * copies  # the same tensors again and again, not copies of them
    loss = splits.task.loss
    train(run, model, adam(run, model, impair_lr, body_lr), [retain, *noise], loss, "impair", impair_epochs, batch_size, bn)
    train(run, model, adam(run, model, repair_lr, body_lr), [retain], loss, "repair", repair_epochs, batch_size, bn)


def adam(run: Run, model: nn.Module, lr: float, body_lr: float | None) -> Optimizer:
    """A new Adam, so that no moments are carried over; the head at lr, the rest at body_lr."""
    head = list(run.split(model)[1].parameters())
    own = {id(p) for p in head}
    body = [p for p in model.parameters() if id(p) not in own]
    return run.optimizer([(body, (body_lr or lr) / lr), (head, 1.0)], "adam", lr=lr)


def class_noise(
    run: Run, model: nn.Module, task: Classes, batch: tuple[int, ...], lam: float, steps: int, lr: float,
    rows: int | None, label: str,
) -> Features:  # fmt: skip
    """A batch of noise for each class, all of it or its first rows, as a source of batches; the same on every process."""
    learned, labels = [], []
    for c in task.forgotten:
        y = torch.full((batch[0],), c, device=run.device)
        noise = torch.randn(batch, generator=run.noise).to(run.device, run.dtype, memory_format=torch.channels_last)
        opt = run.optimizer([noise.requires_grad_()], "adam", lr=lr)
        noise = descend(noise, lambda x, y=y: error_maximising(task.loss(model(x), y), x, lam), opt, steps)
        with torch.no_grad():
            left = error_maximising(task.loss(model(noise), y), noise, lam).mean().item()
        if left > 0:
            run.note(
                f"class {c}: the noise still costs more by its norm than it gains in error (J = {left:.3g}): raise noise_steps"
            )
        learned.append(noise[:rows])
        labels.append(y[:rows] if label == "own" else torch.zeros_like(y[:rows]))
    return Features(torch.cat(learned), torch.cat(labels), "noise")


def impair_by_images(
    run: Run, model: nn.Module, splits: Splits, opt: Optimizer, epochs: int, steps: int, lr: float, size: int,
    own_batch: bool, bn: str,
) -> None:  # fmt: skip
    """Noise that leaves the listed images' logits is given retain labels, pair of batches by pair of batches."""
    forget, retain, loss, seen = splits.forget, splits.retain, splits.task.loss, run.pixels.into(model)
    n, draw = min(len(forget), len(retain)), seeded(run.seed, "unsir", "retain")
    for _ in run.epochs(epochs, "impair", 2 * n):
        some, listed = (part.subset(torch.randperm(len(part), generator=draw)[:n]) for part in (retain, forget))
        for f, r in zip(run.batches(listed, size=size), run.batches(some, size=size), strict=True):
            noise = run.gaussian(r).requires_grad_()
            with at_rest(model, own_batch):
                with torch.no_grad():
                    goal = model(f.x)
                away = run.optimizer([noise], "adam", lr=lr)
                noise = descend(noise, lambda x, goal=goal: -(seen(x) - goal).square().mean(1), away, steps, r.size).clamp(0, 1)
            train_mode(model, bn)
            run.step(r.mean(loss(seen(noise), r.y) + loss(model(r.x), r.y)), opt)
