"""Which layers changed? Similarity of a network's blocks to another's, block by block.

A method that edits the head alone leaves every block below it as it was, similarity 1; how far two independently trained
networks are from each other is seen in the references' own rows.
"""

from collections.abc import Sequence

from unlearn_cli.metrics.accuracy import ABSENT
from unlearn_cli.metrics.registry import Blocks, Evidence, metric
from unlearn_cli.metrics.report import Measure, Row, Series

CKA = "linear CKA, Kornblith et al. 2019"
NAMES = ("blocks_to_original", "blocks_to_reference")


@metric(better="reference", needs=("blocks", "original"), short="blocks to original", source=CKA)
def blocks_to_original(evidence: Evidence) -> Measure:
    """Least similarity of a block below the head to the original's, on the forget set; 1 when none of them changed."""
    if evidence.blocks is None or evidence.blocks.original is None:
        return Measure(None, "needs the original model")
    return least(evidence.blocks, evidence.blocks.original)


@metric(better="reference", needs=("blocks", "reference"), short="blocks to reference", source=CKA)
def blocks_to_reference(evidence: Evidence) -> Measure:
    """Least similarity of a block below the head to the reference's, on the forget set; averaged over references first."""
    if evidence.blocks is None or not evidence.blocks.references:
        return Measure(None, "needs a reference model")
    return least(evidence.blocks, mean(evidence.blocks.references))


def mean(each: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean over models for every block that all of them have; None where one of them does not vary."""
    found = {}
    for name in each[0]:
        values = [one[name] for one in each if name in one]
        if len(values) == len(each):
            found[name] = None if None in values else sum(values) / len(values)
    return found


def least(blocks: Blocks, found: dict[str, float | None]) -> Measure:
    """The least similar block below the head; the detail has all of them, the head too."""
    if not blocks.images:
        return Measure(None, ABSENT["forget"])
    below = {name: value for name, value in found.items() if name != blocks.head and value is not None}
    detail = {"blocks": list(found), "similarity": list(found.values()), "n": blocks.images}
    if not below:
        return Measure(None, "no block below the head is in both networks and varies, or their images differ in size")
    name = min(below, key=below.get)
    return Measure(below[name], detail=detail | {"block": name})


def series(rows: Sequence[Row]) -> list[Series]:
    """Every row's similarity block by block, to the original and to the references where there are any."""
    found = []
    for name in NAMES:
        details = [row.measures[name].detail for row in rows]
        each = [dict(zip(detail.get("blocks", ()), detail.get("similarity", ()), strict=True)) for detail in details]
        if places := list(dict.fromkeys(place for one in each for place in one)):
            whose = "the original's" if name == NAMES[0] else "the references'"
            n = next(detail["n"] for detail in details if "n" in detail)
            title = f"similarity (linear CKA) to {whose}, by block, on {n:,} images of the forget set"
            values = [[one.get(place) for place in places] for one in each]
            found.append(Series(name, title, "block", places, values, "score", places))
    return found
