"""The README's tables of measured results, from the documents that the benchmarks left in tests/benchmarks/results."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "benchmarks" / "results"


def read(name: str):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def every_class() -> tuple[list[str], list[list[str]]]:
    """One row per class and one of medians: retain_test_accuracy and unlearning score, per network and method."""
    networks = {name: read(f"every_class_{name}") for name in ("compact", "resnet18")}
    who = ("original", "lau", "mask")
    head = ["class", *(f"{network}: {w} retain, US" for network in networks for w in who)]

    def cells(entries) -> list[str]:
        return [f"{percent(e[w]['retain_test_accuracy'])}, {e[w]['unlearning_score']:.3f}" for e in entries for w in who]

    rows = [[entries[0]["class"], *cells(entries)] for entries in zip(*(d["classes"] for d in networks.values()), strict=True)]
    return head, [*rows, ["median", *cells([d["median"] for d in networks.values()])]]
