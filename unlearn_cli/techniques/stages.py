"""How alike two networks are, block by block."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Batch
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.similarity import Similarity


def stage_similarity(run: Run, one: nn.Module, other: nn.Module, split: Split, *, theirs: Run | None = None,
                     images: int = 1000) -> dict[str, float | None]:  # fmt: skip
    """Linear CKA of what two adopted networks' blocks give for the same images, by the block's name.

    A block is a top-level child that both networks have and run; maps are averaged over their positions, so that networks of
    different widths and resolutions compare. One pass of each network; only sums of products are kept.

    Args:
        theirs: the other network's run, where its images are normalised differently.
        images: how many are looked at, spread evenly over the split.

    Returns:
        From 0 to 1 per block, in the first network's order; None where one of them gives the same for every image.

    Source: "Similarity of Neural Network Representations Revisited", Kornblith et al. 2019.
    """
    chosen = torch.linspace(0, len(split) - 1, min(images, len(split))).round().long()
    sums: dict[str, Similarity] = {}

    def look(b: Batch) -> Tensor:
        left, right = ours.read(b.x), others.read(b.x if theirs is None else theirs.pixels.normalised(run.pixels.of(b.x)))
        for name in left:
            if name in right:
                sums.setdefault(name, Similarity()).add(left[name], right[name])
        return b.y

    with _Blocks.of(one) as ours, _Blocks.of(other) as others:
        run.over(split.subset(chosen), look, one, other, phase="comparing blocks")
    if run.ranks.world > 1:
        for similarity in sums.values():
            similarity.sums = [run.ranks.sum_(total.to(run.device)).cpu() for total in similarity.sums]
    return {name: similarity.value() for name, similarity in sums.items()}


class _Blocks:
    """A network whose top-level children tell what they gave."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.given: dict[str, Tensor] = {}

    @classmethod
    @contextmanager
    def of(cls, model: nn.Module) -> Iterator["_Blocks"]:
        blocks = cls(model)
        hooks = [child.register_forward_hook(blocks._keep(name)) for name, child in model.named_children()]
        try:
            yield blocks
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if isinstance(output, Tensor) and output.dim() >= 2:
                self.given[name] = _pooled(output)  # a child that runs twice is known by its last output

        return hook

    def read(self, x: Tensor) -> dict[str, Tensor]:
        self.given = {}
        self.model(x)
        return self.given


def _pooled(output: Tensor) -> Tensor:
    """(n, d) on the CPU: maps (n, d, H, W) averaged over positions, sequences (n, t, d) over tokens."""
    if output.dim() == 3:
        return output.float().mean(1).cpu()
    return (output.float().flatten(2).mean(2) if output.dim() > 3 else output).cpu()
