"""Forget each class of a checkpoint in turn, with its defaults and beside the mask: one JSON document. Run by hand:

    python tests/benchmarks/every_class.py model.safetensors [--method lau] > classes.json

Drops are the original's retain_test_accuracy less the unlearned model's, on the same classes.
"""

import argparse
import json
import statistics
import sys

from unlearn_cli.checkpoints import store
from unlearn_cli.jobs import Request, compare

SHOWN = ("forget_accuracy", "forget_test_accuracy", "retain_test_accuracy", "unlearning_score", "forget_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--method", default="lau")
    args = parser.parse_args()
    rows = []
    for name in store.read(args.checkpoint).record.classes:
        report = compare([args.checkpoint], run_methods=[args.method, "mask"], request=Request((name,)), fresh=True)
        original, method, mask = ({k: row.measures[k].value for k in SHOWN} for row in report.rows)
        drop = original["retain_test_accuracy"] - method["retain_test_accuracy"]
        rows.append({"class": name, "original": original, args.method: method, "mask": mask, "drop": drop})
        print(name, {k: round(v, 4) for k, v in method.items()}, f"drop {drop:+.4f}", file=sys.stderr, flush=True)
    print(json.dumps({"checkpoint": args.checkpoint, "classes": rows, "median": medians(rows, args.method)}, indent=2))


def medians(rows: list[dict], method: str) -> dict:
    """Medians over the classes, and the worst class."""
    return {
        "drop": statistics.median(row["drop"] for row in rows),
        "largest_drop": max(row["drop"] for row in rows),
        "largest_forget_test_accuracy": max(row[method]["forget_test_accuracy"] for row in rows),
    } | {
        who: {k: statistics.median(row[who][k] for row in rows) for k in SHOWN if rows[0][who][k] is not None}
        for who in ("original", method, "mask")
    }


if __name__ == "__main__":
    main()
