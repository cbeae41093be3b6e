"""A head of 1,000 classes at 224 pixels, of which the folder has five: what forgetting one of them costs, and what it touches.

    python -m tests.benchmarks.large_heads DATA [--images 100] [--threads 1] [--turns 3] [--clock process_time]

DATA is an image folder with train/ and test/; five of its classes are taken. No weights are downloaded: the networks are random,
and the five rows of the head are fitted to their classes' features by ridge regression, so that the model knows them. Each turn
runs in a process of its own: one inference pass over the forget set, then `forget`, whose own seconds are set against it. On
one thread process_time does not count what neighbours of the process took. Prints JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

NETWORKS = ("torchvision/resnet50", "timm/vit_base_patch16_224")

MAKE = """
import json, sys
import torch
from safetensors.torch import save_file
from unlearn_cli import models
from unlearn_cli.data.folder import open_folder
from unlearn_cli.models.building import new
from unlearn_cli.ops.features import Backbone
from unlearn_cli.data.augment import normalise
asked = json.loads(sys.argv[1])
architecture = models.find(asked["arch"])
fed = architecture.input
model, found = new(architecture, 1000, 3, fed.size, {}, 0)
folder = open_folder(asked["data"], size=fed.size, channels=3, resize=fed.resize)
head = model.eval().get_submodule(found.head)
train = (~folder.images.test).nonzero()[:, 0]
below = Backbone(model, head)
with torch.no_grad():
    parts = [normalise(folder.images.gather(part), fed.mean, fed.std, torch.float32) for part in train.split(25)]
    features = torch.cat([below(part) for part in parts])
    torch.nn.init.normal_(head.weight, std=1 / features.norm(dim=1).mean().item())
    centre, labels = features.mean(0), folder.images.labels[train]
    x = (features - centre).double()
    goals = 8 * torch.nn.functional.one_hot(labels, len(folder.classes)).double()
    ridge = 1e-3 * x.square().sum(1).mean() * torch.eye(len(x), dtype=torch.float64)
    rows = (x.T @ torch.linalg.solve(x @ x.T + ridge, goals)).T.float()
    places = 100 * torch.arange(len(folder.classes))
    head.weight[places], head.bias[places] = rows, -(rows @ centre)
names = [f"class {i}" for i in range(1000)]
for number, name in enumerate(folder.classes):
    names[100 * number] = name
save_file({key: value.contiguous() for key, value in model.state_dict().items()}, asked["checkpoint"])
open(asked["labels"], "w").write("\\n".join(names))
"""

TURN = """
import json, resource, sys, time
import torch
from unlearn_cli import jobs
from unlearn_cli.engine import clock
from unlearn_cli.cases.loading import load
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.data.splits import split
from unlearn_cli.engine.memory import keep_freed_memory
asked = json.loads(sys.argv[1])
keep_freed_memory()
now = clock.time.perf_counter = getattr(time, asked["clock"])
torch.set_num_threads(asked["threads"])
options = jobs.Options(device="cpu", force=True)
labels = tuple(open(asked["labels"]).read().split("\\n"))
plain = jobs.Plain(arch=asked["arch"], data=asked["data"], labels=labels)
loaded = load(asked["checkpoint"], plain, options, original=True)
forget = split(loaded.folder, resolve(Request((asked["class"],)), loaded.folder), ("forget",)).forget
run = loaded.run(options)
with run.adopted(loaded.model, loaded.head) as model:
    run.logits(model, forget.subset(torch.arange(min(25, len(forget)))))
    begin = now()
    run.logits(model, forget)
    seconds = now() - begin
del loaded
found = {"pass_seconds": seconds, "images": len(forget)}
for method in ("lau", "mask"):
    output = asked["checkpoint"] + "." + method
    report = jobs.forget(asked["checkpoint"], method, Request((asked["class"],)), output=output, plain=plain, options=options)
    before, after = store.read(asked["checkpoint"]).tensors, store.read(output).tensors
    head = next(name for name in before if before[name].dim() == 2 and before[name].shape[0] == 1000)
    bias = head.removesuffix("weight") + "bias"
    changed = (before[head] != after[head]).any(1) | (before[bias] != after[bias])
    below = [name for name in before if name not in (head, bias) and not torch.equal(before[name], after[name])]
    own = report.facts["forget_seconds"]
    found[method] = {"seconds": own, "ratio": own / seconds, "rows_changed": int(changed.sum()), "below_changed": len(below),
                     "steps": report.facts["optimizer_steps"], "stopped_by": report.facts["stopped_by"]}
found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps(found))
"""


def ran(code: str, asked: dict, threads: int) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else {}


def five_of(data: Path, place: Path, images: int) -> str:
    """Links to some images of five classes; the name of the first."""
    classes = sorted(path.name for path in (data / "train").iterdir())[:5]
    for part, many in (("train", images), ("test", max(20, images // 5))):
        for name in classes:
            (place / part / name).mkdir(parents=True)
            for image in sorted((data / part / name).iterdir())[:many]:
                (place / part / name / image.name).symlink_to(image.resolve())
    return classes[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=("perf_counter", "process_time"), default="perf_counter")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        asked = {"class": five_of(given.data, place / "images", given.images), "data": str(place / "images")}
        asked |= {"threads": given.threads, "clock": given.clock}
        for arch in NETWORKS:
            name = arch.replace("/", "-")
            asked |= {"arch": arch, "checkpoint": str(place / f"{name}.safetensors"), "labels": str(place / f"{name}.txt")}
            ran(MAKE, asked, given.threads)
            turns = [ran(TURN, asked, given.threads) for _ in range(given.turns)]
            ratios = sorted(turn["lau"]["ratio"] for turn in turns)
            found = {"network": arch, "median_ratio": statistics.median(ratios), "ratios": ratios, "turns": turns}
            print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
