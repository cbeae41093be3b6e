"""What can be learned of forgotten classes from a model's features: by probes, from a few images, by new rows of its head."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn_cli.ops import probes

SHOTS = (1, 5, 10)
DRAWS = 20
PROBE_DRAWS = 5


@dataclass(frozen=True)
class Knowledge:
    """What the features of one model tell of the forgotten classes' test images.

    Args:
        probe: accuracy of a probe trained on all classes; probes, prototypes: accuracies by the number of images.
        separation: mean over images of (1 + difference of cosines) / 2, from -0.5 to 1.5; separations: (n,) of each.
        centre: (d,) mean over retained classes of their mean feature.
        n: test images.
    """

    probe: float
    probes: dict[int, float]
    prototypes: dict[int, float]
    separation: float
    centre: Tensor = field(repr=False)
    n: int
    separations: Tensor = field(repr=False)


def learn(
    features: Tensor, labels: Tensor, classes: int, forget: Tensor, retain: Tensor, held: Tensor, seed: int
) -> Knowledge | None:
    """Learn of (N, d) features of images with (N,) labels, and look at the forgotten classes' test images.

    Args:
        classes: how many the head tells apart.
        forget, retain: positions of what is learned from; held: of what is looked at, all of classes in forget.
        seed: of the draws.

    Returns:
        None when the features are the same for every image.
    """
    forget_x, forget_y, held_x, held_y = features[forget], labels[forget], features[held], labels[held]
    others = probes.gather(features, labels, classes, index=retain)
    gone = probes.gather(forget_x, forget_y, classes, others.centre)
    probe = probes.ridge(others + gone)
    if probe is None:
        return None
    centre = others.centre + others.means[others.present].mean(0)
    means = others.centre + others.means + gone.means
    rivals, present = means[others.present], others.present | gone.present

    prototypes, few = {}, {}
    for k, picks in draws(forget_y, seed).items():
        prototypes[k] = mean(probes.few_shot_accuracy(held_x, held_y, rivals, forget_x, forget_y, centre, picks))
        shots = (probes.gather(forget_x[pick], forget_y[pick], classes, others.centre) for pick in picks[:PROBE_DRAWS])
        few[k] = mean([probes.ridge(others + shot).accuracy(held_x, held_y) for shot in shots])
    place = present.cumsum(0) - 1
    apart = probes.separation(held_x, place[held_y], means[present], centre)
    middle = (1 + apart.mean().item()) / 2
    return Knowledge(probe.accuracy(held_x, held_y), few, prototypes, middle, centre, len(held), (1 + apart) / 2)


def draws(labels: Tensor, seed: int) -> dict[int, Tensor]:
    """Positions into (n,) labels, (DRAWS, m) for each k of SHOTS: k images of each class or all it has, class by class."""
    generator, classes = torch.Generator().manual_seed(seed), labels.unique()

    def draw(k: int) -> Tensor:
        mixed = torch.randperm(len(labels), generator=generator)
        y = labels[mixed]
        return torch.cat([mixed[y == c][:k] for c in classes])

    return {k: torch.stack([draw(k) for _ in range(DRAWS)]) for k in SHOTS}


def restored(
    features: Tensor, labels: Tensor, logits: Tensor, head: tuple[Tensor, Tensor | None], centre: Tensor,
    forget: Tensor, held: Tensor, kept: Tensor | None, seed: int,
) -> tuple[dict[int, float], dict[int, float]]:  # fmt: skip
    """How often the head is right once its rows for the forgotten classes point to a few images' mean feature.

    Args:
        features, labels, logits: (N, d), (N,) and (N, K) of all images; centre: (d,) as `Knowledge` has it.
        head: float64 weight and bias.
        forget: positions to draw from; held: of images of these classes; kept: of images of the other classes.

    Returns:
        By the number of images, the mean over draws of the accuracy on held and, where there are any, on kept images.
    """
    shots, y = features[forget].double(), labels[forget]
    classes = y.unique()
    stays = torch.ones(logits.shape[1], dtype=torch.bool).index_fill(0, classes, False)
    weight, bias = (None if part is None else part[stays] for part in head)

    def look(index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, labels, and logits in which no forgotten class can win: the other rows do not change."""
        return features[index].double(), labels[index], logits[index].index_fill(1, classes, -torch.inf)

    held_x, held_y, held_rivals = look(held)
    own, best = torch.searchsorted(classes, held_y), held_rivals.amax(1).double()
    if kept is not None:
        kept_x, kept_y, kept_rivals = look(kept)
        was_right, bound = kept_rivals.argmax(1) == kept_y, kept_rivals.amax(1).double()
    again, still = {}, {}
    for k, picks in draws(y, seed).items():
        rows, biases = probes.rows_towards(probes.means_of_draws(shots, y, picks, classes), centre, weight, bias)
        hits = [probes.wins(score(held_x[part], rows, biases), own[part], best[part])
                for part in probes.in_parts(len(held_x), rows)]  # fmt: skip
        again[k] = mean(probes.shares(torch.cat(hits)))
        if kept is not None:
            unbeaten = [score(kept_x[part], rows, biases).amax(2) <= bound[part, None]
                        for part in probes.in_parts(len(kept_x), rows)]  # fmt: skip
            still[k] = mean(probes.shares(torch.cat(unbeaten) & was_right[:, None]))
    return again, still


def score(x: Tensor, rows: Tensor, biases: Tensor | None) -> Tensor:
    """(n, d) features under (D, m, d) rows of a head, (D, m) biases -> (n, D, m)."""
    scores = (x @ rows.flatten(0, 1).T).unflatten(1, rows.shape[:2])
    return scores if biases is None else scores + biases


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
