"""Limits as they are typed, understood before anything is measured.

A limit reads `metric<=0.01`, `metric>=original-0.01` or `metric=reference±0.05`.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import inf, isfinite

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.kinds import Kind
from unlearn_cli.metrics.registry import Metric, known

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
NEEDED = {
    "reference": ("needs a reference model", "pass --reference FILE: a model trained without the forget set."),
    "original": ("needs the original model", "pass --original FILE: the model before it forgot."),
    "class": ("is defined for requests that name classes only", "leave this limit out for a list of images."),
    "images": ("is defined for requests that name images only", "leave this limit out for classes."),
    "relearn": ("is not measured here", "`unlearn relearn` measures it."),
    "curves": ("is computed from relearning curves, which are not drawn here",
               "`unlearn evaluate` draws them, and `unlearn relearn --attack few-shot` shows them."),
    "random": ("needs a network with random weights, which is not made here", "`unlearn evaluate` makes one."),
    "revival": ("needs some steps of training, which are not made here", "`unlearn evaluate` makes them."),
    "blocks": ("needs passes of its own, which are not made here", "`unlearn evaluate` makes them."),
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

    def always(self, target: Decimal) -> bool:
        """Whether no value that the metric can have would miss the limit, so that keeping it shows nothing."""
        most = Decimal(known()[self.metric].most)
        over, under = target + self.tolerance >= most, target - self.tolerance <= 0
        return {"<": target > most, "<=": over, ">": target < 0, ">=": under, "=": over and under}[self.operator]

    def never(self, target: Decimal) -> bool:
        """Whether no value that the metric can have would keep the limit."""
        most = Decimal(known()[self.metric].most)
        outside = target + self.tolerance < 0 or target - self.tolerance > most
        return {"<": target <= 0, "<=": target < 0, ">": target >= most, ">=": target > most, "=": outside}[self.operator]


def parse(texts: Iterable[str]) -> list[Requirement]:
    """Understand limits before anything is measured.

    Raises:
        UnlearnError: a limit is malformed, names no metric, can only be a slip (per cent for a fraction), holds for any value
            or for none, or says again what another one says.
    """
    found = [parse_one(text) for text in texts]
    first: dict[tuple, Requirement] = {}
    for limit in found:
        bounded = limit.operator[0], limit.base if isinstance(limit.base, str) else ""
        before = first.setdefault((limit.metric, *bounded), limit)
        if before is not limit:
            raise repeated(before, limit)
    return found


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
    limit = Requirement(text.strip(), name, operator, base, shift, tolerance, banded=exact_reference)
    # A model's value lies somewhere between 0 and the most there is.
    targets = [shift, Decimal(chosen.most) + shift] if found["model"] else [base]
    for done, is_so in (("missed", limit.always), ("met", limit.never)):
        if all(map(is_so, targets)):
            top = "" if chosen.most == inf else f" and at most {chosen.most:.6g}"
            problem = f"the limit '{limit.text}' can never be {done}: {name} is at least 0{top}."
            raise UnlearnError(problem, f"set one that tells models apart, {EXAMPLES}")
    return limit


def repeated(first: Requirement, second: Requirement) -> UnlearnError:
    """The error for two limits on the same side of the same value, of which one means nothing."""
    if (first.operator, first.base, first.shift, first.tolerance) == (second.operator, second.base, second.shift, second.tolerance):
        return UnlearnError(f"the limit '{first.text}' is given twice.", "leave one out, or mend the one that was meant otherwise.")
    return UnlearnError(f"the limits '{first.text}' and '{second.text}' bound the same thing.", "keep the one that is meant.")


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
    limits: Iterable[Requirement], has_reference: bool, has_original: bool, kinds: Collection[Kind],
    has_relearn: bool = False, has_passes: bool = False, has_shadow: bool = False,
) -> None:
    """Stop before the first pass over the data when a limit can never be judged with what was given.

    Args:
        kinds: of the requests that will be judged; each limit is for those that it is defined for.
        has_passes: whether the job makes passes and trainings of its own for the metrics that are asked for.

    Raises:
        UnlearnError: a limit needs a model that was not given, or another kind of request.
    """
    given = {
        "reference": has_reference, "original": has_original, "class": "classes" in kinds, "images": "images" in kinds,
        "relearn": has_relearn,
        "shadow": has_shadow, "random": has_passes, "revival": has_passes, "curves": has_passes, "blocks": has_passes,
    }  # fmt: skip
    for limit in limits:
        needs = known()[limit.metric].needs + ((limit.base,) if isinstance(limit.base, str) else ())
        for need in needs:
            if not given[need]:
                what, hint = NEEDED[need]
                subject = limit.metric if need in known()[limit.metric].needs else f"the limit '{limit.text}'"
                raise UnlearnError(f"{subject} {what}.", hint)
