"""Limits held against each request of a lineage, and which of them decides."""

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_cli.cases.case import Asked, Case
from unlearn_cli.cases.measuring import Subjects, measured, rows_of
from unlearn_cli.engine.run import Options
from unlearn_cli.kinds import Kind
from unlearn_cli.metrics import policy, registry, verdict
from unlearn_cli.metrics.report import Measure, Part, Row
from unlearn_cli.metrics.requirements import Requirement
from unlearn_cli.metrics.verdict import Judgement

SHOWN = ("forget_accuracy", "forget_test_accuracy")
"""What is measured of a part beside that which its limits ask for."""


@dataclass(frozen=True)
class Judged:
    """A case, the numbers of every model on it, and what the limits make of them.

    Args:
        is_whole: whether it is all that was asked of its kind, or nothing of it is left that the whole could be judged by,
            so that without an answer to it there is none at all.
    """

    case: Case
    names: list[str]
    rows: list[Row]
    judgement: Judgement
    is_whole: bool


def judge_all(
    asked: Asked, subjects: Subjects, limits: Sequence[Requirement], verify: str | None, blocks: bool, options: Options
) -> tuple[Judged, list[Judged]]:
    """The whole request with every metric, and its parts with what their limits ask for."""

    def judge(case: Case, is_main: bool) -> Judged:
        built_in = policy.limits(verify, case.kind, subjects.roles.count("reference")) if verify else []
        is_kind = case in asked.cases[: asked.kinds]
        mine = built_in + for_kind(limits, case.kind, must_answer=is_kind and not built_in)
        names = {limit.metric for limit in mine}
        if is_main:
            names = measured(names, case, bool(subjects.shadows), blocks)
        else:
            names |= {name for name in SHOWN if registry.known()[name].is_defined_for(case.kind)}
            names = [name for name in registry.known() if name in names]
        rows = rows_of(case, subjects, names, options)
        references = [row.measures for row in rows if row.role == "reference"]
        original = next((row.measures for row in rows if row.role == "original"), None)
        found = verdict.judge(mine, rows[-1].measures | undefined(mine, case.kind), references, original)
        is_left = any(len(case.splits.get(name, ())) for name in ("forget", "forget_test"))
        return Judged(case, names, rows, found, is_kind or not is_left)

    return judge(asked.case, True), [judge(part, False) for part in asked.parts]


def for_kind(limits: Sequence[Requirement], kind: Kind, must_answer: bool) -> list[Requirement]:
    """The limits that can judge requests of a kind.

    Args:
        must_answer: where limits on what is forgotten, or any at all, were given and none of them can judge this kind, they stay
            among its limits, as not measurable: what must be kept alone would hold whatever the model still knows.
    """
    able = [limit for limit in limits if registry.known()[limit.metric].is_defined_for(kind)]
    if must_answer and not any(map(on_forgetting, able)):
        return [limit for limit in limits if limit in able or not able or on_forgetting(limit)]
    return able


def on_forgetting(limit: Requirement) -> bool:
    return registry.known()[limit.metric].about in ("forgetting", "both")


def undefined(limits: Sequence[Requirement], kind: Kind) -> dict[str, Measure]:
    """Why limits on metrics that a kind of request does not have cannot be judged."""
    only = {"classes": registry.IMAGES_ONLY, "images": registry.CLASSES_ONLY}[kind]
    names = {limit.metric for limit in limits if not registry.known()[limit.metric].is_defined_for(kind)}
    return {name: Measure(None, only) for name in names}


def decided(main: Judged, parts: Sequence[Judged]) -> Judged:
    """The case that decides: the first that failed; else the first of all requests of a kind that has no answer; else the whole.

    A part too small to be judged leaves the decision to the whole that it belongs to.
    """
    every = [main, *parts]
    failed = [one for one in every if one.judgement.exit_code == 1]
    unknown = [one for one in every if one.judgement.exit_code == 2 and one.is_whole]
    return (failed or unknown or [main])[0]


def as_part(one: Judged) -> Part:
    found = one.judgement
    return Part(one.case.words, one.rows[-1].measures, found.limits, found.verdict, found.exit_code, one.is_whole)
