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
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.batches import seeded
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.noise import at_rest
from unlearn_cli.techniques.pairing import pairs
from unlearn_cli.techniques.selection import scorer

DISTANCES = {
    "mse": lambda a, b: (a - b).square().mean(1),
    "l1": lambda a, b: vector_norm(a - b, 1, dim=1),
    "l2": lambda a, b: vector_norm(a - b, 2, dim=1),
    "cos": lambda a, b: -cosine_similarity(a, b, dim=1),
}
"""Of two (n, K) logits, per image -> (n,); larger is farther for all of them."""


@method("Guided Loss-Increasing", paper="GLI, CVPR workshops 2024", scope="class classes instances", reads="forget retain",
        quick={"epochs": 1, "select": False})  # fmt: skip
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
    select: Annotated[bool, setting("keep the best model on the selection set, else the last", opens={True: "selection"})] = True,
    patience: Annotated[int, setting("checks without a better score that end the run", when={"select": True}, ge=1)] = 3,
    check_every: Annotated[int, setting("batches between two checks", when={"select": True}, ge=1)] = 1,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    function, opt = run.pixels.into(model), run.optimizer(model, "sgd", lr=lr)
    score = scorer(run, model, splits, "gli") if select else None
    loss = splits.task.loss
    done, best, kept, at = 0, -math.inf, None, 0

    for epoch in run.epochs(epochs, "guided training", 2 * len(splits.retain)):
        draw = seeded(run.seed, "gli", "pairs", epoch)
        for part, f, r in pairs(run, splits.forget, splits.retain, batch_size, pairing, draw):
            with at_rest(model):
                w = w_start + (w_end - w_start) * part
                x = pushed(function, run.pixels.of(r.x), r.y, model(f.x), w, eta, steps, distance, loss)
            train_mode(model, bn)
            run.step(r.mean(loss(function(x), r.y)), opt)
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
    distance: str = "mse", loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
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
        rise = DISTANCES[distance](logits, goal) - w * loss(logits, y)
        (ascent,) = torch.autograd.grad(rise.sum(), delta)
        delta = delta.detach() + eta * ascent.sign()
    return (x + delta).clamp(0, 1)
