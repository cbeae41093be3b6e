"""From measures and limits to a verdict: held, or not, with the number that decided.

A limit reads `metric<=0.01`, `metric>=original-0.01` or `metric=reference±0.05`. A verdict is evidence, no more.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import inf, isfinite
from typing import NamedTuple

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.metrics import noise
from unlearn_cli.metrics.registry import Metric, known
from unlearn_cli.metrics.report import Limit, Measure

EXAMPLES = "for example --require 'forget_test_accuracy<=0.01' or --require 'membership_accuracy=reference±0.05'."
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
LIMIT = re.compile(
    rf"""\s*(?P<metric>\w+)\s*
    (?P<operator><=|>=|==|=|<|>)\s*
    (?:(?P<model>original|reference)|(?P<number>[+-]?{NUMBER}))\s*
    (?:(?P<sign>±|\+/?-|[+-])\s*(?P<offset>{NUMBER}))?\s*""",
    re.VERBOSE,
)
NOT_FINITE = re.compile(r"[=<>+±-]\s*(nan|inf|infinity)\b", re.IGNORECASE)
DECIMALS = {"fraction": 4, "score": 4, "seconds": 2, "epochs": 0}
NEEDED = {
    "reference": ("needs a reference model", "pass --reference FILE: a model trained without the forget set."),
    "original": ("needs the original model", "pass --original FILE: the model before it forgot."),
    "class": ("is defined for requests that name classes only", "leave this limit out for a list of images."),
    "relearn": ("is not measured here", "`unlearn relearn` measures it."),
    "curves": ("is computed from relearning curves, which no command draws yet", "leave this limit out."),
    "random": ("needs a network with random weights, which is not made here", "`unlearn evaluate` makes one."),
    "revival": ("needs some steps of training, which are not made here", "`unlearn evaluate` makes them."),
    "shadow": ("needs shadow models", "pass --shadow FILE, twice at least: models that forgot the same by the same method."),
}


@dataclass(frozen=True)
class Requirement:
    """A limit as typed and understood: value <operator> base + shift, or within tolerance of it when the operator is =.

    Args:
        base: a number, or the model ("original", "reference") whose value is meant.
        level: "output" or "feature" for a limit of the built-in policy.
        banded: the distance allowed from the references' mean is at least what another retrained model may have.
    """

    text: str
    metric: str
    operator: str
    base: Decimal | str
    shift: Decimal = Decimal(0)
    tolerance: Decimal = Decimal(0)
    level: str = ""
    banded: bool = False


class Judgement(NamedTuple):
    limits: list[Limit]
    verdict: str
    exit_code: int


def parse(texts: Iterable[str]) -> list[Requirement]:
    """Understand limits before anything is measured.

    Raises:
        UnlearnError: a limit is malformed, names no metric, or can only be a slip (per cent for a fraction).
    """
    return [parse_one(text) for text in texts]


def parse_one(text: str) -> Requirement:
    found = LIMIT.fullmatch(text)
    if found is None:
        raise malformed(text)
    name, operator, sign = found["metric"], found["operator"].replace("==", "="), found["sign"] or ""
    chosen = metric_called(name)
    base = found["model"] or number(found["number"], text)
    offset = number(found["offset"] or "0", text)
    two_sided = sign in ("±", "+-", "+/-")
    if two_sided and operator != "=":
        raise UnlearnError(f"the limit '{text}' has both {operator} and {sign}.", f"± goes with =: {EXAMPLES}")
    if sign in ("+", "-") and not found["model"]:
        raise malformed(text)
    for value in (offset,) if found["model"] else (base, offset):
        in_range(chosen, value, text)
    shift = Decimal(0) if two_sided else (-offset if sign == "-" else offset)
    exact_reference = base == "reference" and operator == "=" and not sign
    tolerance = offset if two_sided else Decimal(0)
    return Requirement(text.strip(), name, operator, base, shift, tolerance, banded=exact_reference)


def metric_called(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UnlearnError: there is none; the hint names the closest, or all.
    """
    if name not in known():
        hint = did_you_mean(name, known()) or f"the metrics are {', '.join(known())}."
        raise UnlearnError(f"no metric called '{name}'.", hint)
    return known()[name]


def malformed(text: str) -> UnlearnError:
    """The error for a limit that cannot be read, with the likeliest way to mend it."""
    if "%" in text:
        return UnlearnError(f"the limit '{text}' is in per cent.", "limits are fractions: write 0.01 for 1 %.")
    if NOT_FINITE.search(text):
        return UnlearnError(f"the limit '{text}' has no finite number.", EXAMPLES)
    name = text.strip()
    if name in known():
        example = f"{name}<=0.01" if known()[name].better == "lower" else f"{name}>=0.9"
        return UnlearnError(
            f"the limit '{text}' has a metric but no number.",
            f"put the limit in quotes, or the shell takes < and > for files: --require '{example}'.",
        )
    return UnlearnError(f"the limit '{text}' cannot be read.", EXAMPLES)


def number(digits: str, text: str) -> Decimal:
    if not isfinite(float(digits)):
        raise UnlearnError(f"the limit '{text}' has no finite number.", EXAMPLES)
    return Decimal(digits)


def in_range(chosen: Metric, value: Decimal, text: str) -> None:
    """Refuse a number that the metric cannot reach."""
    if value < 0:
        raise UnlearnError(f"the limit '{text}' is negative, {chosen.name} never is.", EXAMPLES)
    if value > Decimal(chosen.most):
        hint = f"for {value:f} % write {value / 100:f}." if value <= 100 * Decimal(chosen.most) else EXAMPLES
        raise UnlearnError(f"the limit '{text}' can be no limit: {chosen.name} is at most {chosen.most:.6g}.", hint)


def check_measurable(
    limits: Iterable[Requirement], has_reference: bool, has_original: bool, is_class_request: bool,
    has_relearn: bool = False, has_passes: bool = False, has_shadow: bool = False, has_curves: bool = False,
) -> None:
    """Stop before the first pass over the data when a limit can never be judged with what was given.

    Args:
        has_passes: whether the job makes passes of its own for the metrics that are asked for.

    Raises:
        UnlearnError: a limit needs a model that was not given, or another kind of request.
    """
    given = {
        "reference": has_reference, "original": has_original, "class": is_class_request, "relearn": has_relearn,
        "random": has_passes, "revival": has_passes, "shadow": has_shadow, "curves": has_curves,
    }  # fmt: skip
    for limit in limits:
        needs = known()[limit.metric].needs + ((limit.base,) if isinstance(limit.base, str) else ())
        for need in needs:
            if not given[need]:
                what, hint = NEEDED[need]
                subject = limit.metric if need in known()[limit.metric].needs else f"the limit '{limit.text}'"
                raise UnlearnError(f"{subject} {what}.", hint)


def judge(
    limits: Sequence[Requirement],
    measures: dict[str, Measure],
    reference_measures: Sequence[dict[str, Measure]] = (),
    original_measures: dict[str, Measure] | None = None,
) -> Judgement:
    """Judge each limit on the evaluated checkpoint's measures.

    The exit code is 1 when a limit was measured and not met, 2 when there is no answer because one could not be measured.

    Raises:
        UnlearnError: a measure is not finite, so there is no answer.
    """
    models = {"reference": list(reference_measures), "original": [original_measures] if original_measures else []}
    judged = [judge_one(limit, measures, models) for limit in limits]
    results = [limit for limit, _ in judged]
    failed = sum(limit.outcome != "pass" for limit in results)
    outcomes = {limit.outcome for limit in results}
    said = line(judged, failed) + levels(results)
    return Judgement(results, said, 1 if "fail" in outcomes else 2 if "not measurable" in outcomes else 0)


def judge_one(limit: Requirement, measures: dict[str, Measure], models: dict) -> tuple[Limit, float]:
    """The result, and by how much the limit was kept (negative: missed), as a share of the metric's range."""
    own = measures.get(limit.metric, Measure(None, "not measured"))
    limit = widened(limit, models)
    target, reason = target_of(limit, models)
    tolerance = float(limit.tolerance) if limit.operator == "=" else None

    def result(outcome: str, why: str = "") -> Limit:
        shown = None if target is None else float(target)
        return Limit(limit.text, limit.metric, limit.operator, shown, own.value, outcome, why, tolerance, limit.level)

    if own.value is None or target is None:
        return result("not measurable", own.reason or reason or "not measured"), -inf
    if limit.banded and holds_for_all(limit, target):
        return result("not measurable", "the references lie so far apart that any value would keep the limit"), -inf
    value = exact(own.value, limit.metric)
    slack = {
        "<": target - value, "<=": target - value, ">": value - target, ">=": value - target,
        "=": limit.tolerance - abs(value - target),
    }[limit.operator]
    passed = slack > 0 or (slack == 0 and limit.operator not in ("<", ">"))
    if own.more_than:       # the truth lies above `value`: enough once `value` itself has reached the limit
        if value < target + limit.tolerance:
            return result("not measurable", f"more than {shortest(own.value)}, where the measurement stops"), -inf
        why = f"the true value is larger: the measurement stopped at {shortest(own.value)}"
        return result("pass" if limit.operator in (">", ">=") else "fail", why), float(slack)
    most = known()[limit.metric].most
    scale = Decimal(most) if isfinite(most) else max(abs(target), Decimal("1e-12"))
    return result("pass" if passed else "fail"), float(slack / scale)


def widened(limit: Requirement, models: dict[str, list[dict[str, Measure]]]) -> Requirement:
    """A banded limit that another retrained model would keep, as far as the spread of the references' own values tells."""
    found = [measures[limit.metric] for measures in models["reference"] if limit.metric in measures]
    # A ratio cut off at 0 would hide how far the references lie from each other.
    values = [measure.detail.get("ratio", measure.value) for measure in found if measure.value is not None]
    if not limit.banded or len(values) < noise.FEWEST:
        return limit
    spread = rounded(exact(noise.band(values), limit.metric))
    if limit.operator == "=":
        return replace(limit, tolerance=max(limit.tolerance, spread))
    if limit.base == "reference":
        return replace(limit, shift=max(limit.shift, spread) if limit.operator in ("<", "<=") else min(limit.shift, -spread))
    if isinstance(limit.base, Decimal):
        centre = rounded(sum(exact(value, limit.metric) for value in values) / len(values))
        bound = max(limit.base, centre + spread) if limit.operator in ("<", "<=") else min(limit.base, centre - spread)
        return replace(limit, base=bound)
    return limit


def holds_for_all(limit: Requirement, target: Decimal) -> bool:
    """Whether no value that the metric can have would miss the limit, so that keeping it shows nothing."""
    most = Decimal(known()[limit.metric].most)
    over, under = target + limit.tolerance >= most, target - limit.tolerance <= 0
    return {"<": target > most, "<=": over, ">": target < 0, ">=": under, "=": over and under}[limit.operator]


def rounded(value: Decimal) -> Decimal:
    """To as many digits as people read."""
    return value.quantize(Decimal("0.0001"))


def target_of(limit: Requirement, models: dict[str, list[dict[str, Measure]]]) -> tuple[Decimal | None, str]:
    """The number a limit comes to; of several references the mean counts."""
    if isinstance(limit.base, Decimal):
        return limit.base + limit.shift, ""
    found = [measures.get(limit.metric, Measure(None, "not measured")) for measures in models[limit.base]]
    if not found:
        return None, NEEDED[limit.base][0]
    for measure in found:
        if measure.value is None or measure.more_than:
            why = measure.reason or f"more than {shortest(measure.value)}, where the measurement stops"
            return None, f"the {limit.base}'s value is not known: {why}"
    values = [exact(measure.value, f"the {limit.base}'s {limit.metric}") for measure in found]
    mean = sum(values) / len(values)
    return (rounded(mean) if len(values) > 1 else mean) + limit.shift, ""


def exact(value: float, name: str) -> Decimal:
    """The number as it is written, so that 0.91 - 0.01 is 0.90 and comparisons need no tolerance."""
    if not isfinite(value):
        raise UnlearnError(f"{name} is {value}: there is nothing to judge.", "the checkpoint is damaged or diverged.")
    return Decimal(repr(float(value)))


def line(judged: Sequence[tuple[Limit, float]], failed: int) -> str:
    """The verdict in one line, naming the number that decided."""
    if not judged:
        return "Not judged: no limit was given; pass --require."
    if not failed:
        closest, _ = min(judged, key=lambda pair: pair[1])
        value, bound = in_words(closest)
        if len(judged) == 1:
            return f"Held: {closest.metric} is {value}, the limit is {bound}."
        return f"Held: all {len(judged)} limits met; the closest was {closest.metric} {value} against {bound}."

    def weight(pair: tuple[Limit, float]) -> tuple:
        limit, slack = pair
        return limit.outcome == "not measurable", known()[limit.metric].about != "forgetting", slack

    worst, _ = min((pair for pair in judged if pair[0].outcome != "pass"), key=weight)
    count = f"({failed} of {len(judged)} limit{'s' if len(judged) > 1 else ''} not met)"
    if worst.outcome == "not measurable":
        return f"Not shown: {worst.metric} could not be judged: {worst.reason} {count}."
    verdict = "Not forgotten" if known()[worst.metric].about == "forgetting" else "Not held"
    value, bound = in_words(worst)
    return f"{verdict}: {worst.metric} is {value}, the limit is {bound} {count}."


def levels(limits: Sequence[Limit]) -> str:
    """What the built-in policy says of each level that was asked for, as the end of a verdict."""
    outcomes: dict[str, set[str]] = {}
    for limit in limits:
        if limit.level:
            outcomes.setdefault(limit.level, set()).add(limit.outcome)
    words = [
        f" {level.capitalize()} level: {'held' if seen == {'pass'} else 'not held' if 'fail' in seen else 'not shown'}."
        for level, seen in outcomes.items()
    ]
    if "output" in outcomes and "feature" not in outcomes:
        words.append(" Feature level: not asked; the layers below the head may know everything still.")
    return "".join(words)


def in_words(limit: Limit) -> tuple[str, str]:
    """The value and the bound, with enough digits to see on which side of the bound the value lies."""
    if limit.target is None:
        return "-", limit.text[len(limit.metric):].strip()
    bound = f"{limit.operator} {shortest(limit.target)}"
    edges = [limit.target]
    if limit.tolerance is not None:
        bound += f"±{shortest(limit.tolerance)}" if limit.tolerance else ""
        edges = [limit.target - limit.tolerance, limit.target + limit.tolerance]
    places = DECIMALS[known()[limit.metric].unit]
    return ("-" if limit.value is None else telling(limit.value, edges, places)), bound


def telling(value: float, edges: Iterable[float], fewest: int = 4) -> str:
    """The number with a few decimals, and with more until it compares with the edges as printed as it does in full."""
    for places in range(fewest, 17):
        text = f"{value:.{places}f}"
        if all((float(text) > edge) - (float(text) < edge) == (value > edge) - (value < edge) for edge in edges):
            return text
    return repr(value)


def shortest(value: float) -> str:
    """0.01, 1, 0.8706: no trailing zeros, at most six decimals unless they hide the number."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text if float(text) == value or abs(float(text) - value) < 1e-9 else repr(value)
