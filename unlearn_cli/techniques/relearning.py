"""How soon a model knows the forgotten again when it goes on training."""

from dataclasses import replace
from typing import Annotated

import torch
from torch import nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import seeded
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.probes import prototype_rows
from unlearn_cli.settings import setting

CENTRE = 1000
"""Retain images whose mean feature is the centre that new head rows are seen from."""


def relearn_epochs(
    run: Run, model: nn.Module, train: Split, held: Split, target: int, *,
    samples: Annotated[int, setting("training images per short epoch", ge=1)] = 500,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128,
    cap: Annotated[int, setting("short epochs at most", ge=1)] = 100,
) -> tuple[int | None, list[int]]:  # fmt: skip
    """Short epochs of training until `held` is known as well as the original knows it; the adopted model is trained.

    Each epoch draws fresh images from the complete training set; the check precedes the first, so that a model that
    forgot nothing has 0. Plain SGD, train mode.

    Args:
        held: the images that are looked at: the forgotten classes' test images, or the listed images themselves.
        target: how many of them the original gets right.

    Returns:
        The epochs (None: more than `cap`), and how many of `held` were right before each epoch and after the last.

    Source: "Fast Yet Effective Machine Unlearning" (UNSIR), Sec. 5.1; rate and batch as in Golatkar et al. 2020.
    """
    opt = run.optimizer(model, "sgd", lr=lr)
    run.progress.start("relearning", cap * samples)
    curve = [run.correct(model, held)]
    while curve[-1] < target:
        if len(curve) > cap:
            break
        drawn = torch.randperm(len(train), generator=seeded(run.seed, "relearn", len(curve)))[:samples]
        model.train()
        for b in run.batches(train.subset(drawn), size=batch_size):
            run.step(b.mean(train.task.loss(model(b.x), b.y)), opt)
        run.check_losses()
        curve.append(run.correct(model, held))
    run.progress.end()
    return (len(curve) - 1 if curve[-1] >= target else None), curve


def relearn_curve(
    run: Run, model: nn.Module, forget: Split | None, retain: Split, held: Split, forgotten: tuple[int, ...] = (), *,
    shots: Annotated[int, setting("images of each class of the forget set to learn from", ge=1)] = 1,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 1e-3,
    momentum: Annotated[float, setting("of SGD", ge=0, lt=1)] = 0.9,
    batch_size: Annotated[int, setting("images per step", ge=2)] = 64,
    steps: Annotated[int, setting("steps of training", ge=1)] = 500,
    every: Annotated[int, setting("steps between two looks", ge=1)] = 10,
    seeds: Annotated[int, setting("trainings, each with images of its own", ge=1)] = 3,
) -> tuple[list[int], list[list[float]]]:  # fmt: skip
    """What share of `held` an adopted model gets right while it goes on training; its weights come back as they were.

    With `forget`, half of each batch is drawn from `shots` images of each of its classes, the other half are retain images.
    The head's rows of `forgotten` classes first get those images' mean features (`prototype_rows`): a logit held down by its
    bias would protect nothing from anyone, and yet last for any number of small steps. BatchNorm keeps its statistics, which
    many copies of few images would sway. Without `forget` the model is trained on retain images alone, as its owner might do
    who knows of no request: train mode, and nothing is touched before.

    Args:
        forget: where to take the images from, or None.
        held: what is looked at; the images drawn for training are left out of it.
        forgotten: the classes that are forgotten; empty when the request names images, and the head starts as it is.

    Returns:
        The steps at which was looked, from 0, before anything is changed, and a list of shares for each seed.

    Raises:
        UnlearnError: every image of `held` is needed for training, or the loss is no longer finite.

    Source: relearning attack, arms (a) few shots and (b) retain set alone; rate, momentum and batch as proposed there.
    """
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    looks = [0, *range(every, steps + 1, every)]
    curves = []
    run.progress.start("relearning", seeds * steps * batch_size)
    for seed in range(seeds):
        draw = seeded(run.seed, "relearning curve", seed)
        few = None if forget is None else _few(forget, shots, draw)
        looked_at = held if few is None else held.subset(~torch.isin(held.index, few.index))
        if len(looked_at) == 0:
            raise UnlearnError("no image is left to look at: all are trained on.", "lower --set shots.")
        order = _order(few, retain, steps, batch_size, draw)
        opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum)
        right = [run.correct(model, looked_at)]
        if few is not None and forgotten:
            _put_back(run, model, few, retain.subset(torch.randperm(len(retain), generator=draw)[:CENTRE]), forgotten)
        for step, b in enumerate(run.batches(order, size=batch_size, shuffle=False), 1):
            train_mode(model, "train" if few is None else "eval")
            run.step(b.mean(retain.task.loss(model(b.x), b.y)), opt)
            if step in looks:
                right.append(run.correct(model, looked_at))
        run.check_losses()
        curves.append([n / len(looked_at) for n in right])
        model.load_state_dict(before)
    run.progress.end()
    return looks, curves


def _few(forget: Split, shots: int, draw: torch.Generator) -> Split:
    """That many images of each group of the forget set, or all where it has fewer."""
    mixed = torch.randperm(len(forget), generator=draw)
    groups = forget.task.group(forget.y)[mixed]
    return forget.subset(torch.cat([mixed[groups == one][:shots] for one in groups.unique()]))


def _order(few: Split | None, retain: Split, steps: int, batch_size: int, draw: torch.Generator) -> Split:
    """The images of every step, one step after another: few ones with replacement, retain images in shuffled passes."""
    half = 0 if few is None else batch_size // 2
    wanted = steps * (batch_size - half)
    passes = [torch.randperm(len(retain), generator=draw) for _ in range(-(-wanted // len(retain)))]
    parts = [retain.index[torch.cat(passes)[:wanted]].view(steps, -1)]
    if few is not None:
        parts.append(few.index[torch.randint(len(few), (steps, half), generator=draw)])
    return replace(retain, name="relearning", index=torch.cat(parts, 1).flatten())


@torch.no_grad()
def _put_back(run: Run, model: nn.Module, few: Split, around: Split, forgotten: tuple[int, ...]) -> None:
    """Point the head's rows of the forgotten classes to the mean features of the few images."""
    backbone, head = run.split(model)
    centre = run.features(backbone, around).x.cpu().double().mean(0)
    x = run.features(backbone, few).x.cpu().double()
    classes = torch.tensor([c for c in forgotten if bool((few.y == c).any())])
    means = torch.stack([x[few.y == c].mean(0) for c in classes])
    bias = None if head.bias is None else head.bias.cpu()
    weight, bias = prototype_rows(head.weight.cpu(), bias, means, centre, classes)
    head.weight.copy_(weight)
    if bias is not None:
        head.bias.copy_(bias)
