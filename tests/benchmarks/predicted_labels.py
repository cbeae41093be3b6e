"""How often `tmu` tells easy listed images from hard ones, measured against a retrained model. Run by hand:

    python tests/benchmarks/predicted_labels.py model.safetensors --reference without-list.safetensors --instances list.txt

An image is easy if the retrained model gives it its label. Prints JSON: the accuracy of the prediction with all three
features and with each alone, and beside it that of calling every image easy.
"""

import argparse
import json

import torch

from unlearn_cli import methods
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.lists import read_list
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.data.splits import split
from unlearn_cli.engine.run import Options
from unlearn_cli.methods.tmu import predict_easy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--reference", required=True)
    parser.add_argument("--instances", required=True)
    parser.add_argument("--features", nargs="+", default=["all"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    loaded, retrained = load(args.checkpoint, Plain(), Options()), load(args.reference, Plain(), Options())
    request = resolve(Request(listed=read_list(args.instances)), loaded.folder)
    splits = split(loaded.folder, request, methods.get("tmu").reads_with({}, "images"), 0.2)

    run = retrained.run(Options())
    with run.adopted(retrained.model, retrained.head) as model:
        truth = (run.logits(model, splits.forget).argmax(1).cpu()) == splits.forget.y
    found = {"images": len(truth), "easy for the retrained model": int(truth.sum()), "all easy": truth.float().mean().item()}
    for features in args.features:
        rows = []
        for seed in range(args.seeds):
            run = loaded.run(Options(seed=seed))
            with run.adopted(loaded.model, loaded.head) as model:
                easy = predict_easy(run, model, splits, features=features)
            rows.append({"accuracy": (easy == truth).float().mean().item(), "predicted easy": int(easy.sum()),
                         "hard found": int((~easy & ~truth).sum())})  # fmt: skip
        found[features] = rows
        print(json.dumps({features: rows}), flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
