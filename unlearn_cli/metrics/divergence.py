"""How far do the model's probabilities and losses lie from those of a model that never saw the forget set?"""

from collections.abc import Callable
from math import isfinite, log, sqrt

from unlearn_cli.metrics.accuracy import ABSENT
from unlearn_cli.metrics.registry import ROWS, Evidence, Outputs, metric
from unlearn_cli.metrics.report import Measure
from unlearn_cli.metrics.scores import losses_of_sides

BAD_TEACHING = "Bad Teaching (Chundawat et al. 2023)"


@metric(
    better="lower", unit="score", most=sqrt(2), needs=("reference",), short="AD",
    source="TMU; its code compares probabilities, temperature 1",
)
def activation_distance(evidence: Evidence) -> Measure:
    """Mean Euclidean distance on the forget set between this model's and the reference's probabilities.

    AD = mean_{x in D_f} ‖softmax(f(x)) - softmax(g(x))‖₂, averaged over references g; from 0 to sqrt 2.
    """
    return from_references(evidence, lambda own, other: (own - other).norm(dim=1))


@metric(
    better="lower", unit="score", most=log(2), needs=("reference",), short="JS to reference",
    source="Jensen-Shannon divergence per image, after " + BAD_TEACHING,
)
def reference_divergence(evidence: Evidence) -> Measure:
    """Mean Jensen-Shannon divergence on the forget set between this model's and the reference's probabilities, in nats.

    Averaged over references; from 0 to ln 2. Two references lie apart as well.
    """
    from unlearn_cli.ops.density import jensen_shannon

    return from_references(evidence, jensen_shannon)


@metric(
    better="lower", instances="reference", unit="score", most=sqrt(log(2)), short="JSD of losses",
    source="GLI, its public code: SciPy's distance, the root",
)
def loss_divergence(evidence: Evidence) -> Measure:
    """Distance between the distributions of losses of forgotten and of unseen images: root of their JS divergence.

    In nats, from 0 to sqrt(ln 2) = 0.8326. Two samples of one distribution lie a little apart, small ones more.
    """
    from unlearn_cli.ops.density import sample_distance

    losses, reason = losses_of_sides(evidence)
    if reason:
        return Measure(None, reason)
    forget, unseen = losses
    value = sample_distance(forget, unseen)
    if value is None:
        which = "forgotten" if forget.min() == forget.max() else "unseen"
        return Measure(None, f"the losses of the {which} images are all equal: they have no density")
    return Measure(value, detail={"n": len(forget), "n_unseen": len(unseen)})


@metric(better="reference", unit="score", most=1, needs=("random",), short="ZRF", source=f"{BAD_TEACHING}, over ln 2")
def zrf(evidence: Evidence) -> Measure:
    """How like random guessing the model is on the forget set: 1 says what a network with random weights says.

    ZRF = 1 - mean_{x in D_f} JS(p(x), p_random(x)) / ln 2, from 0 to 1.
    """
    import torch

    from unlearn_cli.ops.density import jensen_shannon
    from unlearn_cli.ops.losses import entropy

    logits, reason = own_and_random(evidence)
    if reason:
        return Measure(None, reason)
    own, random = logits
    parts = list(zip(own.split(ROWS), random.split(ROWS), strict=True))
    apart = torch.cat([jensen_shannon(x.double().softmax(1), y.double().softmax(1)) for x, y in parts]).mean().item()
    doubt = torch.cat([entropy(y.double()) for _, y in parts]).mean().item() / log(own.shape[1]) if own.shape[1] > 1 else 0.0
    return Measure(max(0.0, 1 - apart / log(2)), detail={"n": len(own), "random_entropy": doubt, "seed": evidence.seed})


@metric(
    better="reference", unit="score", most=1, needs=("random",), short="ZRF as published",
    source=f"{BAD_TEACHING}, its public code",
)
def zrf_official(evidence: Evidence) -> Measure:
    """ZRF as the published code computes it; for comparison with published numbers only.

    1 - mean over images and classes of ½ m ln(m/p) + ½ m ln(m/q), m = (p + q)/2: the divergences have their arguments
    exchanged, and are divided by the number of classes too. So it lies near 1 for many classes, and has no lower end:
    confident models with few classes fall below 0.
    """
    import torch

    logits, reason = own_and_random(evidence)
    if reason:
        return Measure(None, reason)
    log_p, log_q = (x.double().log_softmax(1) for x in logits)
    m = (log_p.exp() + log_q.exp()) / 2
    value = 1 - (torch.xlogy(m, m) - m * (log_p + log_q) / 2).mean().item()
    if not isfinite(value):
        return Measure(None, "the published formula has no value where a probability is 0")
    return Measure(value, detail={"n": len(m), "seed": evidence.seed})


def from_references(evidence: Evidence, distance: Callable) -> Measure:
    """The mean over references, and over the forget set, of a distance between rows of probabilities.

    Args:
        distance: (n, K) and (n, K) float64 -> (n,).
    """
    import torch

    if reason := evidence.not_comparable():
        return Measure(None, reason)
    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    parts, own = index.split(ROWS), evidence.logits

    def apart(other: Outputs) -> float:
        pairs = ((own[part].double().softmax(1), other.logits[part].double().softmax(1)) for part in parts)
        return torch.cat([distance(*pair) for pair in pairs]).mean().item()

    values = [apart(other) for other in evidence.references]
    return Measure(sum(values) / len(values), detail={"n": len(index), "references": len(values)})


def own_and_random(evidence: Evidence):
    """Logits on the forget set of the model and of the network with random weights, (n, K) each; or None, and why."""
    index = evidence.split("forget")
    if index is None:
        return None, ABSENT["forget"]
    if evidence.random_logits is None:
        return None, "needs a network with random weights"
    own, random = evidence.logits[index], evidence.random_logits
    assert own.shape == random.shape, f"random logits {tuple(random.shape)} for {tuple(own.shape)}"
    if not bool(random.amax(1).isfinite().all()):
        return None, "the outputs of the network with random weights are not finite"
    return (own, random), ""
