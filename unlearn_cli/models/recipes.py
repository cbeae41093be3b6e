"""How an architecture is trained when nobody says otherwise, as numbers and functions of the step."""

from dataclasses import dataclass
from typing import Annotated, Literal

from unlearn_cli.settings import setting


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Nesterov SGD with a triangular rate and lookahead averaging; `dataclasses.replace` changes a number.

    A step is `g = grad + weight_decay * w;  v = momentum * v + g;  w -= rate * (g + momentum * v)`, with v starting at
    zero and the gradient that of the batch's mean loss. For the biases of BatchNorm layers the rate is multiplied by
    `norm_bias_scale` and the decay divided by it, so that they move faster without decaying faster.
    """

    epochs: Annotated[int, setting("passes over the training images", ge=1)]
    lr: Annotated[float, setting("the highest rate, for the mean loss of a batch", gt=0)]
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128
    momentum: Annotated[float, setting("of SGD, with Nesterov's look-ahead", ge=0, lt=1)] = 0.85
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0
    norm_bias_scale: Annotated[float, setting("factor on the rate of BatchNorm's biases", gt=0)] = 1.0
    label_smoothing: Annotated[float, setting("share of the label spread over all classes", ge=0, lt=1)] = 0.0
    peak: Annotated[float, setting("where the rate is highest, as a fraction of all steps", ge=0, lt=1)] = 0.25
    start: Annotated[float, setting("rate of the first step, as a fraction of the highest", ge=0, le=1)] = 0.2
    end: Annotated[float, setting("rate of the last step, as a fraction of the highest", ge=0, le=1)] = 0.0
    lookahead_every: Annotated[int, setting("steps between two averagings; 0 for none", ge=0)] = 0
    lookahead_decay: Annotated[float, setting("of the slow weights, per step, as the training ends", ge=0, le=1)] = 0.95
    crop_padding: Annotated[int, setting("pixels of reflection per side, of which a crop is taken", ge=0, le=12)] = 2
    flip: Annotated[Literal["none", "random", "alternating"], setting("mirror images left to right")] = "random"
    frozen: tuple[str, ...] = ()  # parameters that `prepare` has set and training must leave alone

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 <= step < steps: a straight line up to the peak, another one down."""
        top = self.peak * steps
        if step < top:
            share = self.start + (1 - self.start) * step / top
        else:
            share = self.end + (1 - self.end) * (steps - step) / (steps - top)
        return self.lr * share

    def average(self, step: int, steps: int) -> float | None:
        """How much of the slow weights stays once `step` steps of `steps` are done; None: no averaging now.

        When not None, with s the slow weights (at first a copy) and w the network's, BatchNorm's statistics included,
        `s = keep * s + (1 - keep) * w;  w = s`. Slow weights follow closely at first and less and less later.
        Trainings too short for ten averagings have none: they would end close to where they began.
        """
        if self.lookahead_every == 0 or steps < 10 * self.lookahead_every or step % self.lookahead_every:
            return None
        return self.lookahead_decay**self.lookahead_every * (step / steps) ** 3


def general(attention: bool) -> Recipe:
    """For networks that nobody here tuned a recipe for.

    Args:
        attention: whether it is made of attention layers.
    """
    return Recipe(epochs=10, lr=0.01 if attention else 0.05, momentum=0.9, weight_decay=5e-4, label_smoothing=0.1)
