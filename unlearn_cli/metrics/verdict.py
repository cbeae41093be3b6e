"""From measures and limits to a verdict: held, or not, with the number that decided. A verdict is evidence, no more."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from math import inf, isfinite
from typing import NamedTuple

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics import enough, noise
from unlearn_cli.metrics.registry import known
from unlearn_cli.metrics.report import Limit, Measure
from unlearn_cli.metrics.requirements import NEEDED, Requirement

DECIMALS = {"fraction": 4, "score": 4, "seconds": 2, "epochs": 0, "steps": 0}


class Judgement(NamedTuple):
    limits: list[Limit]
    verdict: str
    exit_code: int


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
    typed, limit = limit, widened(limit, models)
    target, reason = target_of(limit, models)
    tolerance = float(limit.tolerance) if limit.operator == "=" else None

    def result(outcome: str, why: str = "") -> Limit:
        shown = None if target is None else float(target)
        return Limit(limit.text, limit.metric, limit.operator, shown, own.value, outcome, why, tolerance, limit.level)

    if own.value is None or target is None:
        return result("not measurable", own.reason or reason or "not measured"), -inf
    if limit.always(target):
        return result("not measurable", any_value(typed, limit, target)), -inf
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
    if own.at_most:         # the truth lies at `value` or below: enough once `value` itself keeps an upper limit
        below = limit.operator in ("<", "<=")
        if passed != below or (not below and value > target):
            return result("not measurable", f"at most {shortest(own.value)}, which does not decide it"), -inf
        why = f"the true value may be smaller: it is known to be at most {shortest(own.value)}"
        return result("pass" if below else "fail", why), float(slack)
    if few := too_few(typed, own, passed, models):
        return result("not measurable", few), -inf
    most = known()[limit.metric].most
    scale = Decimal(most) if isfinite(most) else max(abs(target), Decimal("1e-12"))
    return result("pass" if passed else "fail"), float(slack / scale)


def widened(limit: Requirement, models: dict[str, list[dict[str, Measure]]]) -> Requirement:
    """A banded limit that another retrained model would keep, as far as the spread of the references' own values tells."""
    found = [measures[limit.metric] for measures in models["reference"] if limit.metric in measures]
    # A ratio cut off at 0 would hide how far the references lie from each other.
    values = [measure.unclipped for measure in found if measure.value is not None]
    kept = limit.level and known()[limit.metric].about == "keeping"     # usefulness is not excused by how far others fell
    if kept or not limit.banded or len(values) < noise.FEWEST:
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


def any_value(typed: Requirement, limit: Requirement, target: Decimal) -> str:
    """Why a limit that came to this target shows nothing, widened or as it was typed."""
    if limit != typed:
        return "the references lie so far apart that any value would keep the limit"
    return f"with {limit.base} at {shortest(float(target - limit.shift))} any value would keep the limit"


def too_few(limit: Requirement, own: Measure, passed: bool, models: dict[str, list[dict[str, Measure]]]) -> str:
    """Why this limit, as typed, cannot be judged on so few images, or nothing; a plain limit that is missed is missed."""
    target = float(target_of(limit, models)[0])
    if heavy := enough.too_heavy(limit, target, own):
        return heavy
    if not passed and limit.operator != "=":
        return ""
    original = models["original"][0].get(limit.metric) if models["original"] else None
    return enough.lucky(limit, target, own, original)


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
        if measure.value is None or measure.more_than or measure.at_most:
            why = measure.reason or (f"more than {shortest(measure.value)}, where the measurement stops" if measure.more_than
                                     else f"at most {shortest(measure.value)}")  # fmt: skip
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
    edges = [limit.target]
    bound = f"{limit.operator} {readable(limit.target, limit.value)}"
    if limit.tolerance is not None:
        bound += f"±{shortest(limit.tolerance)}" if limit.tolerance else ""
        edges = [limit.target - limit.tolerance, limit.target + limit.tolerance]
    places = DECIMALS[known()[limit.metric].unit]
    return ("-" if limit.value is None else telling(limit.value, edges, places)), bound


def readable(target: float, value: float | None) -> str:
    """What a limit comes to: a computed number with four decimals, or with all where these hide on which side a value lies."""
    whole, short = shortest(target), shortest(round(target, 4))
    near = float(short)
    same = value is None or (value > near) - (value < near) == (value > target) - (value < target)
    return short if len(whole.partition(".")[2]) > 6 and near and same else whole


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
