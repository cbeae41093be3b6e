"""How soon is the forgotten known again?

A model from which something was erased learns it as slowly as one that never knew it; one that only hides it needs a few
steps, or none of the forgotten images at all.
"""

from collections.abc import Sequence
from typing import Any

from unlearn_cli.kinds import HELD, Kind
from unlearn_cli.metrics.features import POINTS, between
from unlearn_cli.metrics.registry import Curves, Evidence, metric
from unlearn_cli.metrics.report import Measure, Series

NO_CURVES = "`unlearn relearn --attack {}` draws its curves"
MARGIN = 0.05
"""The accuracy is back when it is within this of the original's."""
FEW_LOOKS = (1, 2, 5, 10, 20, 50)
"""Of the looks at a curve, those that a table for people has, beside the first and the last."""


@metric(better="reference", unit="epochs", needs=("relearn",), short="relearn", source="UNSIR, Sec. 5.1")
def relearn_epochs(evidence: Evidence) -> Measure:
    """Short epochs of training until the forget accuracy is back at the original's; few means it was only hidden."""
    return evidence.relearn or Measure(None, "`unlearn relearn` measures it")


@metric(better="reference", unit="steps", needs=("curves", "original"), short="relearn steps", source="relearning attack")
def relearn_steps(evidence: Evidence) -> Measure:
    """Steps of training on a few forgotten images among retain images until the accuracy is back near the original's.

    Near is at most 5 points below the original's own before any step, of the mean over seeds. The detail has the curve.
    """
    curves, reason = given(evidence, "few_shot", original=True)
    goal, reason = (None, reason) if curves is None else goal_of(curves)
    if goal is None:
        return Measure(None, reason)
    detail = {"cap": curves.steps[-1], "goal": goal} | points(curves) | looked_at(evidence)
    found = relearn_time(curves.steps, mean_curve(curves.model), goal)
    if found is None:
        return Measure(float(curves.steps[-1]), detail=detail, more_than=True)
    return Measure(float(found), detail=detail)


@metric(
    better="reference", unit="score", needs=("curves", "original", "reference"), short="anamnesis index",
    source="Zero-Shot Machine Unlearning, 2022",
)  # fmt: skip
def anamnesis_index(evidence: Evidence) -> Measure:
    """Steps to relearn from a few images, divided by those that the references need: 1 is ideal, far below 1 hidden knowledge.

    Relearned is an accuracy at most 5 points below the original's own, of the mean over seeds. Where a model never gets there
    the index is a bound: `more_than` when it is the judged one; `at_most`, with a note, when it is a reference.
    """
    curves, reason = given(evidence, "few_shot", original=True, reference=True)
    goal, reason = (None, reason) if curves is None else goal_of(curves)
    if goal is None:
        return Measure(None, reason)
    own, *others = (relearn_time(curves.steps, mean_curve(c), goal) for c in (curves.model, *curves.references))
    cap = curves.steps[-1]
    detail = {"cap": cap, "goal": goal, "references": len(others), "reference_never": sum(time is None for time in others)}
    detail |= looked_at(evidence)
    if own is not None:
        detail["steps"] = own
    base = sum(cap if time is None else time for time in others) / len(others)
    detail["reference_steps"] = base
    capped = None in others
    if own is None and capped:
        return Measure(None, f"neither this model nor the reference relearned in {cap} steps")
    if base == 0:
        if own == 0:
            return Measure(1.0, detail=detail)
        return Measure(None, "the reference knows it without relearning, this model does not: the index is infinite")
    if own is None:
        return Measure(cap / base, detail=detail, more_than=True)
    if capped and own > 0:  # no step at all is 0, whatever the reference needs
        note = f"at most: a reference did not relearn in {cap} steps"
        return Measure(own / base, detail=detail | {"note": note}, at_most=True)
    return Measure(own / base, detail=detail)


@metric(better="lower", needs=("curves", "original", "reference"), short="relearn area", source="relearning attack")
def relearn_area(evidence: Evidence) -> Measure:
    """Where the area under the relearning curve lies between the references' (0) and the original's (1).

    The curve is that of training on a few forgotten images; on retain images alone for requests that name images.
    """
    curves, reason = given(evidence, "few_shot" if evidence.kind == "classes" else "retain", original=True, reference=True)
    if curves is None:
        return Measure(None, reason)
    areas = [area(curves.steps, mean_curve(each)) for each in (curves.model, curves.original, *curves.references)]
    found = between(areas[0], areas[1], areas[2:], POINTS)
    if found.value is None:
        return found
    return Measure(found.value, detail=found.detail | points(curves) | looked_at(evidence))


@metric(better="lower", instances="reference", needs=("revival",), short="revived", source="relearning attack, retain set alone")
def revived_accuracy(evidence: Evidence) -> Measure:
    """Highest accuracy on held-out forgotten images while the model goes on training on retain images alone.

    What comes back without a forgotten image was never gone. The mean over seeds of each one's highest.
    """
    curves, reason = given(evidence, "revival" if "revival" in evidence.curves else "retain")
    if curves is None:
        return Measure(None, reason)
    detail = points(curves)
    return Measure(detail["highest"], detail={"before": detail["curve"][0]} | detail | looked_at(evidence))


def looked_at(evidence: Evidence) -> dict[str, int]:
    """How many images the curves are drawn of."""
    index = evidence.split(HELD[evidence.kind])
    return {} if index is None else {"n": len(index)}


def measured_by(arm: str, kind: Kind) -> list[str]:
    """The metrics that the curves of an attack give, for a kind of request."""
    own = {"few_shot": ["relearn_steps", "anamnesis_index"], "retain": ["revived_accuracy"]}[arm]
    return own + ["relearn_area"] * ((arm == "few_shot") == (kind == "classes"))


def series(arm: str, title: str, rows: Sequence[Curves]) -> Series:
    """The curve of every row, with its area and its highest value at the end."""
    looks, ends = rows[0].steps, ["area", "highest"]
    shown = [looks[i] for i in sorted({0, *FEW_LOOKS, len(looks) - 1}) if i < len(looks)]
    found = [points(curves) for curves in rows]
    return Series(
        name=arm,
        title=title,
        place="step",
        places=[*map(str, looks), *ends],
        values=[[*each["curve"], *(each[end] for end in ends)] for each in found],
        unit="fraction",
        shown=[*map(str, shown), *ends],
    )


def given(evidence: Evidence, arm: str, original: bool = False, reference: bool = False) -> tuple[Curves | None, str]:
    """The curves of an arm with what they are compared with, or None and the reason."""
    curves = evidence.curves.get(arm, NO_CURVES.format(arm.replace("_", "-")))
    if isinstance(curves, str):
        return None, curves
    if original and curves.original is None:
        return None, "needs the original model"
    if reference and not curves.references:
        return None, "needs a reference model"
    return curves, ""


def goal_of(curves: Curves) -> tuple[float | None, str]:
    """The accuracy at which the forgotten is known again, or None and the reason."""
    known = mean_curve(curves.original)[0]
    if known <= MARGIN:
        return None, f"the original knows too little of it ({known:.3f}) for relearning to show"
    return known - MARGIN, ""


def points(curves: Curves) -> dict[str, Any]:
    """What details have of a curve: the looks, the mean over seeds, its area, the mean of each one's highest, and each one."""
    curve = mean_curve(curves.model)
    highest = sum(map(max, curves.model)) / len(curves.model)
    each = {f"curve_{number}": values for number, values in enumerate(curves.model, 1)} if len(curves.model) > 1 else {}
    return {"steps": curves.steps, "curve": curve, "area": area(curves.steps, curve), "highest": highest} | each


def mean_curve(curves: list[list[float]]) -> list[float]:
    """The mean over seeds at each step."""
    return [sum(values) / len(values) for values in zip(*curves, strict=True)]


def relearn_time(steps: list[int], curve: list[float], goal: float) -> int | None:
    """The first step at which the curve is at its goal, None where it never is."""
    return next((step for step, value in zip(steps, curve, strict=True) if value >= goal - 1e-12), None)


def area(steps: list[int], curve: list[float]) -> float:
    """Area under the curve by trapezoids, as a share of the rectangle of height 1: the mean height."""
    if len(steps) == 1:
        return curve[0]
    pieces = zip(steps, steps[1:], curve, curve[1:], strict=False)
    return sum((b - a) * (x + y) / 2 for a, b, x, y in pieces) / (steps[-1] - steps[0])
