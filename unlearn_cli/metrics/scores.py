"""The MUFAC / MUCAC benchmark's scores: can one threshold on the loss tell forgotten from unseen images?

Unseen are the test images of the forgotten classes, or all test images when the request names images.
"""

from unlearn_cli.metrics.accuracy import accuracy
from unlearn_cli.metrics.enough import too_few
from unlearn_cli.metrics.membership import unmixed_sides
from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure

SOURCE = "MUFAC / MUCAC benchmark (Choi and Na 2023), as its code computes it"
LARGEST = 1e3
UNEVEN = 0.005          # a floor that shows in two decimals


@metric(better="lower", instances="reference", unit="score", most=0.5, short="forgetting score", source=SOURCE)
def forgetting_score(evidence: Evidence) -> Measure:
    """How far a regression on losses is from a coin toss when it tells forgotten from unseen images.

    |1/2 - M|, M the regression's mean accuracy over ten stratified random splits. The forget set is cut to the size of
    the unseen images, which are never cut: where these are more, even a retrained model does not reach 0, but the
    `floor` in the detail, which guessing the larger side gives.
    """
    import torch

    from unlearn_cli.ops import scores

    losses, reason = losses_of_sides(evidence)
    if reason:
        return Measure(None, reason)
    forget, unseen = losses
    most = max(forget.max(), unseen.max())
    # Larger losses are beyond what the fit resolves; the benchmark's solver, too, stops short of the minimum there. Its
    # penalty hardly counts at this scale, so that a common factor changes little else.
    scale = LARGEST / most if most > LARGEST else 1.0
    draws = torch.Generator().manual_seed(evidence.seed)
    value = scores.forgetting_score(forget * scale, unseen * scale, draws)
    if value is None:
        return Measure(None, "the attack's regression did not converge")
    n, m = min(len(forget), len(unseen)), len(unseen)
    floor = m / (n + m) - 0.5
    note = f"{n:,} forgotten against {m:,} unseen images, which are never cut: guessing scores {floor:.2f}"
    return Measure(value, detail={"n": n, "n_unseen": m, "floor": floor} | ({"note": note} if floor >= UNEVEN else {}))


@metric(better="reference", instances="higher", unit="score", most=1, about="both", short="final score", source=SOURCE)
def final_score(evidence: Evidence) -> Measure:
    """Test accuracy and forgetting score in one number: (accuracy + 1 - 2·score) / 2.

    The accuracy is that of all test images, forgotten classes included: where the request names classes, a model that
    remembers gains by it, and only the reference's value is a goal.
    """
    from unlearn_cli.ops import scores

    right, forgetting = accuracy(evidence, "test"), forgetting_score(evidence)
    if right.value is None or forgetting.value is None:
        return Measure(None, right.reason or forgetting.reason)
    note = {"note": forgetting.detail["note"]} if "note" in forgetting.detail else {}
    return Measure(scores.final_score(right.value, forgetting.value), detail=note)


def losses_of_sides(evidence: Evidence):
    """Losses of the forget set and of the unseen images, (n,) and (m,) float64; or None, and the reason."""
    places = unmixed_sides(evidence)
    if few := too_few(*map(len, places)):
        return None, few.reason
    losses = [evidence.losses(index) for index in places]
    if infinite := sum(int(x.isinf().sum()) for x in losses):
        return None, f"the loss is infinite for {infinite:,} of {sum(map(len, losses)):,} images"
    return losses, ""
