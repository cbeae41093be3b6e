"""The README's tables of measured results, from the documents that the benchmarks left in tests/benchmarks/results."""

import json
import statistics
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


PAPERS = {
    "class": {
        "original": "retain_test 93.1 % (LAU)",
        "retrained": "MIA 51 % (SULI)",
        "lau": "93.5 %, US 0.950",
        "suli": "89.8 %, forget_test 0 %, MIA 51 %",
        "su": "88.9 %, forget_test 0 %, MIA 52 %",
        "unsir": "71.1 % of 77.9 %, forget 0 %, relearn 90",
        "fisher": "10.9 %, forget 0 % (UNSIR)",
        "fine-tune": "78.1 % of 77.9 %, forget 24.6 %, relearn 8 (UNSIR)",
        "neg-grad": "66.7 % of 77.9 %, forget 7.4 %, relearn 54 (UNSIR)",
        "random-label": "74.1 %, forget_test 0.0 %, MIA 54 % (SULI)",
        "initial-label": "14.4 %, forget_test 5.2 %, MIA 49 % (SULI)",
        "adv-imp": "47.3 %, forget_test 0.0 %, MIA 57 % (SULI)",
        "boundary-shrink": "81.5 %, forget_test 8.2 % (its code, All-CNN)",
    },
    "100 images": {
        "retrained": "test 85.3 %, forget 86.9 % (TMU)",
        "tmu": "test 84.9 %, forget 90.1 %, Δ 4.2 points",
        "fine-tune": "forget 100 %, Δ 13.1 points (TMU)",
        "neg-grad": "forget 10.6 %, Δ 76.3 points (TMU)",
        "random-label": "test 85.4 %, forget 0 %, Δ 86.9 points (TMU)",
        "bad-teacher": "test 82.4 %, forget 91.5 %, Δ 8.0 points (TMU)",
        "suli": "test 84.3 of 86.3 %, forget 85.9 %, MIA 50 % (n = 128)",
        "su": "test 83.8 of 86.3 %, forget 84.4 %, MIA 48 % (n = 128)",
        "adv-imp": "test 75.2 %, forget 85.9 % (SULI, n = 64)",
        "initial-label": "test 84.4 %, forget 85.9 %, MIA 47 % (SULI, n = 64)",
    },
    "1544 images": {
        "original": "test 59.7 %, final score 0.585",
        "retrained": "test 48.0 %, final score 0.702",
        "gli": "test 56.9 %, final score 0.754",
        "fine-tune": "final score 0.607 (GLI)",
        "neg-grad": "final score 0.654 (GLI)",
    },
}
"""ResNet-18 on CIFAR-10 unless it says otherwise, on MUFAC for the ages; for one class the first number is
retain_test_accuracy. In brackets who reports it, where not the method's own authors."""

SHOWN = {
    "class": ("forget_test_accuracy", "retain_test_accuracy", "unlearning_score"),
    "100 images": ("forget_accuracy", "test_accuracy", "forget_accuracy_gap"),
    "1544 images": ("forget_accuracy", "test_accuracy", "forgetting_score", "final_score"),
}
ALWAYS = ("membership_accuracy", "activation_distance", "relearn_epochs", "seconds", "images read")
HEADS = {
    "forget_test_accuracy": "forget_test", "retain_test_accuracy": "retain_test", "unlearning_score": "US",
    "forget_accuracy": "forget", "test_accuracy": "test", "forget_accuracy_gap": "Δ", "membership_accuracy": "MIA",
    "activation_distance": "AD", "relearn_epochs": "relearn", "forgetting_score": "FS",
    "final_score": "final score",
}  # fmt: skip


def behaviours() -> list[tuple[str, str, str]]:
    """(network, request, heading) of every table that there are results for."""
    found = {(e["network"], e["request"]) for e in read("behaviour")}
    what = {
        "class": "the class cat, 5,000 images", "100 images": "100 listed images of cats",
        "1544 images": "1,544 listed images of 7,722 in eight age groups",
    }  # fmt: skip
    order = sorted(found, key=lambda f: (f[1] == "1544 images", f[0], f[1] != "class"))
    return [(network, request, f"{network}, {what[request]}") for network, request in order]


def behaviour(network: str, request: str) -> tuple[list[str], list[list[str]]]:
    """One row per method and settings: mean ± standard deviation over the seeds, beside the figures that papers print."""
    found = [e for e in read("behaviour") if e["network"] == network and e["request"] == request and not e.get("refused")]
    return by_method(found, (*SHOWN[request], *ALWAYS), PAPERS[request])


def by_method(entries: list[dict], columns: tuple[str, ...], papers: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """A row per method and settings, original, retrained and mask first; papers' figures stand beside the defaults."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for e in entries:
        groups.setdefault((e["method"], e.get("label", "")), []).append(e)
    first = ["original", "retrained", "mask"]
    order = sorted(groups, key=lambda key: (first.index(key[0]) if key[0] in first else len(first), *key))
    rows = []
    for name, label in order:
        title = name if name in first[:2] else f"`{name}` {label}".strip()
        printed = "" if label else papers.get(name, "")
        rows.append([title, *(cell(groups[name, label], c) for c in columns), printed])
    return ["method", *(HEADS.get(c, c) for c in columns), "papers"], rows


def cell(entries: list[dict], column: str) -> str:
    if column == "images read":
        if "images_read" not in entries[0]:
            return ""
        return f"{statistics.mean(sum(e['images_read'].values()) for e in entries):,.0f}"
    values = [e.get("seconds") if column == "seconds" else e["metrics"].get(column) for e in entries]
    if None in values:
        return ""
    if column == "relearn_epochs":
        return " ".join(f"{'>' if e['metrics']['relearn_capped'] else ''}{v:.0f}" for e, v in zip(entries, values, strict=True))
    if column in ("unlearning_score", "activation_distance", "forgetting_score", "final_score"):
        return spread(values, 1, 3)
    if column == "seconds":
        return spread(values, 1, 1)
    return spread(values, 100, 1) + " %"


def spread(values: list[float], factor: float, digits: int) -> str:
    shown = f"{factor * statistics.mean(values):.{digits}f}"
    return shown + (f" ± {factor * statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


VERDICTS = ("forget_test_accuracy", "retain_test_accuracy", "average_gap", "tug_of_war", "membership_auc", "separation_recovery",
            "revived_accuracy")  # fmt: skip


def verdicts() -> tuple[list[str], list[list[str]]]:
    """A row per checkpoint or method of `compare --verify full`: the metrics, and each level with the first limit missed."""
    rows = []
    for row in sorted(read("compare_compact")["rows"], key=lambda row: row["role"] == "unlearned"):
        name = f"`{row['label']}`" if row["role"] == "unlearned" else row["role"]
        cells = ["" if row[m] is None else f"{row[m]:.3f}" if "auc" in m or "war" in m else percent(row[m]) for m in VERDICTS]
        levels = [row["levels"][level] for level in ("output", "feature")]
        rows.append([name, *cells, *(level["outcome"] + missed(level["reason"]) for level in levels)])
    return ["method", *(m.removesuffix("_accuracy").replace("_", " ") for m in VERDICTS), "output", "feature"], rows


def missed(reason: str) -> str:
    """The metric that decided, in brackets."""
    return f" ({reason.split()[0]})" if reason else ""


NEAREST = {
    "resnet18 on Fashion-MNIST": (
        "200 training and 100 test images per class in place of 6,000 and 1,000, a sixteenth of the weights (width 16 in place of "
        "64), 12 epochs; the rows of SULI and UNSIR are of CIFAR-10",
        {
            "lau": "94.5 %, forget_test 0 % (LAU, Fashion-MNIST)",
            "suli": "89.8 %, forget_test 0 %, MIA 51 % (SULI, tables 2 to 5, CIFAR-10)",
            "retrained": "78.3 % (UNSIR, table 1, CIFAR-10)",
            "unsir": "34.8 % and 64.5 % with 50 and 500 images per class, forget 0.9 % and 0 % (UNSIR, table 8, CIFAR-10)",
            "neg-grad": "66.7 % of 77.9 %, forget 7.4 % (UNSIR, table 1, CIFAR-10)",
            "fine-tune": "78.1 % of 77.9 %, forget 24.6 % (UNSIR, table 1, CIFAR-10)",
        },
    ),
    "vgg16 on Fashion-MNIST": (
        "100 training and 50 test images per class in place of 6,000 and 1,000, at full width, 10 epochs of TMU's recipe; of "
        "these papers' rows only LAU's is of a VGG16",
        {"lau": "93.9 %, forget_test 0 % (LAU, Fashion-MNIST)"},
    ),
    "resnet18 pre-trained on five classes of CIFAR-10, fine-tuned on the other five": (
        "begun on 2,500 images of CIFAR-10's other half and fine-tuned on as many of five classes, where UNSIR's pre-trained "
        "network is fine-tuned on CIFAR-100; width 16 in place of 64; five epochs as there. The rows of LAU and SULI are of "
        "CIFAR-10 from scratch",
        {
            "original": "78.7 % (UNSIR, table 3, CIFAR-100)",
            "unsir": "75.4 % of 78.7 %, forget 0 % (UNSIR, table 3, CIFAR-100)",
            "lau": "93.5 %, forget_test 0 %, US 0.950 (LAU, CIFAR-10)",
            "suli": "89.8 %, forget_test 0 %, MIA 51 % (SULI, tables 2 to 5, CIFAR-10)",
        },
    ),
    "shifted ViT on Fashion-MNIST": (
        "150 training and 100 test images per class in place of 6,000 and 1,000, width 96, 20 epochs from scratch; UNSIR's ViT "
        "is on faces, and TMU's, which has shifted patches too, forgets listed images and no class",
        {
            "lau": "87.4 %, forget_test 0 % (LAU, Fashion-MNIST)",
            "unsir": "82.9 %, forget 4.8 % (UNSIR, table 4, VGGFace-100)",
        },
    ),
    "mobilenet-v2 on faces": (
        "12 people with 60 training images each at most, at 48 pixels, 15 epochs from scratch; UNSIR's MobileNetV2 is pre-trained "
        "and on CIFAR-100, and the faces of the other rows are VGGFace2's, for other networks",
        {
            "original": "77.4 % (UNSIR, table 3, MobileNetV2 on CIFAR-100)",
            "unsir": "75.8 % of 77.4 %, forget 0 % (UNSIR, table 3, MobileNetV2 on CIFAR-100)",
            "lau": "95.3 %, forget_test 0 % (LAU, ResNet18 on ten people of VGGFace2)",
            "suli": "72.6 %, forget_test 0 % (SULI, ResNet50 on VGGFace2)",
        },
    ),
}
"""By the names of `benchmarks.other_networks`: what differs from the papers' set-ups, and the papers' nearest row for each method.
The first number is the accuracy on the classes that stay, of the original's where two are given; in brackets its source."""


def other_networks() -> list[tuple[str, str, tuple[list[str], list[list[str]]]]]:
    """(network, what differs from the papers, table) of every set-up that there are results for, in the order of the plan."""
    columns = (*SHOWN["class"], "membership_accuracy", "activation_distance", "seconds", "images read")
    found = []
    for network, (differs, papers) in NEAREST.items():
        entries = [e for e in read("other_networks") if e["network"] == network and not e.get("refused")]
        if entries:
            found.append((network, differs, by_method(entries, columns, papers)))
    return found
