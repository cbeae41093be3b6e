"""The population attack: a loss below a quantile of unseen images' losses means member."""

import torch
from torch import Tensor

LEVELS = 100
LEAST_LEVEL = -5        # a power of ten
BEYOND = 1e-4
LARGEST = 1e9           # losses are cut here: between two infinite ones there is no quantile


def thresholds(population: Tensor) -> Tensor:
    """(100,) losses below which an image is called a member, for false-positive rates from 1e-5 to 1, evenly in the log.

    Each is the quantile of the population's losses at its rate, by linear interpolation; the first lies just below all of
    them, the last just above.

    Source: Ye et al., "Enhanced Membership Inference Attacks", 2022, and its first public code.
    """
    rates = torch.logspace(LEAST_LEVEL, 0, LEVELS, dtype=torch.float64)
    cuts = population.double().quantile(rates.clamp(max=1))
    cuts[0], cuts[-1] = population.min() - BEYOND, population.max() + BEYOND
    return cuts


def population_success(forget: Tensor, members: Tensor, others: Tensor, population: Tensor) -> dict[str, float]:
    """How many forgotten images are called members at the threshold that is best on images whose membership is known.

    Args:
        forget, members, others, population: (n,) losses: attacked, retained, unseen, and unseen of the population.

    Returns:
        called_members, a count, and what chose the threshold: balanced_accuracy, false_positive_rate, threshold.
    """
    forget, members, others, population = (x.clamp(-LARGEST, LARGEST) for x in (forget, members, others, population))
    cuts = thresholds(population)
    hits, false = (torch.searchsorted(x.sort().values, cuts) for x in (members, others))         # strictly below
    gain = hits * len(others) - false * len(members)               # whole numbers: equal is equal
    best = int(gain.argmax())
    return {
        "called_members": int((forget < cuts[best]).sum()),
        "balanced_accuracy": 0.5 + int(gain[best]) / (2 * len(members) * len(others)),
        "false_positive_rate": int(false[best]) / len(others),
        "threshold": cuts[best].item(),
    }


def alike(retain: Tensor, unseen: Tensor, composition: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw calibration sets of one class composition, and a population disjoint from them.

    Args:
        retain: (n,) labels of retained images; unseen: (m,) labels of images that no model saw.
        composition: labels of the attacked images; the sets have their proportions, as far as there are images. None
            takes the proportions of the unseen ones.

    Returns:
        Positions of members in `retain`, and of non-members and of the population in `unseen`. There are as many members
        as non-members in each class, and as many as these, or one more, in the population.
    """
    classes = 1 + int(torch.cat([retain, unseen, unseen.new_zeros(1)]).max())
    most = torch.minimum(unseen.bincount(minlength=classes), 2 * retain.bincount(minlength=classes))
    if composition is not None:
        most = proportional(most, composition)
    drawn, rank = of_each_class(unseen, most, generator)
    members, _ = of_each_class(retain, most // 2, generator)
    return members, drawn[rank % 2 == 1], drawn[rank % 2 == 0]


def in_proportion(labels: Tensor, composition: Tensor, generator: torch.Generator) -> Tensor:
    """Positions, in order, of as many images as there can be with the class proportions of `composition`, drawn at random.

    Classes of which there is no image are left out of the proportions.
    """
    have = labels.bincount(minlength=1 + int(composition.max()) if len(composition) else 0)
    return of_each_class(labels, proportional(have, composition), generator)[0].sort().values


def proportional(have: Tensor, composition: Tensor) -> Tensor:
    """(K,) the most images of each class, up to `have`, in the proportions of the labels in `composition`."""
    wanted = composition[composition < len(have)].bincount(minlength=len(have)) * (have > 0)
    scarcest = min(((int(most), int(want)) for most, want in zip(have, wanted, strict=True) if want),
                   key=lambda pair: pair[0] / pair[1], default=(0, 1))  # fmt: skip
    return wanted * scarcest[0] // scarcest[1]


def of_each_class(labels: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions of counts[c] images of each class c (all, where there are fewer) drawn at random, and their rank in the draw."""
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    sorted_labels, sizes = labels[order], labels.bincount(minlength=len(counts))
    rank = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[sorted_labels]
    kept = rank < counts[sorted_labels]
    return order[kept], rank[kept]
