"""What easy and hard images are told by, read off networks: distances, attacks and losses of whole splits.

Source: "Towards Aligned Data Forgetting via Twin Machine Unlearning", 2025, and its authors' code.
"""

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.attacks import pgd
from unlearn_cli.ops.difficulty import attack_loss, nearest_distances


def held_out(splits: Splits) -> Split:
    """The selection set's images that are like the forget set's; all of the selection set where there is none."""
    group = splits.task.group
    same = torch.isin(group(splits.selection.y), group(splits.forget.y))
    return splits.selection.subset(same) if same.any() else splits.selection


def references(splits: Splits, others: Split, limit: int, draw: torch.Generator) -> Split:
    """Retain images like those of the forget set and of `others`, drawn at random, at most `limit` of each group."""
    chosen, group = [], splits.task.group
    retain = group(splits.retain.y)
    for one in group(torch.cat([splits.forget.y, others.y])).unique():
        same = (retain == one).nonzero().squeeze(1)
        chosen.append(same[torch.randperm(len(same), generator=draw)[:limit]])
    return splits.retain.subset(torch.cat(chosen).sort().values)


def distances_of(run: Run, net: nn.Module, part: Split, near_net: nn.Module, near: Split, count: int) -> Tensor:
    """(n, count) `nearest_distances` of a split's features under one network to those of `near` under another."""
    x = run.features(run.split(net)[0], part)
    there = run.features(run.split(near_net)[0], near, "references") if len(near) else x
    own, other = part.task.group(x.y), part.task.group(there.y)
    return nearest_distances(x.x, own, there.x, other if len(near) else torch.full_like(own, -1), count)


def attack_loss_of(run: Run, net: nn.Module, part: Split, radius: float, steps: int) -> Tensor:
    """(n,) `attack_loss` of a split's images after `steps` attack steps of a third of the radius, in [0, 1] pixels."""
    attacked = run.attacked(net, part, lambda f, x, y: pgd(f, x, y, radius / 3, radius, steps, part.task.loss))
    return attack_loss(run.logits(net, part), attacked)


def loss_of(run: Run, net: nn.Module, part: Split) -> Tensor:
    """(n,) losses of a split's images."""
    return part.task.loss(run.logits(net, part), part.y.to(run.device))
