"""What a job hands to the command line: plain numbers, the reasons where there are none, and the verdict."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

SCHEMA = 1
"""Version of the JSON document, which `report.schema.json` describes; raised when a key goes or changes its meaning."""
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Measure:
    """One number, or None and the reason why it could not be measured.

    Args:
        detail: what belongs to the number: counts, spread, and under "note" a caution worth a footnote.
        more_than: the measurement stopped at a cap, so the true value is larger than `value`.
    """

    value: float | None
    reason: str = ""
    detail: dict[str, Scalar | list[Scalar]] = field(default_factory=dict)
    more_than: bool = False


@dataclass(frozen=True)
class Column:
    """How a metric is shown: its name as typed, two headings, its unit and which direction is good."""

    name: str
    title: str
    short: str
    unit: str = "fraction"
    better: str = "reference"


@dataclass(frozen=True)
class Row:
    """The measures of one checkpoint; role is "original", "reference" or "unlearned", or
    "evaluated" for a model that is only asked about what others forgot."""

    label: str
    role: str
    measures: dict[str, Measure]


@dataclass(frozen=True)
class Limit:
    """A limit after it was judged. `text` is what the user typed, `target` the number it came to; `level` is "output" or
    "feature" for a limit of the built-in policy."""

    text: str
    metric: str
    operator: str
    target: float | None
    value: float | None
    outcome: str
    reason: str = ""
    tolerance: float | None = None
    level: str = ""


@dataclass
class Report:
    """The only thing jobs return and `cli.render` shows. Exit code 1 means a limit was not met, nothing else."""

    command: str
    title: str = ""
    facts: dict[str, Scalar] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    verdict: str = ""
    notes: list[str] = field(default_factory=list)
    written: str | list[str] | None = None
    exit_code: int = 0

    @property
    def evaluated(self) -> Row | None:
        """The one checkpoint the report is about; None when it compares several."""
        unlearned = [row for row in self.rows if row.role in ("unlearned", "evaluated")]
        candidates = unlearned or self.rows
        return candidates[0] if len(candidates) == 1 else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON document; the one evaluated checkpoint's metrics are its own keys: `jq .forget_accuracy` works."""
        one = self.evaluated
        document = {
            "schema": SCHEMA,
            "command": self.command,
            "title": self.title,
            "facts": {name: finite(value) for name, value in self.facts.items()},
            "rows": [
                {"label": row.label, "role": row.role} | measures_as_dict(row.measures)
                for row in self.rows
                if row is not one
            ],
            "limits": [{name: finite(value) for name, value in vars(limit).items()} for limit in self.limits],
            "verdict": self.verdict,
            "notes": self.notes,
            "written": self.written,
            "exit_code": self.exit_code,
        }
        if one is not None:
            document |= {"label": one.label, "role": one.role} | measures_as_dict(one.measures)
        return in_order(document)


def measures_as_dict(measures: dict[str, Measure]) -> dict[str, Any]:
    """Metric names to numbers; `reasons` says why a number is null, `details` holds what belongs to the others."""
    reasons = {name: reason_of(measure) for name, measure in measures.items() if finite(measure.value) is None}
    details = {
        name: {key: finite(value) for key, value in measure.detail.items()}
        | ({"more_than": True} if measure.more_than else {})
        for name, measure in measures.items()
        if measure.detail or measure.more_than
    }
    values = {name: finite(measure.value) for name, measure in measures.items()}
    return values | {"reasons": reasons, "details": details}


def reason_of(measure: Measure) -> str:
    """Why there is no number to show."""
    return measure.reason or ("not measured" if measure.value is None else f"not finite: {measure.value}")


def finite(value: Scalar | list[Scalar]) -> Scalar | list[Scalar]:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def in_order(value: Any) -> Any:
    """The same document with the keys of every mapping sorted."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value
