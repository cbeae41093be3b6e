"""What do other models say of the same image? Attacks that judge each image against models that did, or did not, see it.

References never saw the forget set; shadows were trained with it and forgot it. The best value is the reference's.
Intervals (`low`, `high`) and `noise_std` are over images: the models are taken as given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_cli.metrics.enough import too_few
from unlearn_cli.metrics.membership import auc_measure, sides, tpr_measure
from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure

if TYPE_CHECKING:
    from torch import Generator, Tensor

RMIA = "RMIA, Zarifzadeh et al. 2024"
ULIRA = "U-LiRA, Hayes et al. 2024"
POPULATION = 2000       # images that RMIA's authors advise


@metric(better="reference", unit="score", most=1, needs=("reference",), title="RMIA AUC", short="RMIA AUC", source=RMIA)
def rmia_auc(evidence: Evidence) -> Measure:
    """AUC of the relative attack: how much more the model knows an image than references do, against a population.

    Unseen images of the forget set's classes are cut in two: half are attacked as non-members, half are the population.
    An image's score is its rank among the population, so the population has to be of the same classes: beside test images
    of retained classes, every image of a forgotten class would rank lowest, and a model that remembers could not be told.
    """
    given = rmia(evidence)
    return given if isinstance(given, Measure) else with_detail(auc_measure(*given[:2]), given[2])


@metric(better="reference", needs=("reference",), title="RMIA TPR at 1 % FPR", short="RMIA TPR at 1 %", source=RMIA)
def rmia_tpr_at_1_percent(evidence: Evidence) -> Measure:
    """Share of forgotten images that the relative attack finds when it may call 1 % of the unseen ones members."""
    given = rmia(evidence)
    return given if isinstance(given, Measure) else with_detail(tpr_measure(*given[:2], 0.01), given[2])


@metric(
    better="reference", unit="score", most=1, needs=("reference", "shadow"), title="likelihood-ratio AUC (U-LiRA)",
    short="U-LiRA AUC", source=ULIRA,
)
def likelihood_ratio_auc(evidence: Evidence) -> Measure:
    """AUC of the likelihood ratio between models that forgot the set and models that never saw it, image by image.

    Each image's margin is judged by two Gaussians: over the shadow models, which were trained with the forget set and forgot
    it by the same method, and over the references. An unseen image is judged by the same two kinds of model, so what the
    method does to every image cancels, and what is left is what it does to the forgotten ones. The references are
    retrained, not unlearned: the question is how far forgetting leads from never having seen.
    """
    from unlearn_cli.ops import roc

    given = likelihood_ratios(evidence)
    if isinstance(given, Measure):
        return given
    members, others, detail = given
    detail["balanced_accuracy"] = roc.best_threshold(members, others)[1]
    detail["most_exposed"] = members.quantile(0.99).item()
    if roc.false_positives(len(others), 0.001):
        detail["tpr_at_0_1_percent"] = roc.tpr_at(members, others, 0.001)
    return with_detail(auc_measure(members, others), detail)


@metric(
    better="reference", needs=("reference", "shadow"), title="likelihood-ratio TPR at 1 % FPR (U-LiRA)",
    short="U-LiRA TPR at 1 %", source=ULIRA,
)
def likelihood_ratio_tpr(evidence: Evidence) -> Measure:
    """Share of forgotten images that the likelihood ratio finds when it may call 1 % of the unseen ones members."""
    given = likelihood_ratios(evidence)
    return given if isinstance(given, Measure) else with_detail(tpr_measure(*given[:2], 0.01), given[2])


def rmia(evidence: Evidence) -> tuple[Tensor, Tensor, dict] | Measure:
    """RMIA scores of forgotten and of unseen images, and what belongs to them."""
    import torch

    from unlearn_cli.ops.attack_scores import margin
    from unlearn_cli.ops.ratio_attacks import log_ratio, rmia_scores

    if reason := evidence.not_comparable():
        return Measure(None, reason)
    forget, unseen = peers(evidence, torch.Generator().manual_seed(evidence.seed))
    population, others = unseen[: len(unseen) // 2], unseen[len(unseen) // 2 :]
    if few := too_few(len(forget), len(population)):
        return Measure(None, f"{few.reason}: half of the {len(unseen)} unseen images are the population")

    def ratios(index: Tensor) -> Tensor:
        theirs = torch.stack([evidence.scores(margin, index, other) for other in evidence.references])
        return log_ratio(evidence.scores(margin, index), theirs)

    among = ratios(population)
    detail = {"references": len(evidence.references), "population": len(population)}
    if len(population) < POPULATION:
        detail["note"] = f"a population of {len(population):,} images; {POPULATION:,} are advised"
    return rmia_scores(ratios(forget), among), rmia_scores(ratios(others), among), detail


def likelihood_ratios(evidence: Evidence) -> tuple[Tensor, Tensor, dict] | Measure:
    """U-LiRA scores of forgotten and of unseen images, and what belongs to them."""
    import torch

    from unlearn_cli.ops.attack_scores import margin
    from unlearn_cli.ops.ratio_attacks import likelihood_ratio

    for kind in ("reference", "shadow"):
        if reason := evidence.not_comparable(kind, fewest=2):
            return Measure(None, reason)
    forget, unseen = peers(evidence, torch.Generator().manual_seed(evidence.seed))
    if few := too_few(len(forget), len(unseen)):
        return few
    index = torch.cat([forget, unseen])
    own = evidence.scores(margin, index)
    inside, outside = (
        torch.stack([evidence.scores(margin, index, other) for other in models])
        for models in (evidence.shadows, evidence.references)
    )
    scores = likelihood_ratio(own, inside, outside)
    if scores is None:
        return Measure(None, "the shadow models, or the references, all say the same of every image: no spread to judge by")
    detail = {"references": len(evidence.references), "shadows": len(evidence.shadows)}
    return scores[: len(forget)], scores[len(forget) :], detail


def peers(evidence: Evidence, draws: Generator) -> tuple[Tensor, Tensor]:
    """The forget set, and the unseen images of its classes in random order."""
    import torch

    forget, unseen = sides(evidence)
    return forget, unseen[torch.randperm(len(unseen), generator=draws)]


def with_detail(measure: Measure, detail: dict) -> Measure:
    """The same number with more beside it."""
    return Measure(measure.value, measure.reason, measure.detail | detail)
