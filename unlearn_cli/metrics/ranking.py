"""Which checkpoints of a table are best by a metric: highest, lowest, or nearest to the references' mean."""

from collections.abc import Sequence

from unlearn_cli.metrics.report import Column, Row

PLACES = {"fraction": 4, "score": 4, "seconds": 2, "epochs": 0, "steps": 0}
"""Decimals that a table shows: what looks equal there is equally good."""


def costs(column: Column, rows: Sequence[Row]) -> list[float | None]:
    """How far each unlearned row is from the best there could be, as tables print it; None where nobody can say."""
    values = [row.measures[column.name].value if column.name in row.measures else None for row in rows]
    references = [value for row, value in zip(rows, values) if row.role == "reference" and value is not None]
    if column.better == "reference" and not references:
        return [None] * len(rows)
    goal = sum(references) / len(references) if references else 0.0
    cost = {"higher": lambda value: -value, "lower": lambda value: value, "reference": lambda value: abs(value - goal)}
    return [
        round(cost[column.better](value), PLACES[column.unit]) if row.role == "unlearned" and value is not None else None
        for row, value in zip(rows, values)
    ]


def starred(column: Column, rows: Sequence[Row]) -> list[bool]:
    """Which of several unlearned checkpoints are best; none where they are all alike."""
    found = costs(column, rows)
    known = [cost for cost in found if cost is not None]
    if len(set(known)) < 2:
        return [False] * len(rows)
    return [cost == min(known) for cost in found]


def best_first(column: Column, rows: Sequence[Row]) -> list[Row]:
    """The unlearned rows in order below the others, as they came where they are equal; those without a number last."""
    pairs = list(zip(costs(column, rows), rows))
    others = [row for _, row in pairs if row.role != "unlearned"]
    ranked = sorted((pair for pair in pairs if pair[1].role == "unlearned"), key=lambda pair: (pair[0] is None, pair[0] or 0.0))
    return others + [row for _, row in ranked]
