"""How alike two networks are, block by block."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.batches import Batch
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.similarity import Similarity

MOST = 0.8


def stage_similarity(run: Run, one: nn.Module, other: nn.Module, split: Split, *, theirs: Run | None = None,
                     images: int = 1000) -> dict[str, float | None]:  # fmt: skip
    """Linear CKA of what two adopted networks' blocks give for the same images, by the block's name.

    A block is one of `stages` that both networks have and run; maps are averaged over their positions, so that networks of
    different widths and resolutions compare. One pass of each network; only sums of products are kept.

    Args:
        theirs: the run that adopted the other network, where it is not the same one; it may normalise images differently.
        images: how many are looked at, spread evenly over the split.

    Returns:
        From 0 to 1 per block, in the first network's order; None where one of them gives the same for every image.

    Source: "Similarity of Neural Network Representations Revisited", Kornblith et al. 2019.
    """
    chosen = torch.linspace(0, len(split) - 1, min(images, len(split))).round().long()
    sums: dict[str, Similarity] = {}
    theirs = theirs or run
    alike = torch.equal(run.pixels.mean, theirs.pixels.mean) and torch.equal(run.pixels.std, theirs.pixels.std)

    def look(b: Batch) -> Tensor:
        left, right = ours.read(b.x), others.read(b.x if alike else theirs.pixels.normalised(run.pixels.of(b.x)))
        for name in left:
            if name in right:
                sums.setdefault(name, Similarity()).add(left[name], right[name])
        return b.y

    heads = run.split(one)[1], theirs.split(other)[1]
    with _Blocks.of(one, heads[0]) as ours, _Blocks.of(other, heads[1]) as others:
        run.over(split.subset(chosen), look, one, other, phase="comparing blocks")
    if run.ranks.world > 1:
        for similarity in sums.values():
            similarity.sums = [run.ranks.sum_(total.to(run.device)).cpu() for total in similarity.sums]
    return {name: similarity.value() for name, similarity in sums.items()}


def stages(model: nn.Module, head: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a network by their dotted names, in its order: its children, and theirs where one is most of it.

    A child with more than MOST of the parameters below the head is replaced by its own children, over and over. So is a list,
    which never runs itself.
    """
    whole = _size(model) - _size(head)
    found: dict[str, nn.Module] = {}

    def add(prefix: str, parent: nn.Module) -> None:
        for name, child in parent.named_children():
            below = _size(child) - (_size(head) if _holds(child, head) else 0)
            most = below > MOST * whole and any(True for _ in child.children())
            if child is not head and (most or isinstance(child, (nn.ModuleList, nn.ModuleDict))):
                add(f"{prefix}{name}.", child)
            else:
                found[f"{prefix}{name}"] = child

    add("", model)
    return found


def head_stage(model: nn.Module, head: nn.Module) -> str:
    """The name of the block that is the head, or has it inside; empty where there is none."""
    return next((name for name, block in stages(model, head).items() if _holds(block, head)), "")


def _holds(block: nn.Module, head: nn.Module) -> bool:
    return any(module is head for module in block.modules())


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class _Blocks:
    """A network whose blocks tell what they gave."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.given: dict[str, Tensor] = {}

    @classmethod
    @contextmanager
    def of(cls, model: nn.Module, head: nn.Module) -> Iterator["_Blocks"]:
        blocks = cls(model)
        hooks = [block.register_forward_hook(blocks._keep(name)) for name, block in stages(model, head).items()]
        try:
            yield blocks
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            first = _first(output)
            if first is not None and first.dim() >= 2 and len(first) == self.images:
                self.given[name] = _pooled(first, module)  # a block that runs twice is known by its last output

        return hook

    def read(self, x: Tensor) -> dict[str, Tensor]:
        self.given, self.images = {}, len(x)
        self.model(x)
        return self.given


def _first(output: object) -> Tensor | None:
    """The first tensor of what a block gave: a tensor, or several in a tuple or in a library's own mapping."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((tensor for tensor in map(_first, parts) if tensor is not None), None)


def _pooled(output: Tensor, block: nn.Module) -> Tensor:
    """(n, d) on the CPU: maps (n, d, H, W) or (n, H, W, d) averaged over positions, sequences (n, t, d) over tokens."""
    if output.dim() == 3:
        return output.float().mean(1).cpu()
    if output.dim() == 4 and _channels_last(output, block):
        return output.float().mean((1, 2)).cpu()
    return (output.float().flatten(2).mean(2) if output.dim() > 3 else output).cpu()


def _channels_last(output: Tensor, block: nn.Module) -> bool:
    """Whether maps have their channels last: the axis on which a parameter of the block has an entry for each place.

    Where both ends or neither could be: of a square map, the axis that differs; else they come first.
    """
    _, first, second, last = output.shape
    lengths = {p.shape[0] for p in block.parameters() if p.dim()}
    if (first in lengths) != (last in lengths):
        return last in lengths
    return first == second != last
