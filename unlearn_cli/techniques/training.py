"""Training: from a recipe, as `unlearn train` and every method that retrains do it, or plainly, as phases of methods do."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn_cli import models
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Augmentation, seeded
from unlearn_cli.engine.loader import Source
from unlearn_cli.engine.optim import SGD, Adam, Optimizer
from unlearn_cli.engine.run import Run
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.presented import take


@dataclass
class Progress:
    """A training between two epochs: all that the next one depends on, as tensors by name."""

    epoch: int
    tensors: dict[str, Tensor]


def fit(
    run: Run,
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    resume: Progress | None = None,
    keep: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Train an adopted model on a split; in place.

    Order, augmentation and dropout are functions of the seed and the epoch, rates and averaging of the step, so a training
    that goes on from `resume` ends with the same tensors as one that was never broken.

    Args:
        keep: called with the state after every epoch but the last.
    """
    for name, p in model.named_parameters():
        p.requires_grad_(name not in recipe.frozen)
    opt = _optimizer(run, model, recipe)
    slow = {name: t.clone() for name, t in model.state_dict().items() if t.is_floating_point()}
    named = dict(model.named_parameters())
    first = 0
    if resume:
        first = resume.epoch
        take(model, {k[6:]: t for k, t in resume.tensors.items() if k.startswith("model.")})
        slow = {k[5:]: t.to(run.device) for k, t in resume.tensors.items() if k.startswith("slow.")}
        opt.done = int(resume.tensors["done"])
        for kind, kept in opt.moments.items():
            start = f"{kind}."
            kept |= {named[k.removeprefix(start)]: t.to(run.device) for k, t in resume.tensors.items() if k.startswith(start)}

    per_epoch = -(-len(split) // recipe.batch_size)
    steps, step = per_epoch * recipe.epochs, per_epoch * first
    how = Augmentation(recipe.crop_padding, recipe.flip)
    for epoch in range(first, recipe.epochs):
        model.train()
        run.passes.begun = epoch
        torch.manual_seed(seeded(run.seed, "dropout", epoch, run.ranks.rank).initial_seed())
        run.progress.start(f"training, epoch {epoch + 1} of {recipe.epochs}", len(split))
        for b in run.batches(split, size=recipe.batch_size, augment=how):
            loss = b.mean(split.task.loss(model(b.x), b.y, recipe.label_smoothing))
            run.step(loss, opt, lr=recipe.rate(step, steps), clip=recipe.clip or None)
            step += 1
            if (kept := recipe.average(step, steps)) is not None:
                _average(model, slow, kept)
        run.progress.end()
        if epoch + 1 < recipe.epochs:
            state = {f"model.{k}": t for k, t in model.state_dict().items()}
            state |= {f"slow.{k}": t for k, t in slow.items()}
            state |= {f"{kind}.{k}": kept[p] for kind, kept in opt.moments.items() for k, p in named.items() if p in kept}
            state["done"] = torch.tensor(opt.done)
            keep(Progress(epoch + 1, state))
    model.eval()


def _optimizer(run: Run, model: nn.Module, recipe: Recipe) -> Optimizer:
    groups = list(recipe.parts(model, run.split(model)[1]))
    if recipe.optimizer == "sgd":
        return SGD(groups, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0)
    return Adam(groups, recipe.lr, weight_decay=recipe.weight_decay, decoupled=recipe.optimizer == "adamw")


@torch.no_grad()
def _average(model: nn.Module, slow: dict[str, Tensor], kept: float) -> None:
    """slow ← kept·slow + (1 - kept)·weights; weights ← slow."""
    fast = model.state_dict()
    pairs = [(slow[name], fast[name]) for name in slow]
    slows, fasts = [s for s, _ in pairs], [f for _, f in pairs]
    torch._foreach_lerp_(slows, fasts, 1 - kept)
    torch._foreach_copy_(fasts, slows)


def train(
    run: Run, model: nn.Module, opt: Optimizer, parts: list[Source], loss: Callable[[Tensor, Tensor], Tensor],
    phase: str, epochs: int, size: int, bn: str,
) -> None:  # fmt: skip
    """Some epochs of the plain loss on several sources as one shuffled data set; `bn` as for `train_mode`."""
    for _ in run.epochs(epochs, phase, sum(map(len, parts))):
        train_mode(model, bn)
        for b in run.batches(parts, size=size):
            run.step(b.mean(loss(model(b.x), b.y)), opt)


def prepare(run: Run, model: nn.Module, split: Split, count: int = 5000) -> None:
    """Set what an architecture takes from data rather than from training: from `count` images spread over the split."""
    if hasattr(model, "prepare"):
        chosen = torch.linspace(0, len(split) - 1, min(count, len(split))).long()
        sample = run.over(split.subset(chosen), lambda b: b.x, phase="preparing")
        models.prepare(model, sample)
