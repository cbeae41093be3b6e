"""The table of a comparison: means over seeds, distances to the references, the columns that matter, the order."""

from collections.abc import Sequence
from dataclasses import replace

from unlearn_cli.errors import UnlearnError
from unlearn_cli.kinds import Kind
from unlearn_cli.metrics import registry
from unlearn_cli.metrics.report import Column, Measure, Row
from unlearn_cli.metrics.requirements import NEEDED, metric_called

MAIN = {
    "classes": ("forget_accuracy", "forget_test_accuracy", "retain_accuracy", "retain_test_accuracy", "unlearning_score",
           "activation_distance", "average_gap", "tug_of_war", "membership_auc", "separation_recovery", "revived_accuracy",
           "forget_seconds"),
    "images": ("forget_accuracy", "retain_accuracy", "remaining_accuracy", "test_accuracy", "forget_accuracy_gap",
           "activation_distance", "average_gap", "tug_of_war", "membership_auc", "revived_accuracy", "forget_seconds"),
}  # fmt: skip
"""What a table shows where all metrics are not asked for, by what the request names."""
ELSEWHERE = {
    "revival": "add --verify full.",
    "relearn": "`unlearn relearn` does.",
    "curves": "`unlearn relearn --attack few-shot` does.",
    "blocks": "`unlearn evaluate --blocks` does.",
}
"""How to have a costly metric, by what it needs."""


def sorting(name: str, measured: Sequence[str], given: dict[str, bool], kind: Kind) -> Column:
    """The column that rows are to be sorted by.

    Args:
        measured: the metrics that are measured, costly ones where they were asked for.
        given: whether there is an original, and a reference.

    Raises:
        UnlearnError: no such metric, or one that has no number or no direction here.
    """
    metric = metric_called(name)
    if name not in measured:
        hint = next((hint for need, hint in ELSEWHERE.items() if need in metric.needs), "`unlearn evaluate` does, where asked.")
        raise UnlearnError(f"--sort {name}: compare does not measure it.", hint)
    given = given | {"class": kind == "classes", "images": kind == "images"}
    for need in (*metric.needs, *(("reference",) if metric.direction(kind) == "reference" else ())):
        if not given.get(need, True):
            what, hint = NEEDED[need]
            raise UnlearnError(f"--sort {name} {what}.", hint)
    return metric.column(kind)


def unsorted(column: Column, rows: Sequence[Row]) -> str:
    """Why the rows could not be sorted, or nothing."""
    measures = [row.measures[column.name] for row in rows if row.role == "unlearned"]
    if not measures or any(measure.value is not None for measure in measures):
        return ""
    return f"the rows are not sorted: {column.name} has no number ({measures[0].reason})"


def in_words(column: Column) -> str:
    """The order, for the facts of a report."""
    return f"{column.name}, {'nearest to the reference' if column.better == 'reference' else column.better} first"


def columns(names: Sequence[str], rows: Sequence[Row], kind: Kind, sort: str | None, every: bool) -> list[Column]:
    """Headings for all metrics; main are those that matter and have a number, and what was sorted by."""
    wanted = [*MAIN[kind], *([sort] if sort else [])]
    told = {name for name in names if any(row.measures[name].value is not None for row in rows)}
    return [replace(column, main=every or (column.name in wanted and column.name in told))
            for column in registry.columns(names, kind)]  # fmt: skip


def mean(tried: Sequence[dict[str, Measure]]) -> dict[str, Measure]:
    """Mean over seeds; the sample standard deviation and each seed's value beside it."""
    if len(tried) == 1:
        return tried[0]
    means = {}
    for name in tried[0]:
        values = [t[name].value for t in tried]
        if any(value is None for value in values):
            means[name] = next(t[name] for t in tried if t[name].value is None)
            continue
        middle = sum(values) / len(values)
        spread = (sum((v - middle) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        means[name] = Measure(middle, detail={"seeds": len(values), "std": spread, "values": values})
    return means


def with_distances(rows: Sequence[Row]) -> list[Row]:
    """The rows, each number with its distance to the mean of the references' (of the other references', for one)."""
    return [replace(row, measures=_with_distances(row, [r for r in rows if r.role == "reference" and r is not row]))
            for row in rows]  # fmt: skip


def _with_distances(row: Row, references: Sequence[Row]) -> dict[str, Measure]:
    found = {}
    for name, measure in row.measures.items():
        theirs = [reference.measures[name].value for reference in references]
        if measure.value is not None and theirs and None not in theirs:
            measure = replace(measure, detail=measure.detail | {"to_reference": measure.value - sum(theirs) / len(theirs)})
        found[name] = measure
    return found
