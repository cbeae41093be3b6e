"""How many images a number needs before it says anything, and before a limit on it does.

A metric that tells two sides apart has no value where chance alone would move it by NOISE or more. A limit is judged only
where one image more or less weighs no more than the distance that is allowed from another model's value (`too_heavy`), and is
held only where a model that should miss it would keep it by luck less often than LUCK (`lucky`).

That model's true value lies in the middle of what the limit excludes (of the larger part, where a limit has two sides). For
an upper limit on what is forgotten it is the original's, where that is lower, and where the limit or the metric is relative to
the reference: all models answer the same images. Of two sides it is the original's where that is higher.

Means over n images are taken for counts, and two sides for ranks: nothing bounded varies more. How widely references lie
apart is another question (`metrics.noise`).
"""

from collections.abc import Callable
from math import ceil, floor, inf, isfinite, sqrt
from statistics import NormalDist

from unlearn_cli.metrics.registry import Metric, known
from unlearn_cli.metrics.report import Measure
from unlearn_cli.metrics.requirements import Requirement

NOISE = 0.1
LUCK = 0.02
MARGIN = 0.05
"""An accuracy is back when it is within this of the original's: times of relearning need an image to weigh no more."""
FARTHEST = 5000
"""A number of images that would do is looked for up to here."""
ROUNDING = 1e-9


def rank_noise(n: int, m: int) -> float:
    """The standard deviation of an AUC around 1/2 when n and m untied scores are dealt to the two sides by chance."""
    return sqrt((n + m + 1) / (12 * n * m)) if n and m else inf


def too_few(n: int, m: int) -> Measure | None:
    """No value, and why, for a number that tells n images from m others; None where there are enough."""
    if rank_noise(n, m) < NOISE:
        return None
    needed = next(k for k in range(1, FARTHEST) if rank_noise(k, k) < NOISE)
    return Measure(None, f"needs more images: {needed} on each side would do, there are {n:,} and {m:,}")


def too_heavy(limit: Requirement, target: float, measure: Measure) -> str:
    """Why so few images let one of them decide a limit, whichever way, or nothing.

    Args:
        limit: as typed, before references widened it; target: the number that it came to.
    """
    n = images(measure)
    if n is None or n >= (fewest := by_weight(limit, known()[limit.metric], target)):
        return ""
    return few(measure, f"one alone may decide it; {fewest:,} would do")


def lucky(limit: Requirement, target: float, measure: Measure, original: Measure | None = None) -> str:
    """Why so few images could keep a limit by luck, or nothing.

    Args:
        limit, target: as for `too_heavy`.
        original: the same metric of the original.
    """
    metric, n = known()[limit.metric], images(measure)
    if n is None or not isfinite(metric.most):
        return ""
    edge, rival, upper = excluded(limit.operator, target, float(limit.tolerance), metric.most)
    whose = "a model halfway to what the limit excludes"
    before = None
    if upper and metric.about == "forgetting":
        is_place = "ratio" in measure.detail
        before = smoothed(1.0, n, metric) if is_place else rate(original, metric)
    if before is not None and limit.operator == "=":
        rival = max(rival, before)
    elif before is not None and (is_place or limit.base == "reference" or before < rival):
        rival, whose = before, "even the original"
    luck = luck_of(measure, edge / metric.most, rival / metric.most, upper)
    if (chance := luck(1.0)) < LUCK:
        return ""
    most = next((m for m in range(n + 1, FARTHEST) if luck(m / n) < LUCK), None) if (rival > edge) == upper else None
    keeps = f"{whose} would keep it with a chance of {100 * chance:.3g} %"
    return few(measure, f"{keeps}; {most:,} would do") if most else f"{keeps}, and more images than {n:,} do not help"


def images(measure: Measure) -> int | None:
    """How many images a value rests on: those of the smaller side, where it tells two apart; None where it does not say."""
    n = measure.detail.get("n")
    return n if n is None or is_share(measure) else min(n, measure.detail["n_unseen"])


def is_share(measure: Measure) -> bool:
    """Whether a value is a mean over images, and no comparison of two sides; a TPR is the share of one of them."""
    return "n_unseen" not in measure.detail or "chance" in measure.detail


def few(measure: Measure, why: str) -> str:
    each = "" if is_share(measure) else " on the smaller side"
    n = images(measure)
    return f"too few images: with {n:,}{each} {why}"


def by_weight(limit: Requirement, metric: Metric, target: float) -> int:
    """The fewest images of which one weighs no more than the distance that is allowed."""
    if not isfinite(metric.most) and "curves" in metric.needs:
        return ceil(1 / MARGIN - ROUNDING)
    most, is_relative = metric.most if isfinite(metric.most) else 1.0, isinstance(limit.base, str)
    if limit.operator == "=":
        distance = float(limit.tolerance)
        counts = is_relative or distance < target < most - distance      # an edge at the end of the range is none
    else:
        distance = abs(float(limit.shift))
        counts = is_relative and metric.about == "forgetting"
    return ceil(most / distance - ROUNDING) if distance and counts else 0


def excluded(operator: str, target: float, tolerance: float, most: float) -> tuple[float, float, bool]:
    """The edge of the larger part of [0, most] that a limit excludes, the middle of that part, and whether it lies above."""
    low, high = target - tolerance, target + tolerance
    upper = operator in ("<", "<=") or (operator == "=" and most - high >= low)
    edge = min(max(high if upper else low, 0.0), most)
    return edge, (edge + most) / 2 if upper else edge / 2, upper


def rate(original: Measure | None, metric: Metric) -> float | None:
    """What the original comes to, as far as its images tell; None where it is not known."""
    if original is None or original.value is None or (n := images(original)) is None or not is_share(original):
        return None
    return smoothed(original.value, n, metric)


def smoothed(value: float, n: int, metric: Metric) -> float:
    """A mean over n images, drawn to the middle as by one image more at either end: few images prove little."""
    return (value * n + metric.most) / (n + 2)


def luck_of(measure: Measure, edge: float, rival: float, upper: bool) -> Callable[[float], float]:
    """The chance that a model with a true value of `rival`, in shares of the range, lands on the right side of the edge.

    Returns:
        A function of how many times as many images there are.
    """
    from unlearn_cli.ops.binomial import at_least

    n, m = measure.detail["n"], measure.detail.get("n_unseen", 0)
    noise, away = measure.detail.get("noise_of_images"), rival - edge if upper else edge - rival

    def luck(times: float) -> float:
        count = round(n * times)
        if not is_share(measure):
            return NormalDist().cdf(-away / rank_noise(count, round(m * times)))
        if noise is not None:
            return NormalDist().cdf(-away / max(noise / sqrt(times), ROUNDING))
        if upper:
            return 1 - at_least(floor(edge * count + ROUNDING) + 1, count, rival)
        return at_least(ceil(edge * count - ROUNDING), count, rival)

    return luck
