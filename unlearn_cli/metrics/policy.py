"""The limits of `--verify`: what a model that forgot must hold, by kind of request and by level.

Output level: what the model says. Feature level: what the layers below the head still know. A model retrained without the
forget set must hold all of them, one that hides must not; where there are several references, the limits on what is forgotten
follow the spread of their values (`metrics.noise`), those on what is kept never do.
"""

from collections.abc import Iterable
from dataclasses import replace

from unlearn_cli.errors import UnlearnError
from unlearn_cli.kinds import Kind
from unlearn_cli.metrics.requirements import Requirement, parse_one

LEVELS = ("output", "feature")
VERIFY = {"output": ("output",), "full": LEVELS}
"""The levels that each word of --verify asks for."""

FORGOTTEN = {
    ("classes", "output"): ("forget_accuracy<=0.01", "forget_test_accuracy<=0.01"),
    ("classes", "feature"): ("separation_recovery<=0.5", "revived_accuracy<=0.05"),
    ("images", "output"): ("forget_accuracy=reference±0.05",),
    ("images", "feature"): ("revived_accuracy<=reference+0.05",),
}
"""For every request. A class that separates like the original's, or comes back by training on other images, is still known:
the first finds what a head hides, the second what BatchNorm's statistics hide. What names a reference needs one.
"""
KEPT = {
    ("classes", True): ("retain_test_accuracy>=reference-0.01",),
    ("classes", False): ("retain_test_accuracy>=original-0.01",),
    ("images", True): ("test_accuracy>=reference-0.01",),
    ("images", False): ("test_accuracy>=original-0.01",),
}
"""What must not have suffered, by whether there is a reference; at the output level."""
ALIKE = ("membership_auc=reference±0.05",)
"""At the output level with a reference: two-sided, since forgetting too much gives the forget set away as well."""
AMONG = ("reference_divergence=reference±0.1", "mean_entropy=reference±0.05")
"""At the output level with two references, so that one can be measured against the other."""


def check(verify: str | None) -> None:
    """Refuse a word that --verify does not know; None asks for nothing."""
    if verify not in (None, *VERIFY):
        raise UnlearnError(f"--verify {verify} is not known.", f"it is one of {', '.join(VERIFY)}.")


def limits(verify: str, kind: Kind, references: int) -> list[Requirement]:
    """The built-in limits of --verify, output level first.

    Args:
        verify: "output" or "full".
        references: how many retrained models there are.
    """
    found = []
    for level in VERIFY[verify]:
        texts = FORGOTTEN[kind, level]
        if level == "output":
            texts += KEPT[kind, references > 0] + ALIKE * (references > 0) + AMONG * (references > 1)
        found += at_level(texts, level)
    return found


def at_level(texts: Iterable[str], level: str) -> list[Requirement]:
    return [replace(parse_one(text), level=level, banded=True) for text in texts]
