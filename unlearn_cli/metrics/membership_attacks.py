"""Would an attacker who knows retained and unseen images take the forgotten ones for retained or for unseen?

The attacks learn a threshold from images whose membership is known. The best value is the reference's; `low` and `high`
in the details are the 95 % interval of the share, the threshold taken as given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_cli.metrics.accuracy import ABSENT
from unlearn_cli.metrics.enough import too_few
from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure

if TYPE_CHECKING:
    from torch import Tensor

PER_CLASS = 100         # images on both sides from which on a class has a threshold of its own
NO_THRESHOLD = "no threshold tells this model's retained images from unseen ones"
SMIRNOV = 1.358         # exceeded by chance once in twenty, times sqrt(2 / n)


@metric(better="reference", title="MIA efficacy", short="MIA efficacy", source="after Jia et al. 2023")
def membership_efficacy(evidence: Evidence) -> Measure:
    """Share of the forget set called unseen by the threshold that best tells retained images from unseen ones.

    The threshold on the true class's confidence is fitted on as many retained as unseen images, each class for itself
    where both sides have 100 of it. For requests that name classes the unseen ones are of retained classes only, or the
    attack would learn the forgotten class itself. `unseen_share` applies the same threshold to the unseen peers of the
    forget set: what a model that never saw the set would come to.
    """
    import torch

    from unlearn_cli.ops import roc
    from unlearn_cli.ops.attack_scores import margin
    from unlearn_cli.ops.binomial import clopper_pearson

    given = known_sides(evidence)
    if isinstance(given, Measure):
        return given
    forget, retain, unseen = given
    n = min(len(retain), len(unseen))
    if few := too_few(n, n):
        return few
    draws = torch.Generator().manual_seed(evidence.seed)
    members, others = (index[torch.randperm(len(index), generator=draws)[:n]] for index in (retain, unseen))
    labels = evidence.labels

    def scores(index: Tensor) -> Tensor:
        return evidence.scores(margin, index)

    known = [(scores(index), labels[index]) for index in (members, others)]
    cut, accuracy = roc.best_threshold(known[0][0], known[1][0])
    if accuracy == 0.5:
        return Measure(None, NO_THRESHOLD)
    cuts = torch.full((evidence.logits.shape[1],), cut, dtype=torch.float64)
    own = 0
    often = torch.stack([of.bincount(minlength=len(cuts)) for _, of in known]).amin(0) >= PER_CLASS
    for label in labels[forget].unique()[often[labels[forget].unique()]].tolist():
        if (best := roc.best_threshold(*(score[label == of] for score, of in known)))[1] > 0.5:
            cuts[label], own = best[0], own + 1

    def called_unseen(index: Tensor) -> int:
        return int((scores(index) < cuts[labels[index]]).sum())

    hits, n_forget = called_unseen(forget), len(forget)
    low, high = clopper_pearson(hits, n_forget)
    detail = {"n": n_forget, "low": low, "high": high, "fitted_on": 2 * n, "balanced_accuracy": accuracy, "thresholds": own or 1}
    peers = evidence.unseen if evidence.kind == "classes" else others[torch.isin(labels[others], labels[forget])]
    if peers is not None and len(peers):
        detail["unseen_share"] = called_unseen(peers) / len(peers)
    return Measure(hits / n_forget, detail=detail | weakness(accuracy, n))


@metric(better="reference", title="population attack's success", short="population attack", source="TMU, after Ye et al. 2022")
def population_attack(evidence: Evidence) -> Measure:
    """Share of the forget set that the population attack calls members: loss below a quantile of unseen images' losses.

    The quantile is the one that best tells retained images from unseen ones. Half of the unseen images choose it, against
    as many retained images of each class; the other half is the population. All have the forget set's classes in its
    proportions, or, where classes are forgotten, are of retained classes. A model that never saw the forget set comes to
    the attack's false-positive rate on such images, not to 0 and not to 1/2.
    """
    import torch

    from unlearn_cli.ops import roc
    from unlearn_cli.ops.binomial import clopper_pearson
    from unlearn_cli.ops.population_attack import alike, population_success

    given = known_sides(evidence)
    if isinstance(given, Measure):
        return given
    forget, retain, unseen = given
    labels = evidence.labels
    wanted = None if evidence.kind == "classes" else labels[forget]
    found = alike(labels[retain], labels[unseen], wanted, torch.Generator().manual_seed(evidence.seed))
    members, others, population = retain[found[0]], unseen[found[1]], unseen[found[2]]
    n = len(others)
    if few := too_few(n, n):
        there = f"{few.reason}, half of the unseen images of classes that are retained too"
        return Measure(None, there)
    losses = [evidence.losses(index) for index in (forget, members, others, population)]
    detail = population_success(*losses)
    if detail["balanced_accuracy"] == 0.5:
        return Measure(None, NO_THRESHOLD)
    low, high = clopper_pearson(detail["called_members"], len(forget))
    detail |= {"n": len(forget), "low": low, "high": high, "fitted_on": 2 * n, "population": len(population)}
    detail["retain_auc"] = roc.auc(-losses[1], -losses[2])
    for name, rate in (("retain_tpr_at_1_percent", 0.01), ("retain_tpr_at_0_1_percent", 0.001)):
        if roc.false_positives(n, rate):
            detail[name] = roc.tpr_at(-losses[1], -losses[2], rate)
    return Measure(detail["called_members"] / len(forget), detail=detail | weakness(detail["balanced_accuracy"], n))


def known_sides(evidence: Evidence) -> tuple[Tensor, Tensor, Tensor] | Measure:
    """Positions of the forget set, and of the retained and the unseen images that an attack may learn from."""
    names = ("forget", "retain", evidence.strangers)
    found = [evidence.split(name) for name in names]
    missing = next((name for name, index in zip(names, found, strict=True) if index is None), None)
    return Measure(None, ABSENT[missing]) if missing else tuple(found)


def weakness(accuracy: float, n: int) -> dict[str, str]:
    """A caution where a best balanced accuracy on n images of each side is what chance gives in one of twenty cases.

    Twice its excess over 1/2 is Smirnov's largest distance between two samples of one distribution.
    """
    if 2 * accuracy - 1 <= SMIRNOV * (2 / n) ** 0.5:
        return {"note": "the attack cannot tell this model's retained images from unseen ones either: says little"}
    return {}
