"""GLI: fine-tune on retain images pushed so that their logits leave those of forget images but keep their own label.

    w_t = w_start + (w_end - w_start)·t / (T-1)                                     t: the batch of T in an epoch
    push    δ ← δ + η·sign ∂/∂δ [ d(f_θ(x̃), f_θ(x_f)) - w_t·CE(f_θ(x̃), y_r) ]       S times from δ = 0, x̃ = clip(x_r + δ, 0, 1)
    learn   θ ← θ - lr · ∇ CE(f_θ(x̃), y_r)                                          x̃ after the last push

"Towards Efficient Machine Unlearning with Data Augmentation: Guided Loss-Increasing", CVPR 2024 workshops, and its public
code. d is the code's mean square over the logits; l1, l2 and cos are the supplement's, for which w is another scale. δ and
the clip are in pixels, the normalisation behind them. BatchNorm keeps its statistics, as it does in the code from the
second batch on; with bn=train only x̃ enters them. Pairs are by position, the forget set starts again when it ends.
After every `check_every` batches the model is scored, the best one is kept, and `patience` checks without a better one end
the run. Score: (accuracy + 1 - 2·FS) / 2, where FS = |1/2 - M| and M is how well a threshold on the loss tells forget images
from selection images; the losses, and nothing else, use the forget set's labels.
Departures: the code scores on the test and unseen sets that it reports; here both parts are of the selection set, which is
in no report. For listed images one half gives the accuracy and the other M, for classes the images of the classes that
stay and of those that go. M compares equal numbers, else guessing the larger side would score; with fewer than two on a
side only the accuracy counts. Batches are cropped to the size of the forget set (the code: pairing=official skips every
pair of unequal batches). Its authors do not test it on classes, and nothing in it asks that a class be lost.
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.batches import Batch, seeded
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.noise import at_rest
from unlearn_cli.ops.scores import final_score, forgetting_score

DISTANCES = {
    "mse": lambda a, b: (a - b).square().mean(1),
    "l1": lambda a, b: vector_norm(a - b, 1, dim=1),
    "l2": lambda a, b: vector_norm(a - b, 2, dim=1),
    "cos": lambda a, b: -cosine_similarity(a, b, dim=1),
}
"""Of two (n, K) logits, per image -> (n,); larger is farther for all of them."""


@method("Guided Loss-Increasing", paper="GLI, CVPR workshops 2024", scope="class classes instances", reads="forget retain",
        also_reads={"select": "selection"})  # fmt: skip
def gli(
    run: Run, model: nn.Module, splits: Splits, *,
    steps: Annotated[int, setting("pushes per batch", ge=1)] = 2,
    eta: Annotated[float, setting("size of a push, in [0, 1] pixels", gt=0, le=1)] = 0.01,
    w_start: Annotated[float, setting("weight of the own label in the first batch", ge=0)] = 200.0,
    w_end: Annotated[float, setting("weight of the own label in the last batch", ge=0)] = 1000.0,
    distance: Annotated[Literal["mse", "l1", "l2", "cos"], setting("between logits")] = "mse",
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.001,
    epochs: Annotated[int, setting("passes over the retain set, at most", ge=1)] = 1,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 64,
    pairing: Annotated[Literal["crop", "official"], setting("crop batches to equal sizes, or skip unequal ones")] = "crop",
    select: Annotated[bool, setting("keep the model that scores best on the selection set, else the last")] = True,
    patience: Annotated[int, setting("checks without a better score that end the run", ge=1)] = 3,
    check_every: Annotated[int, setting("batches between two checks", ge=1)] = 1,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    function, opt = run.pixels.into(model), run.optimizer(model, "sgd", lr=lr)
    score = scorer(run, model, splits) if select else None
    done, best, kept, at = 0, -math.inf, None, 0

    for epoch in run.epochs(epochs, "guided training", 2 * len(splits.retain)):
        for part, f, r in pairs(run, splits, epoch, batch_size, pairing):
            with at_rest(model):
                w = w_start + (w_end - w_start) * part
                x = pushed(function, run.pixels.of(r.x), r.y, model(f.x), w, eta, steps, distance)
            train_mode(model, bn)
            run.step(r.mean(cross_entropy(function(x), r.y)), opt)
            done += 1
            if score and done % check_every == 0:
                if (now := score()) > best:
                    best, kept, at = now, {name: t.clone() for name, t in model.state_dict().items()}, done
                elif done - at == patience * check_every:
                    model.load_state_dict(kept)
                    return run.stop(f"{patience} checks without a better score; the model after batch {at} was kept")
    if kept:
        model.load_state_dict(kept)
        run.note(f"the score had not settled when the budget of {epochs} epochs ended; the model after batch {at} was kept")


def pushed(
    function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, goal: Tensor, w: float, eta: float, steps: int,
    distance: str = "mse",
) -> Tensor:  # fmt: skip
    """Images pushed by sign ascent on d(f(x̃), goal) - w·CE(f(x̃), y); at most steps·eta from where they were, within [0, 1].

    Args:
        function: pixels (n, C, H, W) in [0, 1] to logits (n, K).
        y: (n,) labels that the images are to keep.
        goal: (n, K) logits to leave, one row per image.
        eta: in [0, 1] pixels.
    """
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        logits = function((x + delta).clamp(0, 1))
        rise = DISTANCES[distance](logits, goal) - w * cross_entropy(logits, y)
        (ascent,) = torch.autograd.grad(rise.sum(), delta)
        delta = delta.detach() + eta * ascent.sign()
    return (x + delta).clamp(0, 1)


def pairs(run: Run, splits: Splits, epoch: int, size: int, pairing: str) -> Iterator[tuple[float, Batch, Batch]]:
    """(how far the epoch is, from 0 to 1; forget batch; retain batch of the same size), once over the retain set."""
    draw = seeded(run.seed, "gli", "pairs", epoch)
    size, times, f, r = positions(len(splits.forget), len(splits.retain), size, pairing, draw)
    forget = run.batches(splits.forget.subset(f), size=size, shuffle=False)
    yield from zip(times, forget, run.batches(splits.retain.subset(r), size=size), strict=True)


def positions(n: int, m: int, size: int, pairing: str, draw: torch.Generator) -> tuple[int, list[float], Tensor, Tensor]:
    """What to read of n forget and m retain images: size of the batches, how far each is, (k,) positions in either set.

    The order of the forget set is drawn anew for each of its passes. `crop` shrinks all batches to the forget set if that is
    smaller; `official` leaves out each pair of which one batch is the short rest of a pass.
    """
    total, retain = -(-m // size), torch.randperm(m, generator=draw)
    if pairing == "crop":
        retain = retain[: total * min(size, n)]
        size, usable = min(size, n), n
        numbers = list(range(-(-len(retain) // size)))
        total = len(numbers)
    else:
        whole, cycle, usable = n // size, -(-n // size), n // size * size
        numbers = [t for t in range(m // size) if t % cycle < whole]
        if not numbers:
            raise UnlearnError(f"pairing=official skips every batch: there is no whole one of {size}.", "pass pairing=crop.")
        retain = retain[: m // size * size].view(-1, size)[numbers].flatten()
    passes = -(-len(retain) // usable)
    forget = torch.cat([torch.randperm(n, generator=draw)[:usable] for _ in range(passes)])[: len(retain)]
    return size, [t / max(total - 1, 1) for t in numbers], forget, retain


def scorer(run: Run, model: nn.Module, splits: Splits) -> Callable[[], float]:
    """The final score of the model as it is now, on the selection set; every call on the same images and splits."""
    draw, held = seeded(run.seed, "gli", "selection"), splits.selection
    if splits.forgotten:
        apart = torch.isin(held.y, torch.tensor(splits.forgotten))
    else:
        apart = torch.randperm(len(held), generator=draw) < len(held) // 2
    kept, unseen = held.subset(~apart), held.subset(apart)
    n = min(len(unseen), len(splits.forget))
    sides = [part.subset(torch.randperm(len(part), generator=draw)[:n].sort().values) for part in (splits.forget, unseen)]
    if n < 2:
        run.note("too few images to tell forgotten from unseen ones: the accuracy alone chose the model")

    def losses(part: Split) -> Tensor:
        return cross_entropy(run.logits(model, part, "scoring"), part.y.to(run.device))

    def score() -> float:
        accuracy = run.correct(model, kept) / len(kept) if len(kept) else 0.0
        if n < 2:
            return accuracy
        found = forgetting_score(*map(losses, sides), seeded(run.seed, "gli", "splits"))
        return final_score(accuracy, 0.5 if found is None else found)

    return score
