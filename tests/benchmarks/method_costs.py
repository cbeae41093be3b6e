"""What each method's mathematics needs, over what the method takes. Run by hand, on a machine that does nothing else:

    python tests/benchmarks/method_costs.py model.safetensors --class 3 [--methods suli unsir ...] [--threads 2] > costs.json
    python tests/benchmarks/method_costs.py model.safetensors --instances list.txt --methods tmu

Needed: the forward and backward passes of the formula, written down below for each method, each kind at the speed of a
bare hand-written loop over the same images, measured in turns with the method. One epoch each. Prints JSON: needed / taken as
median and range over the turns, and the seconds. For `fisher` the passes are one forward and K backward per image, or, with
sampled labels, three training passes.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from unlearn_cli import methods
from unlearn_cli.cases.loading import Loaded, Plain, load
from unlearn_cli.cases.unlearning import unlearn
from unlearn_cli.data.augment import normalise
from unlearn_cli.data.lists import read_list
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.data.splits import split
from unlearn_cli.engine.memory import keep_freed_memory
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.freezing import freeze_but, last_layers

READ = 125
"""Images per batch where nothing is learned."""

Passes = list[tuple[str, int, float]]
"""(kind, images per batch, images): train, read, push (gradient by the input), last (the last three layers learn),
pair (two batches a step), backward."""


class Sizes:
    """Numbers of images: forget, retain, and what tmu holds out."""

    def __init__(self, forget: int, retain: int, held: int, classes: int):
        self.f, self.r, self.held, self.k = forget, retain, held, classes


def tmu(n: Sizes) -> Passes:
    judged, near = n.f + n.held, min(5000, n.r)
    return [("train", 64, (n.f + n.r + n.held) + (n.f + 0.3 * n.r + n.held) + (n.f + n.r)), ("push", READ, 5 * judged),
            ("read", READ, 4 * judged + n.held + 2 * near)]  # fmt: skip


COSTS: dict[str, tuple[dict, Callable[[Sizes], Passes]]] = {
    "lau": ({}, lambda n: [("read", READ, n.f)]),
    "fine-tune": ({}, lambda n: [("train", 128, n.r)]),
    "neg-grad": ({}, lambda n: [("train", 64, n.f), ("read", READ, n.f)]),
    "neg-grad-plus": ({}, lambda n: [("pair", 64, 2 * n.r)]),
    "random-label": ({}, lambda n: [("train", 256, n.f), ("read", READ, n.f)]),
    "initial-label": ({}, lambda n: [("train", 256, n.f), ("read", READ, 2 * n.f)]),
    "amnesiac": ({}, lambda n: [("train", 256, n.f + n.r)]),
    "bad-teacher": ({}, lambda n: [("train", 256, n.f + 0.3 * n.r), ("read", READ, n.f + 0.3 * n.r)]),
    "cf-k": ({}, lambda n: [("last", 64, n.r)]),
    "eu-k": ({}, lambda n: [("last", 64, n.r)]),
    "scrub": ({}, lambda n: [("train", 16, n.f), ("train", 32, n.r), ("read", READ, n.f + n.r)]),
    "boundary-shrink": ({}, lambda n: [("push", READ, n.f), ("read", READ, n.f), ("train", 64, n.f)]),
    "boundary-expand": ({}, lambda n: [("train", 64, n.f)]),
    "su": ({}, lambda n: [("train", 256, n.f), ("read", READ, 2 * n.f)]),
    "suli": ({"passes": 1, "check_every": 1000}, lambda n: [("train", 500, n.f), ("read", READ, 2 * n.f)]),
    "unsir": ({}, lambda n: [("push", 256, 40 * 256), ("train", 256, 20 * 256 + 2 * min(1000 * (n.k - 1), n.r))]),
    "gli": ({"select": False}, lambda n: [("read", 64, n.r), ("push", 64, 2 * n.r), ("train", 64, n.r)]),
    "adv-imp": (
        {"attack_steps": 10, "adv_cap": 1024},
        lambda n: [("push", READ, 10 * 1024), ("train", 32, n.f + 4 * 32), ("train", 256, 1024),
                   ("read", READ, 2 * n.f + 4 * READ)],
    ),  # fmt: skip
    "tmu": ({"twin_epochs": 1, "curriculum_epochs": 1}, tmu),
    "fisher": ({"share": 0.1}, lambda n: [("read", 32, 0.1 * n.r), ("backward", 32, n.k * 0.1 * n.r)]),
    "fisher, sampled": ({"share": 0.1, "labels": "sampled"}, lambda n: [("train", 32, 3 * 0.1 * n.r)]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--class", dest="cls", action="append", default=[])
    parser.add_argument("--instances")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=2048, help="read by a bare loop")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    loaded = load(args.checkpoint, Plain(), Options())
    target = resolve(Request(tuple(args.cls), listed=read_list(args.instances) if args.instances else None), loaded.folder)
    found = {}
    for name, (settings, passes) in COSTS.items():
        method = methods.get(name.split(",")[0])
        if (args.methods and method.name not in args.methods) or target.scope not in method.scope:
            continue
        turns = [turn(args.checkpoint, method, settings, passes, target, args.images) for _ in range(args.turns)]
        ratios = [needed / taken for needed, taken in turns]
        found[name] = {
            "needed / taken": [round(value(ratios), 3) for value in (statistics.median, min, max)],
            "seconds": round(statistics.median(taken for _, taken in turns), 2),
        }
        print(json.dumps({name: found[name]}), flush=True)
    known = {"threads": args.threads, "torch": torch.__version__, "precision": str(loaded.run(Options()).precision)}
    print(json.dumps(known | {"methods": found}, indent=1))


def turn(checkpoint: str, method: methods.Method, settings: dict, passes: Callable, target: Target, images: int):
    """(seconds needed, seconds taken); what is needed is measured before and after."""
    loaded = load(checkpoint, Plain(), Options())
    parts = split(loaded.folder, target, ("forget", "retain", "selection"), 0.2)
    held = int(torch.isin(parts.selection.y, parts.forget.y).sum())
    wanted = passes(Sizes(len(parts.forget), len(parts.retain), held, parts.task.count))
    kinds = {(kind, size) for kind, size, _ in wanted}
    before = {kind: rate(loaded, *kind, images) for kind in kinds}
    brief = {"epochs": 1} if "epochs" in method.settings else {}
    run, _, _ = unlearn(loaded, method, method.parse(brief | settings, target.kind), target, Options())
    after = {kind: rate(loaded, *kind, images) for kind in kinds}
    return sum(n * (before[kind, size] + after[kind, size]) / 2 for kind, size, n in wanted), run.seconds


def rate(loaded: Loaded, kind: str, size: int, images: int) -> float:
    """Seconds per image of a bare loop over training images."""
    if kind == "backward":
        return rate(loaded, "train", size, images) - rate(loaded, "read", size, images)
    run, model = loaded.run(Options()), copy.deepcopy(loaded.model).to(memory_format=torch.channels_last)
    pixels, labels = loaded.folder.images.pixels, loaded.folder.images.labels
    order = (~loaded.folder.images.test).nonzero()[:, 0]
    order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(0))]
    model.train(kind in ("train", "pair"))
    if kind == "push":
        model.requires_grad_(False)
    if kind == "last":
        freeze_but(model, last_layers(model, 3))
    trained = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.SGD(trained, 1e-6, momentum=0.9) if trained else None

    def logits(part: torch.Tensor, by_input: bool = False):
        x = normalise(pixels[part], run.mean, run.std).requires_grad_(by_input)
        with torch.autocast("cpu", run.precision, enabled=run.precision == torch.bfloat16):
            return x, model(x).float()

    def loop(order: torch.Tensor) -> None:
        for number, part in enumerate(order.split(size)):
            if kind == "read":
                with torch.no_grad():
                    logits(part)
                continue
            x, out = logits(part, kind == "push")
            loss = cross_entropy(out, labels[part])
            if kind == "push":
                torch.autograd.grad(loss, x)
                continue
            loss.backward()
            if kind != "pair" or number % 2:
                opt.step()
                opt.zero_grad()

    loop(order[: 4 * size])
    images = max(1, images // size) * size
    begin = time.perf_counter()
    loop(order[:images])
    return (time.perf_counter() - begin) / images


if __name__ == "__main__":
    main()
