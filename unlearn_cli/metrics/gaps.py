"""How far does the model's whole profile lie from that of a model that never saw the forget set?

Where there are several references, the mean of their values is what is compared with. Test accuracy is that of the
retained classes; `with_all_test_images` in the details has the number with every test image in its place, which some papers
print.
"""

from collections.abc import Callable
from dataclasses import replace

from unlearn_cli.metrics.accuracy import accuracy
from unlearn_cli.metrics.membership_attacks import membership_efficacy
from unlearn_cli.metrics.registry import Evidence, metric
from unlearn_cli.metrics.report import Measure

PARTS = {f"{split}_accuracy": lambda evidence, split=split: accuracy(evidence, split)
         for split in ("forget", "retain", "retain_test", "test")} | {"membership_efficacy": membership_efficacy}  # fmt: skip


@metric(
    better="lower", about="both", needs=("reference",), short="average gap",
    source="SalUn, Fan et al. 2024, with MIA efficacy",
)
def average_gap(evidence: Evidence) -> Measure:
    """Mean distance from the reference in forget, retain and test accuracy and in MIA efficacy; 0 is a retrained model.

    (|Δ forget| + |Δ retain| + |Δ test| + |Δ MIA|) / 4, from 0 to 1; the four distances are in the details.
    """
    return of_gaps(
        evidence, ("forget_accuracy", "retain_accuracy", "retain_test_accuracy", "membership_efficacy"),
        lambda gaps: sum(gaps) / len(gaps),
    )  # fmt: skip


@metric(
    better="higher", unit="score", most=1, about="both", needs=("reference",), title="tug of war", short="ToW",
    source="ToW, Zhao et al. 2024",
)
def tug_of_war(evidence: Evidence) -> Measure:
    """Nearness to the reference in forget, retain and test accuracy at once: 1 is a retrained model.

    (1 - |Δ forget|) (1 - |Δ retain|) (1 - |Δ test|), from 0 to 1; the three distances are in the details.
    """

    def product(gaps: list[float]) -> float:
        forget, retain, test = gaps
        return (1 - forget) * (1 - retain) * (1 - test)

    return of_gaps(evidence, ("forget_accuracy", "retain_accuracy", "retain_test_accuracy"), product)


def of_gaps(evidence: Evidence, names: tuple[str, ...], summary: Callable[[list[float]], float]) -> Measure:
    """A number from the distances to the references in some of PARTS, and the same with all test images."""
    if reason := evidence.not_comparable():
        return Measure(None, reason)
    gaps = {name: gap(evidence, PARTS[name]) for name in (*names, "test_accuracy")}
    for name in names:
        if gaps[name].value is None:
            return gaps[name]
    parts = {name: gaps[name].value for name in names}
    everything = [gaps["test_accuracy" if name == "retain_test_accuracy" else name].value for name in names]
    more = {"references": len(evidence.references), "with_all_test_images": summary(everything)}
    return Measure(summary(list(parts.values())), detail=parts | more)


def gap(evidence: Evidence, part: Callable[[Evidence], Measure]) -> Measure:
    """The distance of the model's value from the mean of the references', or why there is none."""
    own = part(evidence)
    if own.value is None:
        return own
    theirs = [part(replace(evidence, model=other, references=[])) for other in evidence.references]
    if unknown := next((measure for measure in theirs if measure.value is None), None):
        return Measure(None, f"not known of a reference: {unknown.reason}")
    return Measure(abs(own.value - sum(measure.value for measure in theirs) / len(theirs)))
