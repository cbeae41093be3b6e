"""Whether `--verify` tells models that pretend from models that were retrained. Run by hand:

    python -m tests.benchmarks.red_team model.safetensors --class 3 --references ref1.safetensors ... \\
        --retrained other1.safetensors ... [--instances list.txt]

The references set the bands; the retrained models have other seeds, and are to pass. Prints JSON: for every model the verdict at
both levels and the number that decided, then how many pretenders failed and how many retrained models passed, each with its
95 % interval (Clopper-Pearson).
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch

from tests import pretenders
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.cases.unlearning import in_own_types
from unlearn_cli.checkpoints import store
from unlearn_cli.data.lists import read_list
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.data.splits import ALL, split
from unlearn_cli.engine.run import Options
from unlearn_cli.jobs import evaluate
from unlearn_cli.ops.binomial import clopper_pearson


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--class", dest="cls", action="append", default=[])
    parser.add_argument("--instances")
    parser.add_argument("--references", nargs="+", required=True)
    parser.add_argument("--retrained", nargs="+", default=[])
    parser.add_argument("--passes", type=int, default=pretenders.PASSES, help="of the pretenders that are trained")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pretenders.PASSES = args.passes
    request = Request(tuple(args.cls), listed=read_list(args.instances) if args.instances else None)

    def judged(checkpoint: str) -> dict:
        found = {}
        for verify in ("output", "full"):
            report = evaluate(checkpoint, original=args.checkpoint, references=args.references, verify=verify, request=request)
            found[verify] = report.exit_code
        missed = [limit for limit in report.limits if limit.outcome != "pass"]
        return found | {"missed": {limit.metric: limit.value for limit in missed}, "verdict": report.verdict}

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = (pretenders.OF_THE_HEAD if len(args.cls) == 1 else ()) + pretenders.OF_ANY
        for pretend in chosen:
            results[pretend.__name__] = judged(pretended(args.checkpoint, pretend, request, Path(folder)))
            print(json.dumps({pretend.__name__: results[pretend.__name__]}), flush=True)
    caught = {verify: sum(found[verify] == 1 for found in results.values()) for verify in ("output", "full")}
    retrained = {name: judged(name) for name in args.retrained}
    for name, found in retrained.items():
        print(json.dumps({name: found}), flush=True)
    passed = {verify: sum(found[verify] == 0 for found in retrained.values()) for verify in ("output", "full")}
    print(json.dumps({
        "pretenders caught": {verify: rate(n, len(results)) for verify, n in caught.items()},
        "retrained passed": {verify: rate(n, len(retrained)) for verify, n in passed.items()},
    }, indent=1))  # fmt: skip


def pretended(checkpoint: str, pretend, request: Request, folder: Path) -> str:
    """The path of a checkpoint that pretends, with the original's record."""
    loaded = load(checkpoint, Plain(), Options())
    request = resolve(request, loaded.folder)
    run = loaded.run(Options())
    with run.adopted(loaded.model, loaded.head) as model:
        pretend(run, model, split(loaded.folder, request, ALL, 0.0))
    place = folder / f"{pretend.__name__}.safetensors"
    data = loaded.record.data.model_copy(update={"folder": str(loaded.folder.root)})
    return store.write(str(place), in_own_types(loaded), loaded.record.model_copy(update={"data": data}))


def rate(n: int, of: int) -> dict:
    low, high = clopper_pearson(n, of) if of else (0.0, 1.0)
    return {"count": n, "of": of, "low": round(low, 3), "high": round(high, 3)}


if __name__ == "__main__":
    main()
