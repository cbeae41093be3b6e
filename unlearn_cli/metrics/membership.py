"""Can an attacker tell the forgotten images from images the model never saw, by their losses?

Members are the forget set; non-members are the test images of the forgotten classes, or all test images when the
request names images. The best value is the reference's, near one half: far below it is as telling as far above.
"""

from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure

CLIP = 100.0            # methods that ascend the loss leave huge ones, which would rule the fit
FOLDS = 10
FEW = 20


@metric(better="reference", short="MIA accuracy", source="SULI, after Kurmanji et al. 2023: attack on losses")
def membership_accuracy(evidence: Evidence) -> Measure:
    """Accuracy of a logistic regression on losses that separates forgotten from unseen images, ten-fold."""
    import torch

    from unlearn_cli.ops import logistic

    forget, unseen = sides(evidence)
    n = min(len(forget), len(unseen))
    if n < 2:
        return too_few(n)
    draws = torch.Generator().manual_seed(evidence.seed)
    members, others = (index[torch.randperm(len(index), generator=draws)[:n]] for index in (forget, unseen))
    losses = evidence.losses(torch.cat([members, others])).clamp(-CLIP, CLIP)
    is_member = torch.arange(2 * n) < n

    folds = min(FOLDS, n)
    fold = torch.arange(n).remainder(folds).repeat(2)      # both sides are in random order already
    scores = logistic.cross_validate(losses, is_member, fold)
    if scores is None:
        return Measure(None, "the attack's regression did not converge")
    note = f"{n} images on each side" if n >= FEW else f"only {n} images on each side, in {folds} folds: says little"
    detail = {"n": n, "folds": folds, "std": scores.std(correction=0).item(), "note": note}
    return Measure(scores.mean().item(), detail=detail)


@metric(better="reference", unit="score", most=1, short="MIA AUC", source="threshold-free form of the loss attack")
def membership_auc(evidence: Evidence) -> Measure:
    """Chance that a forgotten image has a smaller loss than an unseen one; ties count half."""
    import torch

    forget, unseen = sides(evidence)
    if min(len(forget), len(unseen)) < 2:
        return too_few(min(len(forget), len(unseen)))
    own, others = evidence.losses(forget), evidence.losses(unseen).sort().values
    not_larger = torch.searchsorted(others, own, right=True)
    smaller = torch.searchsorted(others, own)
    # A win counts two and a tie one: whole numbers, so that the sum is exact.
    wins = int((2 * len(others) - not_larger - smaller).sum())
    return Measure(wins / (2 * len(forget) * len(unseen)), detail={"n": len(forget), "n_unseen": len(unseen)})


def sides(evidence: Evidence):
    """Positions of the forget set, and of the images it is told from."""
    forget, unseen = evidence.split("forget"), evidence.split("forget_test" if evidence.is_class else "test")
    return [() if index is None else index for index in (forget, unseen)]


def too_few(n: int) -> Measure:
    return Measure(None, f"needs at least 2 images on each side, there {'is' if n == 1 else 'are'} {n}")
