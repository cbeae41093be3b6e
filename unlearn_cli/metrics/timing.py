"""What did forgetting cost?"""

from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure


@metric(better="lower", unit="seconds", about="cost", short="seconds")
def forget_seconds(evidence: Evidence) -> Measure:
    """The method's own time, everything it prepares included; loading and evaluation are not."""
    if evidence.forget_seconds is None:
        return Measure(None, "the checkpoint records no forgetting")
    return Measure(evidence.forget_seconds)
