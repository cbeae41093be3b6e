"""Every method on a trained network, beside original, retrained and mask. Run by hand; it goes on where it stopped:

    python tests/benchmarks/behaviour.py RESULTS.json --network compact --original model.safetensors \\
        --reference without-3.safetensors --class 3 [--methods lau unsir ...] [--set lau.alpha=0.5 ...]
    python tests/benchmarks/behaviour.py RESULTS.json --network compact --original model.safetensors \\
        --reference without-list.safetensors --instances list.txt

A method that takes less than a minute is run with three seeds, any other with one. RESULTS.json gets one entry per
network, request, method and seed; `python -m tests.readme` makes the README's tables of it.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch

from unlearn_cli import methods
from unlearn_cli.data.lists import read_list
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import Options, Request, evaluate, forget, relearn
from unlearn_cli.jobs.trials import meant_for
from unlearn_cli.settings import from_text

MINUTE = 60.0
SEEDS = 3
FIRST = ("mask", "lau")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--network", required=True, help="what the tables call it")
    parser.add_argument("--original", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--class", dest="cls", action="append", default=[])
    parser.add_argument("--instances")
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--set", action="append", default=[], help="method.name=value; shown beside the defaults")
    parser.add_argument("--label", default="", help="of a row whose settings are not the defaults")
    parser.add_argument("--cap", type=int, default=30, help="short epochs of relearning at most")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    request = Request(tuple(args.cls), listed=read_list(args.instances) if args.instances else None)
    kind = "class" if len(args.cls) == 1 else f"{len(args.cls)} classes" if args.cls else f"{len(request.instances)} images"
    key = {"network": args.network, "request": kind}

    for role, checkpoint in (("original", args.original), ("retrained", args.reference)):
        once(args, key | {"method": role, "seed": 0}, lambda checkpoint=checkpoint: measured(checkpoint, args, request))
    names = args.methods or sorted(set(methods.names()) - {"retrain"}, key=lambda name: (name not in FIRST, name))
    for name in names:
        for seed in range(SEEDS):
            row = once(args, key | {"method": name, "label": args.label, "seed": seed},
                       lambda name=name, seed=seed: forgotten(name, seed, args, request))  # fmt: skip
            if row is None or row.get("refused") or row["seconds"] > MINUTE or not methods.get(name).reads:
                break


def once(args, key: dict, measure) -> dict:
    """The entry under a key, measured if it is not there yet."""
    entries = json.loads(args.results.read_text()) if args.results.exists() else []
    found = next((entry for entry in entries if all(entry.get(k) == v for k, v in key.items())), None)
    if found:
        return found
    began = time.perf_counter()
    entry = key | measure()
    temporary = args.results.with_suffix(".tmp")
    entries = json.loads(args.results.read_text()) if args.results.exists() else []
    temporary.write_text(json.dumps([*entries, entry], indent=1) + "\n")
    os.replace(temporary, args.results)
    shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items() if k not in ("settings", "notes")}
    print(json.dumps(shown), f"in {time.perf_counter() - began:.0f} s", flush=True)
    return entry


def forgotten(name: str, seed: int, args, request: Request) -> dict:
    """Run a method and measure what it left."""
    method = methods.get(name)
    own = meant_for(method, from_text(args.set))
    if args.label and not own:
        raise SystemExit(f"a label, and no setting of {name}: write --set {name}.NAME=VALUE.")
    try:
        method.check_scope(request.scope)
    except UnlearnError as error:
        return {"refused": error.problem}
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "unlearned.safetensors")
        try:
            report = forget(args.original, name, request, output=output, settings=own, options=Options(seed=seed))
        except UnlearnError as error:
            return {"refused": error.problem}
        read = {split: int(n.replace(",", "")) for n, split in
                (part.split() for part in report.facts["images_read"].split(", ") if part != "none")}  # fmt: skip
        return measured(output, args, request, seed) | {
            "seconds": report.facts["forget_seconds"],
            "images_read": read,
            "stopped_by": report.facts["stopped_by"],
            "settings": own,
            "notes": report.notes,
        }


def measured(checkpoint: str, args, request: Request, seed: int = 0) -> dict:
    """Every metric of one checkpoint, and its relearn time where a cap allows one."""
    options = Options(seed=seed)
    against = [] if checkpoint == args.reference else [args.reference]
    row = evaluate(checkpoint, original=args.original, references=against, request=request, options=options).evaluated
    found = {name: measure.value for name, measure in row.measures.items() if measure.value is not None}
    if not args.cap:
        return {"metrics": found}
    again = relearn(checkpoint, original=args.original, request=request, settings={"cap": args.cap}, options=options)
    measure = next(r for r in again.rows if r.role == "unlearned").measures["relearn_epochs"]
    return {"metrics": found | {"relearn_epochs": measure.value, "relearn_capped": measure.more_than}}


if __name__ == "__main__":
    main()
