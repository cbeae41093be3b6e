"""Can an attacker tell the forgotten images from images the model never saw, by what the model says of each?

Members are the forget set; non-members are test images of its classes, in its proportions: an image of a difficult class
has a large loss whether it was seen or not. The best value is the reference's, near one half: far below it is as telling as
far above.

Beside every AUC and every TPR stand, in the details, its 95 % interval over images (`low`, `high`) and what chance alone
does at this sample size (`noise_std`, and for a TPR its mean `chance`). An attack that finds nothing on the original
either proves nothing: compare the original's row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unlearn_cli.metrics.enough import too_few
from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure

if TYPE_CHECKING:
    from torch import Tensor

SONG = "Song and Mittal 2021"
CARLINI = "Carlini et al. 2022: low false-positive rates"
CLIP = 100.0            # methods that ascend the loss leave huge ones, which would rule the fit
FOLDS = 10


@metric(better="reference", short="MIA accuracy", source="SULI, after Kurmanji et al. 2023: attack on losses")
def membership_accuracy(evidence: Evidence) -> Measure:
    """Accuracy of a logistic regression on losses that separates forgotten from unseen images, ten-fold."""
    import torch

    from unlearn_cli.ops import logistic

    forget, unseen = sides(evidence)
    n = min(len(forget), len(unseen))
    if few := too_few(n, n):
        return few
    draws = torch.Generator().manual_seed(evidence.seed)
    members, others = (index[torch.randperm(len(index), generator=draws)[:n]] for index in (forget, unseen))
    losses = evidence.losses(torch.cat([members, others])).clamp(-CLIP, CLIP)
    is_member = torch.arange(2 * n) < n

    fold = torch.arange(n).remainder(FOLDS).repeat(2)      # both sides are in random order already
    scores = logistic.cross_validate(losses, is_member, fold)
    if scores is None:
        return Measure(None, "the attack's regression did not converge")
    note = f"{n} images on each side"
    detail = {"n": n, "n_unseen": n, "folds": FOLDS, "std": scores.std(correction=0).item(), "note": note}
    return Measure(scores.mean().item(), detail=detail)


@metric(better="reference", unit="score", most=1, short="MIA AUC", source="threshold-free form of the loss attack")
def membership_auc(evidence: Evidence) -> Measure:
    """Chance that a forgotten image has a smaller loss than an unseen one; ties count half."""
    return on_sides(evidence, minus_losses, auc_measure)


@metric(better="reference", unit="score", most=1, short="MIA AUC, confidence", source=SONG)
def confidence_auc(evidence: Evidence) -> Measure:
    """Chance that the true class is likelier on a forgotten image than on an unseen one.

    The loss attack in other words: the two numbers differ only where losses round to the same one.
    """
    return by_score(evidence, "margin")


@metric(better="reference", unit="score", most=1, short="MIA AUC, entropy", source=SONG)
def entropy_auc(evidence: Evidence) -> Measure:
    """Chance that the prediction on a forgotten image has less entropy than that on an unseen one; no label is read."""
    return by_score(evidence, "negative_entropy")


@metric(
    better="reference", unit="score", most=1, title="membership AUC, modified entropy", short="MIA AUC, m. entropy",
    source=SONG,
)
def modified_entropy_auc(evidence: Evidence) -> Measure:
    """The same for the modified entropy, which is small only for certain predictions that are right."""
    return by_score(evidence, "negative_modified_entropy")


@metric(better="reference", unit="score", most=1, short="MIA AUC, correct", source=SONG)
def correctness_auc(evidence: Evidence) -> Measure:
    """One half, plus half of by how much more often forgotten images are classified correctly than unseen ones."""
    return on_sides(evidence, lambda e, index: e.correct[index].double(), auc_measure)


@metric(better="reference", title="membership TPR at 1 % FPR", short="TPR at 1 % FPR", source=CARLINI)
def tpr_at_1_percent(evidence: Evidence) -> Measure:
    """Share of forgotten images with smaller losses than all but 1 % of the unseen ones."""
    return on_sides(evidence, minus_losses, lambda members, others: tpr_measure(members, others, 0.01))


@metric(better="reference", title="membership TPR at 0.1 % FPR", short="TPR at 0.1 % FPR", source=CARLINI)
def tpr_at_0_1_percent(evidence: Evidence) -> Measure:
    """Share of forgotten images with smaller losses than all but 0.1 % of the unseen ones."""
    return on_sides(evidence, minus_losses, lambda members, others: tpr_measure(members, others, 0.001))


def minus_losses(evidence: Evidence, index: Tensor) -> Tensor:
    return -evidence.losses(index)


def by_score(evidence: Evidence, name: str) -> Measure:
    """The AUC of one of the scores in `ops.attack_scores`."""
    from unlearn_cli.ops import attack_scores

    score = getattr(attack_scores, name)
    return on_sides(evidence, lambda e, index: e.scores(score, index), auc_measure)


def on_sides(
    evidence: Evidence, score: Callable[[Evidence, Tensor], Tensor], summary: Callable[[Tensor, Tensor], Measure]
) -> Measure:
    """A number from the scores of forgotten and of unseen images."""
    forget, unseen = sides(evidence)
    if few := too_few(len(forget), len(unseen)):
        return few
    return summary(score(evidence, forget), score(evidence, unseen))


def auc_measure(members: Tensor, others: Tensor) -> Measure:
    """The AUC of two or more scores on each side, larger ones meaning members."""
    from unlearn_cli.ops import roc

    low, high = roc.auc_interval(members, others)
    detail = {"n": len(members), "n_unseen": len(others), "low": low, "high": high, "noise_std": roc.auc_noise(members, others)}
    return Measure(roc.auc(members, others), detail=detail)


def tpr_measure(members: Tensor, others: Tensor, rate: float) -> Measure:
    """The TPR at a false-positive rate; at least one unseen image has to be let through to speak of a rate."""
    from unlearn_cli.ops import roc

    n, m = len(members), len(others)
    if roc.false_positives(m, rate) < 1:
        fewest = f"{round(1 / rate):,} unseen images for a false-positive rate of {100 * rate:g} %"
        return Measure(None, f"needs {fewest}, there are {m:,}")
    low, high = roc.tpr_interval(members, others, rate)
    chance, noise = roc.tpr_noise(n, m, rate)
    detail = {"n": n, "n_unseen": m, "low": low, "high": high, "chance": chance, "noise_std": noise}
    return Measure(roc.tpr_at(members, others, rate), detail=detail)


def sides(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Positions of the forget set, and of the unseen images it is told from: as many as its mix of classes allows."""
    import torch

    from unlearn_cli.ops.population_attack import in_proportion

    forget, unseen = (torch.as_tensor(index, dtype=torch.int64) for index in unmixed_sides(evidence))
    draws = torch.Generator().manual_seed(evidence.seed)
    return forget, unseen[in_proportion(evidence.labels[unseen], evidence.labels[forget], draws)]


def unmixed_sides(evidence: Evidence):
    """Positions of the forget set, and of the forgotten classes' test images, or all where the request names images."""
    return [() if index is None else index for index in (evidence.split("forget"), evidence.unseen)]
