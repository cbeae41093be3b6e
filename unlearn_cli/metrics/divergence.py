"""How far do the model's probabilities lie from those of a model that never saw the forget set?"""

from math import sqrt

from unlearn_cli.metrics.accuracy import ABSENT
from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure


@metric(
    better="lower", unit="score", most=sqrt(2), needs=("reference",), short="activation distance",
    source="TMU; its code compares probabilities, temperature 1",
)
def activation_distance(evidence: Evidence) -> Measure:
    """Mean Euclidean distance on the forget set between this model's and the reference's probabilities.

    AD = mean_{x in D_f} ‖softmax(f(x)) - softmax(g(x))‖₂, averaged over references g; from 0 to sqrt 2.
    """
    if not evidence.references:
        return Measure(None, "needs a reference model")
    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    own = evidence.logits[index].double().softmax(1)
    distances = [
        (own - other.logits[index].double().softmax(1)).norm(dim=1).mean().item() for other in evidence.references
    ]
    return Measure(sum(distances) / len(distances), detail={"n": len(index), "references": len(distances)})
