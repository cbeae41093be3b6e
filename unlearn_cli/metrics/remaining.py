"""What is left of the classes that listed images belong to: is it known as before, or did it go with them?"""

from unlearn_cli.metrics.accuracy import ABSENT, share
from unlearn_cli.metrics.registry import IMAGES_ONLY, Evidence, metric
from unlearn_cli.metrics.report import Measure

NAMED = 20
"""Classes whose counts a detail has, at most."""


@metric(better="higher", about="keeping", needs=("images",), short="rest of classes")
def remaining_accuracy(evidence: Evidence) -> Measure:
    """Share of the retain images of the listed images' classes that is classified correctly.

    The detail has how many images of each class were listed and how many are left, most listed first, of 20 classes.
    """
    return of_the_rest(evidence, "retain")


@metric(better="higher", about="keeping", needs=("images",), short="test of classes")
def remaining_test_accuracy(evidence: Evidence) -> Measure:
    """Share of the test images of the listed images' classes that is classified correctly."""
    return of_the_rest(evidence, "test")


def of_the_rest(evidence: Evidence, split: str) -> Measure:
    """The accuracy on the images of a split that share a class with listed ones, and the counts class by class."""
    import torch

    if evidence.kind == "classes":
        return Measure(None, IMAGES_ONLY)
    forget, others = evidence.split("forget"), evidence.split(split)
    for name, index in (("forget", forget), (split, others)):
        if index is None:
            return Measure(None, ABSENT[name])
    count = evidence.task.count
    listed, there = (evidence.labels[index].bincount(minlength=count) for index in (forget, others))
    rest = others[torch.isin(evidence.labels[others], evidence.labels[forget])]
    if len(rest) == 0:
        return Measure(None, f"no {split} image is left of the listed images' classes")
    hits = evidence.correct[rest]
    detail = {"correct": int(hits.sum()), "n": len(hits)} | by_class(evidence.names, listed, there)
    return Measure(share(hits), detail=detail)


def by_class(names: tuple[str, ...], listed, there) -> dict[str, list]:
    """How many images of a class are listed, and how many are there: of those with most listed, in their order."""
    order = listed.argsort(descending=True, stable=True)[: int((listed > 0).sum())]
    found = order[:NAMED].tolist()
    more = {"more_classes": len(order) - NAMED} if len(order) > NAMED else {}
    return {
        "classes": [names[c] if names else str(c) for c in found],
        "listed": listed[found].tolist(),
        "left": there[found].tolist(),
    } | more  # fmt: skip
