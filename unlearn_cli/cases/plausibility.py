"""Whether a plain state dict knows these folders as its own classes: a head in another order would forget another class.

A file without a record does not say which output is which class. A few images of each class do: a model that gives them their own
class no more often than guessing would, or far more often in another order of the classes, is not taken in as it is.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_cli.cases import class_order
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Run, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import in_words
from unlearn_cli.ops.binomial import at_least
from unlearn_cli.tasks.classes import Classes

EACH, MOST = 20, 2_000
"""Images looked at: of each class, and of all."""

SURE = 1e-3
"""How rarely chance may do what an order is refused for."""

ABOVE = 0.01
"""How rarely guessing may do as well as a model that is taken to know the folders."""

MANY = 0.1
"""Share of the classes that have images in wrong places that says more than each of them, where there are few images of each."""


@dataclass(frozen=True)
class Doubt:
    """Why the order of the classes may be another, and the order that would explain it, where one is known."""

    why: str
    order: list[str] | None = None


def checked(run: Run, model: torch.nn.Module, head: str, folder: Folder, name: str, *, original: bool, given: bool) -> list[str]:
    """Look at a sample of the folder's images; gives notes for the report. The model and every count stay as they are.

    Args:
        run: of its own; what it reads is not what a method reads.
        original: whether the model has to know every class. One that was made to forget may be wrong on some.
        given: whether the order was given by --class-names: then a doubt is a note.

    Raises:
        UnlearnError: the model is no better than guessing, or another order fits the images far better.
    """
    chosen = sample(folder.images.labels, len(folder.classes))
    if len(chosen) == 0:
        return [f"there are no images to tell whether the classes of {name} are in the order of the folders"]
    part = Split("sample", folder.images, chosen, Classes(len(folder.classes)))
    with deterministic(run), run.adopted(copy.deepcopy(model), head) as looker:
        logits = run.logits(looker, part, "checking").cpu()
    if not torch.isfinite(logits).all():
        raise UnlearnError(f"{name}: the network's outputs are not finite.", "the checkpoint is damaged, or its training diverged.")
    if logits.dim() != 2 or logits.shape[1] != len(folder.classes):
        raise UnlearnError(f"{name}: the head's output is not the network's.", "name the right layer with --head.")
    said, y = logits.argmax(1), folder.images.labels[chosen]
    right = int((said == y).sum())
    known = f"{name} gives {right:,} of {len(y):,} sampled images of {folder.root} their own class"
    doubt = doubted(said, y, folder.classes, original)
    if doubt is None:
        few = at_least(right, len(y), chance(y, len(folder.classes))) > ABOVE
        return [f"{known}{': too few images to tell whether its classes are in the order of the folders' if few else ''}"]
    if given:
        return [f"{known}, {doubt.why}: the order of its classes was taken from --class-names as it is"]
    raise UnlearnError(
        f"{known}, {doubt.why}: the order of its classes may not be that of the folders.",
        _hint(doubt, folder, "--labels" if len(y.unique()) < len(folder.classes) else "--class-names", _shown(run, folder)),
    )


def sample(labels: Tensor, classes: int) -> Tensor:
    """Positions, in order, of a few images of each class, evenly spaced over those there are; (n,) int64, n <= MOST."""
    present = labels.unique()
    each = max(1, min(EACH, MOST // max(1, len(present))))
    if len(present) * each > MOST:
        present = present[_spaced(len(present), MOST // each)]
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels, minlength=classes)
    starts = counts.cumsum(0) - counts
    picked = [order[starts[c] + _spaced(int(counts[c]), each)] for c in present.tolist()]
    return torch.cat(picked).sort().values if picked else labels.new_zeros(0)


def _spaced(n: int, count: int) -> Tensor:
    """(min(n, count),) positions below n, evenly spaced."""
    count = min(n, count)
    return (torch.arange(count) * n + n // 2) // max(count, 1)


def chance(y: Tensor, classes: int) -> float:
    """What always naming the most frequent class gives; where the images are of one class of several, what naming any does."""
    most = int(y.bincount().max()) / len(y)
    return 1 / classes if most == 1 else most


def doubted(said: Tensor, y: Tensor, classes: Sequence[str], original: bool) -> Doubt | None:
    """What speaks against the order of the classes.

    Args:
        said: (n,) the output that is largest for each image.
        y: (n,) the output that is its own class, in this order.
    """
    n, right = len(y), said == y
    better = _better_order(said, y, classes)
    rate, guess = right.float().mean().item(), chance(y, len(classes))
    if int(right.sum()) < n and at_least(int(right.sum()), n, guess) > ABOVE:
        also = f"; {better.why}" if better else ""
        why = f"no better than guessing ({100 * rate:.1f} %, chance is {100 * guess:.1f} %){also}"
        return Doubt(why, better and better.order)
    return better or _exchanged(said, y, classes, original) or (_taken_for_absent(said, y, classes) if original else None)


def _better_order(said: Tensor, y: Tensor, classes: Sequence[str]) -> Doubt | None:
    """The usual order that fits the images best, if it does so surely better than the one at hand."""
    right, found = said == y, None
    for words, order in class_order.usual(classes):
        place = {name: k for k, name in enumerate(order)}
        theirs = said == torch.tensor([place[name] for name in classes])[y]
        if _surely_more(theirs, right) and (found is None or theirs.sum() > found[0]):
            share = 100 * theirs.float().mean().item()
            found = theirs.sum(), f"in {words} order it would be {int(theirs.sum()):,} ({share:.1f} %)", order
    return Doubt(*found[1:]) if found else None


def _exchanged(said: Tensor, y: Tensor, classes: Sequence[str], original: bool) -> Doubt | None:
    """Classes that are answered as one another, most of their images and all round: outputs in each other's places."""
    table = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    table.index_put_((y, said), torch.ones_like(y), accumulate=True)
    most, top = table.max(1)
    seen = table.sum(1)
    answered = torch.where((seen > 0) & (2 * most > seen), top, -1).tolist()
    rings = _rings(answered)
    wrong = [c for ring in rings for c in ring]
    mine = torch.isin(y, torch.tensor(wrong, dtype=y.dtype))
    theirs = mine & (said == torch.tensor(answered)[y])
    if not rings or not _surely_more(theirs, mine & (said == y)):
        return None
    each = [ring for ring in rings if all(_surely_more(theirs & (y == c), (said == y) & (y == c)) for c in ring)]
    if len(wrong) <= (MANY if original else 0.5) * int((seen > 0).sum()) and not (original and each):
        return None
    c = (each or rings)[0][0]
    words = f"{int(most[c])} of {int(seen[c])} images of {classes[c]} are answered as {classes[answered[c]]}"
    return Doubt(f"{words} ({len(wrong)} classes are answered as one another)")


def _taken_for_absent(said: Tensor, y: Tensor, classes: Sequence[str]) -> Doubt | None:
    """A class whose images are answered as one that the folder does not have: where it had, the two would be each other's."""
    present = y.unique()
    for c in present.tolist():
        mine = y == c
        top = said[mine].mode().values
        theirs = mine & (said == top)
        if not (present == top).any() and 2 * theirs.sum() > mine.sum() and _surely_more(theirs, mine & (said == y)):
            words = f"{int(theirs.sum())} of {int(mine.sum())} images of {classes[c]} are answered as {classes[top]}"
            return Doubt(f"{words}, of which it has none")
    return None


def _rings(answered: list[int]) -> list[list[int]]:
    """The rings of two classes or more in which each is answered as the next, and the last as the first; -1: as none."""
    rings, seen = [], set()
    for start in range(len(answered)):
        path, c = [], start
        while c >= 0 and c not in seen:
            seen.add(c)
            path.append(c)
            c = answered[c]
        if c in path and len(path) - path.index(c) > 1:
            rings.append(path[path.index(c) :])
    return rings


def _surely_more(ours: Tensor, others: Tensor) -> bool:
    """Whether images that speak for one side alone do so far more often for the first; both (n,) bool."""
    won, lost = int((ours & ~others).sum()), int((others & ~ours).sum())
    return at_least(won, won + lost, 0.5) < SURE if won > lost else False


def _shown(run: Run, folder: Folder) -> str:
    """How the images were shown, as the options would say it."""
    mean, std = (",".join(f"{one:.3g}" for one in each) for each in (run.mean, run.std))
    return f"--size {in_words(folder.images.size).replace(' ', '')} --mean {mean} --std {std}"


def _hint(doubt: Doubt, folder: Folder, option: str, shown: str) -> str:
    names = ",".join(doubt.order or [])
    if doubt.order and len(names) <= 200 and not any("," in name or name != name.strip() for name in folder.classes):
        return f"pass {option} {names} if that is the head's order, or {option} FILE with a name per line."
    wrong = "" if doubt.order else f"check how images are shown to it, which was {shown}; "
    return f"{wrong}pass {option} FILE with the names in the order of the head's outputs, one per line."
