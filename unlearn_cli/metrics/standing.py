"""The built-in policy's word on each level of a row: held, failed or not shown, and the number that said so first."""

from collections.abc import Sequence

from unlearn_cli.metrics.report import Limit, Row, Standing
from unlearn_cli.metrics.verdict import in_words


def standings(limits: Sequence[Limit]) -> dict[str, Standing]:
    """Each level that the judged limits speak of, in their order."""
    levels = dict.fromkeys(limit.level for limit in limits)
    return {level: standing([limit for limit in limits if limit.level == level]) for level in levels}


def standing(limits: Sequence[Limit]) -> Standing:
    """One level. A limit that was missed counts before one that could not be judged."""
    missed = [limit for limit in limits if limit.outcome == "fail"]
    unknown = [limit for limit in limits if limit.outcome == "not measurable"]
    if not missed and not unknown:
        return Standing("held", 1, 1)
    first = (missed or unknown)[0]
    value, bound = in_words(first)
    why = f"{first.metric} is {value}, the limit is {bound}" if missed else f"{first.metric} could not be judged: {first.reason}"
    count = f" ({len(missed) + len(unknown)} of {len(limits)} limits not met)" if len(limits) > 1 else ""
    return Standing("failed" if missed else "not shown", 0, 1, why + count)


def together(seeds: Sequence[dict[str, Standing]]) -> dict[str, Standing]:
    """Of one method's seeds: held where all did, with the reason of the first that did not; a failure counts before doubt."""
    found = {}
    for level in seeds[0]:
        each = [seed[level] for seed in seeds]
        worst = min(each, key=lambda one: ("failed", "not shown", "held").index(one.outcome))
        found[level] = Standing(worst.outcome, sum(one.held for one in each), sum(one.runs for one in each), worst.reason)
    return found


def word(standing: Standing) -> str:
    """For a table's cell: the outcome, or the share of several seeds that held."""
    return standing.outcome if standing.runs == 1 else f"{standing.held}/{standing.runs}"


def said(row: Row) -> str:
    """One line on a row's levels: what held, what did not, and the number that said so."""
    words = []
    for level, one in row.levels.items():
        share = f" ({one.held}/{one.runs})" if one.runs > 1 else ""
        words.append(f"{level} {one.outcome}{share}" + (f": {one.reason}" if one.reason else ""))
    return f"{row.label}: {'; '.join(words)}"
