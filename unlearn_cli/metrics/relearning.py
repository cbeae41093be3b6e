"""How soon is the forgotten known again?"""

from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure


@metric(better="reference", unit="epochs", needs=("relearn",), short="relearn", source="UNSIR, Sec. 5.1")
def relearn_epochs(evidence: Evidence) -> Measure:
    """Short epochs of training until the forget accuracy is back at the original's; few means it was only hidden."""
    return evidence.relearn or Measure(None, "`unlearn relearn` measures it")
