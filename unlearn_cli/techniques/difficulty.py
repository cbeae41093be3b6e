"""What easy and hard images are told by, read off networks: distances, attacks and losses of whole splits.

Source: "Towards Aligned Data Forgetting via Twin Machine Unlearning", 2025, and its authors' code.
"""

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.attacks import pgd
from unlearn_cli.ops.difficulty import attack_loss, nearest_distances
from unlearn_cli.ops.losses import cross_entropy


def held_out(splits: Splits) -> Split:
    """The selection set's images of the forget set's classes; all of the selection set where there is none."""
    same = torch.isin(splits.selection.y, splits.forget.y)
    return splits.selection.subset(same) if same.any() else splits.selection


def references(splits: Splits, others: Split, limit: int, draw: torch.Generator) -> Split:
    """Retain images of the classes of the forget set and of `others`, drawn at random, at most `limit` of each."""
    chosen = []
    for label in torch.cat([splits.forget.y, others.y]).unique():
        same = (splits.retain.y == label).nonzero().squeeze(1)
        chosen.append(same[torch.randperm(len(same), generator=draw)[:limit]])
    return splits.retain.subset(torch.cat(chosen).sort().values)


def distances_of(run: Run, net: nn.Module, part: Split, near_net: nn.Module, near: Split, count: int) -> Tensor:
    """(n, count) `nearest_distances` of a split's features under one network to those of `near` under another."""
    x = run.features(run.split(net)[0], part)
    there = run.features(run.split(near_net)[0], near, "references") if len(near) else x
    y = there.y if len(near) else torch.full_like(x.y, -1)
    return nearest_distances(x.x, x.y, there.x, y, count)


def attack_loss_of(run: Run, net: nn.Module, part: Split, radius: float, steps: int) -> Tensor:
    """(n,) `attack_loss` of a split's images after `steps` attack steps of a third of the radius, in [0, 1] pixels."""
    attacked = run.attacked(net, part, lambda f, x, y: pgd(f, x, y, radius / 3, radius, steps))
    return attack_loss(run.logits(net, part), attacked)


def loss_of(run: Run, net: nn.Module, part: Split) -> Tensor:
    """(n,) cross-entropy of a split's images."""
    return cross_entropy(run.logits(net, part), part.y.to(run.device))
