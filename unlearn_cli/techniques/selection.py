"""Which state of a model to keep, judged on the selection set."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.batches import seeded
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.binomial import enough
from unlearn_cli.ops.scores import final_score, forgetting_score


def scorer(run: Run, model: nn.Module, splits: Splits, purpose: str) -> Callable[[], float]:
    """The final score of the model as it is now, higher is better; every call on the same images.

    One part of the selection set gives the accuracy, the other stands for unseen images, with which the forgetting score
    compares as many forget images: the images of the forgotten classes, or half of all where images are listed. With too few
    on a side the score is the accuracy alone, and the run says so.

    Args:
        purpose: names the draws; each purpose has its own.
    """
    draw, held = seeded(run.seed, purpose, "selection"), splits.selection
    by_class = splits.kind == "classes"
    apart = splits.task.named(held.y) if by_class else torch.randperm(len(held), generator=draw) < len(held) // 2
    kept, unseen = held.subset(~apart), held.subset(apart)
    n = min(len(unseen), len(splits.forget))
    sides = [part.subset(torch.randperm(len(part), generator=draw)[:n].sort().values) for part in (splits.forget, unseen)]
    told = n >= 2 and (by_class or enough([1], [2 * n]))
    if not told:
        run.note(f"too few images to tell forgotten from unseen ones, {n} on each side: the accuracy alone chose the model")

    def losses(part: Split) -> Tensor:
        return part.task.loss(run.logits(model, part, "scoring"), part.y.to(run.device))

    def score() -> float:
        accuracy = run.correct(model, kept) / len(kept) if len(kept) else 0.0
        if not told:
            return accuracy
        found = forgetting_score(*map(losses, sides), seeded(run.seed, purpose, "splits"))
        return final_score(accuracy, 0.5 if found is None else found)

    return score
