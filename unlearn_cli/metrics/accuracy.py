"""How often is the model right, on what it should forget and on what it should keep?

Accuracies are exact counts over whole splits, without augmentation; the forgotten class may still be predicted and is
never masked.
"""

from math import e, exp

from unlearn_cli.metrics.registry import CLASSES_ONLY, Evidence, metric
from unlearn_cli.metrics.report import Measure

ABSENT = {
    "forget": "there are no images to forget",
    "retain": "there are no images to retain",
    "forget_test": "there are no test images of forgotten classes",
    "retain_test": "there are no test images of retained classes",
    "test": "there are no test images",
}


@metric(better="lower", instances="reference", short="forget")
def forget_accuracy(evidence: Evidence) -> Measure:
    """Share of the forget set that is still classified correctly."""
    return accuracy(evidence, "forget")


@metric(better="lower", needs=("class",), short="forget test")
def forget_test_accuracy(evidence: Evidence) -> Measure:
    """Share of the forgotten classes' test images that are still classified correctly."""
    return accuracy(evidence, "forget_test")


@metric(better="higher", about="keeping", short="retain")
def retain_accuracy(evidence: Evidence) -> Measure:
    """Share of the retain set that is classified correctly."""
    return accuracy(evidence, "retain")


@metric(better="higher", about="keeping", short="retain test")
def retain_test_accuracy(evidence: Evidence) -> Measure:
    """Share of the retained classes' test images that are classified correctly."""
    return accuracy(evidence, "retain_test")


@metric(better="reference", instances="higher", about="keeping", short="test")
def test_accuracy(evidence: Evidence) -> Measure:
    """Share of all test images, forgotten classes included, that are classified correctly."""
    return accuracy(evidence, "test")


@metric(better="reference", instances="higher", about="keeping", short="top-2", source="MUFAC / MUCAC benchmark")
def top_two_accuracy(evidence: Evidence) -> Measure:
    """Share of all test images whose true class is among the model's first two choices."""
    index = evidence.split("test")
    if index is None:
        return Measure(None, ABSENT["test"])
    if evidence.logits.shape[1] < 3:
        return Measure(None, "with fewer than three classes every image would count")
    hits = evidence.scores(lambda logits, labels: evidence.task.place(logits, labels) < 2, index)
    return Measure(share(hits), detail={"correct": int(hits.sum()), "n": len(hits)})


@metric(
    better="higher", unit="score", most=1, about="both", needs=("class",), short="US", source="LAU, AAAI 2024, Eq. 8"
)
def unlearning_score(evidence: Evidence) -> Measure:
    """Retained and forgotten test accuracy in one number: 1 is perfect, 0.5 is the untouched or the useless model."""
    if evidence.kind == "images":
        return Measure(None, CLASSES_ONLY)
    kept, forgotten = accuracy(evidence, "retain_test"), accuracy(evidence, "forget_test")
    if kept.value is None or forgotten.value is None:
        return Measure(None, kept.reason or forgotten.reason)
    fewer = min(kept.detail["n"], forgotten.detail["n"])
    return Measure(us(kept.value, forgotten.value), detail={"n": fewer})


@metric(better="lower", needs=("reference",), short="Δ forget", source="TMU: gap to the retrained model, Delta")
def forget_accuracy_gap(evidence: Evidence) -> Measure:
    """Distance between the forget accuracies of this model and of the reference, averaged over references."""
    if not evidence.references:
        return Measure(None, "needs a reference model")
    own = accuracy(evidence, "forget")
    if own.value is None:
        return own
    index = evidence.splits["forget"]
    theirs = [share(evidence.right(other)[index]) for other in evidence.references]
    gaps = [abs(own.value - value) for value in theirs]          # the mean of distances, not the distance of means
    return Measure(sum(gaps) / len(gaps), detail={"n": len(index), "references": len(gaps)})


def accuracy(evidence: Evidence, split: str) -> Measure:
    """The share of a split classified correctly, with its counts."""
    index = evidence.split(split)
    if index is None:
        return Measure(None, ABSENT[split])
    hits = evidence.correct[index]
    return Measure(share(hits), detail={"correct": int(hits.sum()), "n": len(hits)})


def share(hits) -> float:
    """The fraction of True in a bool tensor, exact up to one rounding."""
    return int(hits.sum()) / len(hits)


def us(kept: float, forgotten: float) -> float:
    """(exp(kept) + exp(1 - forgotten) - 2) / (2 (e - 1)), both test accuracies as fractions."""
    return (exp(kept) + exp(1 - forgotten) - 2) / (2 * (e - 1))
