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
        detail: what belongs to the number: counts, spread, under "note" a caution worth a footnote, and under "ratio" the
            number before it was cut off at 0 and 1.
        more_than: the measurement stopped at a cap, so the true value is larger than `value`.
        at_most: what the value was divided by stopped at a cap, so the true value is `value` or smaller.
    """

    value: float | None
    reason: str = ""
    detail: dict[str, Scalar | list[Scalar]] = field(default_factory=dict)
    more_than: bool = False
    at_most: bool = False

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds, where the value is a mean over seeds."""
        return self.detail.get("std") if "seeds" in self.detail else None

    @property
    def unclipped(self) -> float | None:
        """The number before it was cut off, which the spread of several is to be judged by."""
        return self.detail.get("ratio", self.value)


@dataclass(frozen=True)
class Column:
    """How a metric is shown: its name as typed, two headings, its unit and which direction is good.

    Args:
        main: whether a table for people has it; JSON and CSV have every number in any case.
    """

    name: str
    title: str
    short: str
    unit: str = "fraction"
    better: str = "reference"
    main: bool = True


@dataclass(frozen=True)
class Standing:
    """What the built-in policy says of one level of a row.

    Args:
        outcome: "held", "failed", or "not shown": nothing failed, and something could not be judged.
        held, runs: how many models of the row held, of how many; several where a method ran with several seeds.
        reason: the first limit that was not kept, and the number that it was not kept by.
    """

    outcome: str
    held: int
    runs: int
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """The measures of one checkpoint; role is "original", "reference" or "unlearned", or
    "evaluated" for a model that is only asked about what others forgot. `levels` is empty where nothing was judged."""

    label: str
    role: str
    measures: dict[str, Measure]
    levels: dict[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """Numbers of every row at several places, for a table of their own: accuracies by step, similarities by block.

    JSON has them under the details of a metric.

    Args:
        name: what CSV columns begin with; title: one line for people.
        place: what the places are: "step", "block".
        places: their names, as many as each row has numbers.
        values: (rows, places), None where there is no number.
        unit: as a metric's.
        shown: the places that a table for people has.
    """

    name: str
    title: str
    place: str
    places: list[str]
    values: list[list[float | None]]
    unit: str
    shown: list[str]


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


@dataclass(frozen=True)
class Part:
    """One of several requests, judged by itself: what it was, the judged model's numbers, its limits, what came of them.

    `is_whole` where it is all that was asked of its kind: what cannot be measured of any other leaves the decision to that.
    """

    request: str
    measures: dict[str, Measure]
    limits: list[Limit]
    verdict: str
    exit_code: int
    is_whole: bool = False

    @property
    def outcome(self) -> str:
        """In a word, as an empty one where nothing was asked."""
        return ("held", "NOT HELD", "not shown")[self.exit_code] if self.limits else ""

    @property
    def first_missed(self) -> Limit | None:
        """The first limit that was not kept; a miss counts before one that could not be judged."""
        missed = sorted((limit for limit in self.limits if limit.outcome != "pass"), key=lambda limit: limit.outcome != "fail")
        return missed[0] if missed else None


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
    series: list[Series] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

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
            "rows": [row_as_dict(row) for row in self.rows if row is not one],
            "limits": [{name: finite(value) for name, value in vars(limit).items()} for limit in self.limits],
            "verdict": self.verdict,
            "notes": self.notes,
            "written": self.written,
            "exit_code": self.exit_code,
        }
        if self.parts:
            document["requests"] = [part_as_dict(part) for part in self.parts]
        if one is not None:
            document |= row_as_dict(one)
        return in_order(document)


def row_as_dict(row: Row) -> dict[str, Any]:
    """A checkpoint: its metrics by name, and what the built-in policy says of it where that was asked."""
    levels = {"levels": {name: vars(standing) for name, standing in row.levels.items()}} if row.levels else {}
    return {"label": row.label, "role": row.role} | levels | measures_as_dict(row.measures)


def part_as_dict(part: Part) -> dict[str, Any]:
    """One of several requests by itself."""
    limits = [{name: finite(value) for name, value in vars(limit).items()} for limit in part.limits]
    said = {"request": part.request, "limits": limits, "verdict": part.verdict, "exit_code": part.exit_code}
    return said | measures_as_dict(part.measures)


def measures_as_dict(measures: dict[str, Measure]) -> dict[str, Any]:
    """Metric names to numbers; `reasons` says why a number is null, `details` holds what belongs to the others."""
    reasons = {name: reason_of(measure) for name, measure in measures.items() if finite(measure.value) is None}
    details = {
        name: {key: finite(value) for key, value in measure.detail.items()}
        | {bound: True for bound in ("more_than", "at_most") if getattr(measure, bound)}
        for name, measure in measures.items()
        if measure.detail or measure.more_than or measure.at_most
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
