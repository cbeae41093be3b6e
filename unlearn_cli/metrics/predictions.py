"""What does the model make of the images it was to forget: which classes, and how certain is it?

No value is good in itself; the best one is the reference's. A model whose answers on the forget set are unlike any
retrained model's may give the set away (the Streisand effect): a caution says so.
"""

from math import log

from unlearn_cli.metrics.accuracy import ABSENT
from unlearn_cli.metrics.registry import Evidence, Outputs, metric
from unlearn_cli.metrics.report import Measure

SOURCE = "after UNSIR, Fig. 3 and 4"
MOST_IN_ONE = 0.5       # more of the forget set than this in one class, as with no reference: the Streisand check
OFF = 0.25              # mean entropies further apart than this: the same check
BINS = 10


@metric(better="reference", unit="score", short="pred. entropy", source=SOURCE)
def prediction_entropy(evidence: Evidence) -> Measure:
    """How evenly the forget set is spread over classes: entropy of the predictions over ln(retained classes).

    0: all in one class; 1: even over as many classes as are retained; above 1 only where forgotten ones are predicted too.
    """
    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    retained = int((~evidence.task.gone()).sum())
    if retained < 2:
        return Measure(None, "fewer than two classes are retained")

    def spread(h) -> float:
        return float(-h.xlogy(h).sum()) / log(retained) + 0.0       # no -0

    shares = histogram(evidence, index)
    detail = {"n": len(index), "distribution": shares.tolist()} | on_others(
        evidence, lambda other: spread(histogram(evidence, other)), ("forget_test",)
    )
    return Measure(spread(shares), detail=detail)


@metric(better="reference", short="top class", source=SOURCE)
def prediction_share(evidence: Evidence) -> Measure:
    """Share of the forget set in the class that is predicted most often."""
    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    shares = histogram(evidence, index)
    value = shares.max().item()
    detail = {"n": len(index), "class": int(shares.argmax())} | on_others(
        evidence, lambda other: histogram(evidence, other).max().item(), ("forget_test",)
    )
    if value > MOST_IN_ONE and not evidence.not_comparable():
        others = [histogram(evidence, index, other).max().item() for other in evidence.references]
        if max(others) <= MOST_IN_ONE:
            detail["note"] = "over half of the forget set in one class, unlike any reference (Streisand check)"
    return Measure(value, detail=detail)


@metric(better="lower", unit="score", most=log(2), needs=("reference",), short="pred. JS", source=SOURCE)
def prediction_divergence(evidence: Evidence) -> Measure:
    """Jensen-Shannon divergence, in nats, between this model's and the reference's predictions on the forget set.

    Of the shares of each class; averaged over references, from 0 to ln 2.
    """
    from unlearn_cli.ops.density import jensen_shannon

    if reason := evidence.not_comparable():
        return Measure(None, reason)
    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    own = histogram(evidence, index)
    values = [jensen_shannon(own, histogram(evidence, index, other)).item() for other in evidence.references]
    return Measure(sum(values) / len(values), detail={"n": len(index), "references": len(values)})


@metric(better="reference", short="mean entropy", source=SOURCE)
def mean_entropy(evidence: Evidence) -> Measure:
    """Mean entropy of the probabilities on the forget set, over ln(classes): 0 is certain, 1 is guessing."""
    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    if evidence.logits.shape[1] < 2:
        return Measure(None, "there is one class only")
    own = entropies(evidence, index)
    value = own.mean().item()
    detail = {"n": len(index), "histogram": binned(own)}
    for name in ("retain", "test"):
        other = evidence.split(name)
        if other is not None:
            values = entropies(evidence, other)
            detail |= {name: values.mean().item(), f"{name}_histogram": binned(values)}
    if not evidence.not_comparable():
        gaps = [abs(value - entropies(evidence, index, other).mean().item()) for other in evidence.references]
        if min(gaps) > OFF:
            detail["note"] = f"further than {OFF} from the mean entropy of every reference (Streisand check)"
    return Measure(value, detail=detail)


def histogram(evidence: Evidence, index, outputs: Outputs | None = None):
    """(K,) float64 share of each class that a model predicts, by default the judged one; no class is masked."""
    counts = evidence.answers(outputs or evidence.model)[index].bincount(minlength=evidence.task.count)
    return counts.double() / len(index)


def entropies(evidence: Evidence, index, outputs: Outputs | None = None):
    """(n,) float64 entropies of a model's probabilities over ln K, from 0 to 1; by default the judged one's."""
    from unlearn_cli.ops.losses import entropy

    return (evidence.scores(lambda logits, labels: entropy(logits), index, outputs) / log(evidence.task.count)).clamp(0, 1)


def binned(fractions) -> list[float]:
    """The share in each of BINS equal parts of [0, 1]."""
    return ((fractions * BINS).long().clamp(max=BINS - 1).bincount(minlength=BINS).double() / len(fractions)).tolist()


def on_others(evidence: Evidence, value, names) -> dict[str, float]:
    """The same number on other splits, where these have images."""
    places = {name: evidence.split(name) for name in names}
    return {name: value(index) for name, index in places.items() if index is not None}
