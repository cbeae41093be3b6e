"""When enough is forgotten: who is still known, and epochs that end with the forget accuracy that was asked for."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.relabel import recognised


def still_known(run: Run, model: nn.Module, forget: Split, own: Tensor) -> int:
    """How many images are still given one of the classes that were to vanish, `own` (n, C) bool; a look at all of them."""
    return int(recognised(run.logits(model, forget, "checking"), own).sum())


def until_forgotten(
    run: Run, model: nn.Module, forget: Split, epochs: int, phase: str, accuracy: float | None, own: Tensor | None = None,
    images: int | None = None,
) -> Iterator[int]:  # fmt: skip
    """0, 1, ..: `run.epochs`, of which the last is that after which the forget accuracy is at most `accuracy`.

    The run says why it ended, or how much was known when the budget did.

    Args:
        accuracy: in [0, 1]; None: all epochs, and no look between them.
        own: (n, C) bool, the classes that are to vanish from each image; by default the image's own label alone.
        images: shown per epoch, where that is not the forget set alone.
    """
    for epoch in run.epochs(epochs, phase, images or forget):
        yield epoch
        if accuracy is None:
            continue
        known = run.correct(model, forget) if own is None else still_known(run, model, forget, own)
        if known / len(forget) <= accuracy:
            return run.stop(f"the forget accuracy reached {accuracy:.4g}, epoch {epoch + 1}")
    if accuracy is not None:
        left = f"{known} forget images given their label" if own is None else f"{known} of {len(forget)} forget images known"
        run.note(f"the budget of {epochs} epochs ended with {left}")


def watch(run: Run, model: nn.Module, forget: Split, own: Tensor, allowed: int) -> Callable[[], bool]:
    """A function that tells whether at most `allowed` images are still given one of their `own` classes, (n, C) bool.

    It is for a look after every step: images known at the last look are read first, and the others only when few enough
    of those are left, which changes no answer.
    """
    everything = suspects = torch.arange(len(forget))

    def known(positions: Tensor) -> Tensor:
        logits = run.logits(model, forget.subset(positions), "checking")
        return positions[recognised(logits, own[positions]).cpu()]

    def reached() -> bool:
        nonlocal suspects
        still = known(suspects)
        if len(still) <= allowed and len(suspects) < len(everything):
            still = known(everything)
        done = len(still) <= allowed
        suspects = everything if done else still[: allowed + run.inference_batch]
        return done

    return reached


def unseen_accuracy(run: Run, model: nn.Module, splits: Splits) -> float | None:
    """The share of selection images given their label, their classes weighted as they occur in the forget set.

    Cats that the network never saw tell how many of a list of cats a retrained model would know; planes do not. Classes of
    which there is no selection image do not count; None where that leaves no class.
    """
    same = torch.isin(splits.selection.y, splits.forget.y)
    if not same.any():
        return None
    unseen = splits.selection.subset(same)
    right = run.logits(model, unseen, "unseen images").argmax(1).cpu() == unseen.y
    of = [torch.bincount(labels, minlength=splits.classes).double() for labels in (splits.forget.y, unseen.y, unseen.y[right])]
    asked, there, known = (count[of[1] > 0] for count in of)
    return (asked / asked.sum() * (known / there)).sum().item()


def goal_of(run: Run, model: nn.Module, splits: Splits) -> float:
    """The forget accuracy to come down to: none for classes, for listed images the model's own on unseen ones like them."""
    if splits.forgotten:
        return 0.0
    found = unseen_accuracy(run, model, splits)
    return run.correct(model, splits.selection) / len(splits.selection) if found is None else found
