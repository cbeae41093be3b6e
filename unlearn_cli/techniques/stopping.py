"""When enough is forgotten: who is still known, and epochs that end with the forget accuracy that was asked for."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.binomial import enough, would_do


def still_known(run: Run, model: nn.Module, forget: Split) -> int:
    """How many images are still given what was to vanish; a look at all of them."""
    return int(forget.task.known(run.logits(model, forget, "checking"), forget.y.to(run.device)).sum())


def until_forgotten(
    run: Run, model: nn.Module, forget: Split, epochs: int, phase: str, accuracy: float | None, images: int | None = None
) -> Iterator[int]:
    """0, 1, ..: `run.epochs`, of which the last is that after which the forget accuracy is at most `accuracy`.

    The run says why it ended, or how much was known when the budget did.

    Args:
        accuracy: in [0, 1]; None: all epochs, and no look between them.
        images: shown per epoch, where that is not the forget set alone.
    """
    for epoch in run.epochs(epochs, phase, images or forget):
        yield epoch
        if accuracy is None:
            continue
        known = still_known(run, model, forget)
        if known / len(forget) <= accuracy:
            return run.stop(f"the forget accuracy reached {accuracy:.4g}, epoch {epoch + 1}")
    if accuracy is not None:
        run.note(f"the budget of {epochs} epochs ended with {known} of {len(forget)} forget images known")


def watch(run: Run, model: nn.Module, forget: Split, allowed: int) -> Callable[[], bool]:
    """A function that tells whether at most `allowed` images are still given what was to vanish.

    It is for a look after every step: images known at the last look are read first, and the others only when few enough
    of those are left, which changes no answer.
    """
    everything = suspects = torch.arange(len(forget))
    y = forget.y.to(run.device)

    def known(positions: Tensor) -> Tensor:
        logits = run.logits(model, forget.subset(positions), "checking")
        return positions[forget.task.known(logits, y[positions.to(run.device)]).cpu()]

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
    """The share of selection images given their label, groups of alike ones weighted as they occur in the forget set.

    Cats that the network never saw tell how many of a list of cats a retrained model would know; planes do not. A group of
    which there is no selection image does not count; None where that leaves none.
    """
    asked, there = splits.task.group(splits.forget.y), splits.task.group(splits.selection.y)
    same = torch.isin(there, asked)
    if not same.any():
        return None
    unseen, there = splits.selection.subset(same), there[same]
    right = splits.task.correct(run.logits(model, unseen, "unseen images").cpu(), unseen.y)
    most = int(asked.max()) + 1
    asked, there, known = (torch.bincount(groups, minlength=most).double() for groups in (asked, there, there[right]))
    asked, there, known = (count[there > 0] for count in (asked, there, known))
    return (asked / asked.sum() * (known / there)).sum().item()


def too_few(splits: Splits) -> str:
    """Why the accuracy on selection images like listed ones says too little to stop or to choose by, or nothing.

    Where there is none like them, all selection images stand in.
    """
    asked, there = splits.task.group(splits.forget.y), splits.task.group(splits.selection.y)
    if not torch.isin(there, asked).any():
        weights, counts = [1], [len(splits.selection)]
    else:
        most = int(max(asked.max(), there.max())) + 1
        asked, there = (torch.bincount(groups, minlength=most) for groups in (asked, there))
        weights, counts = torch.where(there > 0, asked, 0).tolist(), there.tolist()
    if enough(weights, counts):
        return ""
    images = sum(count for weight, count in zip(weights, counts, strict=True) if weight)
    return f"it rests on {images} selection image{'s' if images != 1 else ''}, {would_do(weights, counts):,} would do"


def goal_of(run: Run, model: nn.Module, splits: Splits) -> float:
    """The forget accuracy that listed images are to come down to: the model's own on unseen images like them.

    Raises:
        UnlearnError: there are too few of these to tell.
    """
    if why := too_few(splits):
        raise UnlearnError(f"the forget accuracy to come down to cannot be measured: {why}.",
                           "pass a larger --selection-fraction, add test images, or say it: --set stop_accuracy=0.9.")  # fmt: skip
    found = unseen_accuracy(run, model, splits)
    return run.correct(model, splits.selection) / len(splits.selection) if found is None else found
