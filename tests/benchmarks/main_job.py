"""What the main job costs, as ratios to the bare work: one JSON document on standard output. Run by hand:

    python tests/benchmarks/main_job.py DATA --checkpoint model.safetensors --class 3 > costs.json

Seconds depend on the machine and its neighbours, ratios much less: what is compared runs in turns, and every number is
a median with its smallest and largest value. The cache folder is a temporary one, filled before the first turn.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

GRID = [(precision, batch) for precision in ("float32", "bfloat16") for batch in (100, 125, 250)]

UNTIL_THE_JOB = """
import os, sys
from unlearn_cli import jobs
from unlearn_cli.cli.app import run
jobs.forget = lambda *_, **__: os._exit(0)
run(sys.argv[1:])
os._exit(3)
"""

BARE_PASS = """
import json, sys, time
import torch
from unlearn_cli.engine.run import Options
from unlearn_cli.cases.loading import Plain, load

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
loaded = load(asked["checkpoint"], Plain(data=asked["data"]), Options())
images, record = loaded.folder.images, loaded.record
model = loaded.model.to(memory_format=torch.channels_last)
index = torch.arange(len(images))
if asked["only"] is not None:
    index = index[(images.labels == asked["only"]) & ~images.test]
mean, std = torch.tensor(record.mean) * 255, torch.tensor(record.std) * 255
begin = time.perf_counter()
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=asked["precision"] == "bfloat16"):
    for part in index.split(asked["batch"]):
        model(((images.pixels[part] - mean) / std).permute(0, 3, 1, 2))
print(json.dumps({"seconds": time.perf_counter() - begin, "images": len(index)}))
"""

EVALUATE = """
import json, sys, time
from dataclasses import replace
from unlearn_cli import jobs
from unlearn_cli.engine.memory import keep_freed_memory
from unlearn_cli.metrics import registry

asked = json.loads(sys.argv[1])
attacks = []

def timed(measure):
    def measured(evidence):
        begin = time.perf_counter()
        value = measure(evidence)
        attacks.append(time.perf_counter() - begin)
        return value
    return measured

known = registry.known()
for name in known:
    if not known[name].measure.__module__.endswith((".accuracy", ".timing")):
        known[name] = replace(known[name], measure=timed(known[name].measure))
keep_freed_memory()
begin = time.perf_counter()
jobs.evaluate(asked["checkpoint"], request=jobs.Request((asked["class"],)), plain=jobs.Plain(data=asked["data"]))
print(json.dumps({"seconds": time.perf_counter() - begin, "attacks": sum(attacks)}))
"""

OPEN = """
import json, sys, time
from unlearn_cli.data.folder import open_folder
asked = json.loads(sys.argv[1])
begin = time.perf_counter()
folder = open_folder(asked["data"], size=asked["size"], channels=asked["channels"])
print(json.dumps({"seconds": time.perf_counter() - begin, "images": len(folder.images)}))
"""

DECODE = """
import json, sys, time
from pathlib import Path
import numpy
from PIL import Image
asked = json.loads(sys.argv[1])
side, mode = asked["size"], "L" if asked["channels"] == 1 else "RGB"
begin = time.perf_counter()
paths = sorted(path for path in Path(asked["data"]).rglob("*") if path.is_file())
pixels = numpy.empty((len(paths), side, side, asked["channels"]), numpy.uint8)
for row, path in zip(pixels, paths):
    with Image.open(path) as image:
        image = image.convert(mode)
        row[:] = numpy.asarray(image if image.size == (side, side) else image.resize((side, side))).reshape(row.shape)
print(json.dumps({"seconds": time.perf_counter() - begin, "images": len(paths)}))
"""

PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak / (2**20 if sys.platform == "darwin" else 2**10))
"""

HELLO = """
import typer
def main(name: str = "world"):
    print("hello", name)
typer.run(main)
"""

TORCH_AFTER_HELP = """
import sys
from unlearn_cli.cli.app import run
run(["--help"])
sys.stderr.write(str("torch" in sys.modules))
"""


class Bench:
    """The arguments, a scratch folder, and processes started in one environment."""

    def __init__(self, args: argparse.Namespace, scratch: Path):
        self.args, self.scratch = args, scratch
        self.environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "UNLEARN_CACHE": str(scratch / "cache")}
        self.forget = ["forget", "--method", "lau", "--class", args.cls, args.checkpoint, "--data", args.data,
                       "-o", str(scratch / "out.safetensors"), "--force"]  # fmt: skip
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
        self._best = None

    def python(self, *arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess:
        environment = self.environment | ({"UNLEARN_CACHE": str(cache)} if cache else {})
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, encoding="utf-8")
        if done.returncode:
            sys.exit(f"{' '.join(arguments)[:200]} ended with code {done.returncode}:\n{done.stderr}")
        return done

    def wall(self, *arguments: str) -> float:
        """Seconds from starting a process to its end."""
        begin = time.perf_counter()
        self.python(*arguments)
        return time.perf_counter() - begin

    def child(self, code: str, cache: Path | None = None, **more) -> dict:
        """What a script prints as JSON, given the arguments and `more` as JSON."""
        asked = {"checkpoint": self.args.checkpoint, "data": self.args.data, "class": self.args.cls,
                 "threads": self.args.threads} | more  # fmt: skip
        return json.loads(self.python("-c", code, json.dumps(asked), cache=cache).stdout)

    def turns(self, *measured) -> list[list[float]]:
        """Each of the functions once per turn, in order; the values of each."""
        rows = [[function() for function in measured] for _ in range(self.args.runs)]
        return [list(column) for column in zip(*rows, strict=True)]

    def start(self) -> float:
        """Seconds of the command line until the job's function is entered."""
        return self.wall("-c", UNTIL_THE_JOB, *self.forget)

    def best(self) -> dict:
        """The precision and batch of the grid whose first pass over the forget set is fastest, the better of two."""
        if self._best is None:
            seconds = {}
            for precision, batch in GRID * 2:
                took = self.bare_pass(self.number(), precision=precision, batch=batch)
                seconds[precision, batch] = min(took, seconds.get((precision, batch), took))
            precision, batch = min(seconds, key=seconds.get)
            self._best = {"precision": precision, "batch": batch}
        return self._best

    def bare_pass(self, only: int | None, **setting) -> float:
        """Seconds of one hand-written inference pass, the first of its process: over the forget set, or all images."""
        return self.child(BARE_PASS, only=only, **(setting or self.best()))["seconds"]

    def number(self) -> int:
        """The class as the head numbers it."""
        from unlearn_cli.data.requests import resolve_classes

        return resolve_classes([self.args.cls], self.record().classes)[0]

    def record(self):
        from unlearn_cli.checkpoints import store

        return store.read(self.args.checkpoint).record


def summary(values: list[float]) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def ratio(above: list[float], below: list[float]) -> dict:
    """The summary of the quotients of each turn."""
    return summary([a / b for a, b in zip(above, below, strict=True)])


def process_start(bench: Bench) -> dict:
    """The command line until the job starts, over `import torch`."""
    start, torch = bench.turns(bench.start, lambda: bench.wall("-c", "import os, torch; os._exit(0)"))
    return {"ratio": ratio(start, torch), "limit": "<= 1.15", "start": summary(start), "import_torch": summary(torch)}


def forget_lau(bench: Bench) -> dict:
    """The whole command less its start, over one bare pass over the forget set that is the first of its process.

    The command's wall time includes the interpreter's end, which tears torch down; what that takes is told beside it.
    """
    bench.best()
    start, whole, bare, left, ended = bench.turns(
        bench.start,
        lambda: bench.wall("-m", "unlearn_cli", *bench.forget),
        lambda: bench.bare_pass(bench.number()),
        lambda: bench.wall("-c", "import os, torch; os._exit(0)"),
        lambda: bench.wall("-c", "import torch"),
    )
    job = [w - s for w, s in zip(whole, start, strict=True)]
    end = [e - a for e, a in zip(ended, left, strict=True)]
    return {"ratio": ratio(job, bare), "limit": "<= 1.25", "job": summary(job), "bare_pass": summary(bare),
            "interpreter_end": summary(end), "bare_pass_setting": bench.best()}  # fmt: skip


def lau_uncached(bench: Bench) -> dict:
    """LAU that reads the backbone anew at every look, over LAU on kept features: the method's own seconds.

    At the defaults (a look after every step), and with looks at the ends of epochs only (three passes per epoch: for
    the attack, the steps and the look), which for a method that ends within its first epochs saves little.
    """
    return {check: uncached_over_cached(bench, check) for check in ("step", "epoch")} | {"limit": ">= 30"}


def uncached_over_cached(bench: Bench, check: str) -> dict:
    settings = ["--set", f"stop_check={check}", "--json"]
    ended = []

    def seconds(cache: str) -> float:
        done = bench.python("-m", "unlearn_cli", *bench.forget, *settings, "--set", f"cache={cache}")
        facts = json.loads(done.stdout)["facts"]
        ended.append(facts["stopped_by"])
        return facts["forget_seconds"]

    runs = [(seconds("true"), seconds("false")) for _ in range(bench.args.uncached_runs)]
    cached, uncached = (list(column) for column in zip(*runs, strict=True))
    return {"ratio": ratio(uncached, cached), "cached": summary(cached),
            "uncached": summary(uncached), "ended_by": sorted(set(ended))}  # fmt: skip


def evaluate_first(bench: Bench) -> dict:
    """`evaluate` with no readout kept, over one bare pass over all images plus the attacks."""
    bench.best()
    attacks = []

    def job() -> float:
        for path in (bench.scratch / "cache").glob("readout-*"):
            path.unlink()
        done = bench.child(EVALUATE)
        attacks.append(done["attacks"])
        return done["seconds"]

    whole, bare = bench.turns(job, lambda: bench.bare_pass(None))
    work = [b + a for b, a in zip(bare, attacks, strict=True)]
    return {"ratio": ratio(whole, work), "limit": "<= 1.15", "job": summary(whole), "bare_pass": summary(bare),
            "attacks": summary(attacks), "bare_pass_setting": bench.best()}  # fmt: skip


def evaluate_again(bench: Bench) -> dict:
    """`evaluate` with its readout kept, over one bare pass over all images."""
    bench.best()
    bench.child(EVALUATE)
    whole, bare = bench.turns(lambda: bench.child(EVALUATE)["seconds"], lambda: bench.bare_pass(None))
    return {"ratio": ratio(whole, bare), "limit": "next to nothing", "job": summary(whole), "bare_pass": summary(bare)}


def training(bench: Bench) -> dict:
    """`techniques.training.fit` over a bare loop of the same step, one short epoch each per turn, in one process.

    Same network, precision, memory format, batch, augmentation functions, parameter groups and schedule; the bare loop
    has torch.optim.SGD, and neither averages weights. The allocator keeps freed memory for both.
    """
    import torch

    from unlearn_cli.cases.loading import Plain, load
    from unlearn_cli.data import augment
    from unlearn_cli.data.splits import Split
    from unlearn_cli.engine.memory import keep_freed_memory
    from unlearn_cli.engine.run import Options
    from unlearn_cli.tasks.classes import Classes
    from unlearn_cli.techniques.training import fit

    torch.set_num_threads(bench.args.threads)
    keep_freed_memory()
    os.environ["UNLEARN_CACHE"] = bench.environment["UNLEARN_CACHE"]
    loaded = load(bench.args.checkpoint, Plain(data=bench.args.data), Options())
    images = loaded.folder.images
    index = (~images.test).nonzero()[:, 0]
    index = index[torch.randperm(len(index))[: bench.args.train_images]].sort().values
    split = Split("train", images, index, Classes(len(loaded.folder.classes)))
    recipe = replace(loaded.recipe(), epochs=1, lookahead_every=0)
    run = loaded.run(Options(device="cpu"))
    augmenting = []

    def ours() -> float:
        model = copy.deepcopy(loaded.model)
        with timed_calls(augment, ("augment", "draws")) as seconds, run.adopted(model, loaded.head):
            begin = time.perf_counter()
            fit(run, model, split, recipe)
            took = time.perf_counter() - begin
        augmenting.append(sum(seconds) / took)
        return took

    def bare() -> float:
        model = copy.deepcopy(loaded.model).to(memory_format=torch.channels_last).train()
        begin = time.perf_counter()
        bare_epoch(model, split, recipe, run, augment)
        return time.perf_counter() - begin

    ours(), bare()  # what only a first time costs is measured elsewhere
    augmenting.clear()
    seconds, bare_seconds = bench.turns(ours, bare)
    rates = [[len(split) / s for s in column] for column in (seconds, bare_seconds)]
    return {"ratio": ratio(*rates), "limit": ">= 0.9", "images_per_second": summary(rates[0]),
            "bare_images_per_second": summary(rates[1]), "augmentation_share": summary(augmenting),
            "augmentation_limit": "<= 0.03", "images": len(split), "precision": str(run.precision)}  # fmt: skip


def bare_epoch(model, split, recipe, run, augment) -> None:
    import torch
    from torch.nn.functional import cross_entropy

    for name, p in model.named_parameters():
        p.requires_grad_(name not in recipe.frozen)
    norm = [m.bias for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    others = [p for p in model.parameters() if p.requires_grad and not any(p is bias for bias in norm)]
    scale, decay = recipe.norm_bias_scale, recipe.weight_decay
    groups = [{"params": others, "scale": 1.0, "weight_decay": decay},
              {"params": norm, "scale": scale, "weight_decay": decay / scale}]  # fmt: skip
    opt = torch.optim.SGD(groups, recipe.lr, recipe.momentum, nesterov=recipe.momentum > 0)
    images, labels, draw = split.images.pixels, split.y, torch.Generator()
    parts = torch.randperm(len(split)).tensor_split(-(-len(split) // recipe.batch_size))
    for step, part in enumerate(parts):
        rows, columns, flips = augment.draws(draw, len(part), recipe.crop_padding, recipe.flip, 0, part)
        x = augment.augment(images[split.index[part]], rows, columns, flips, recipe.crop_padding)
        x = augment.normalise(x, run.mean, run.std)
        with torch.autocast("cpu", run.precision, enabled=run.precision == torch.bfloat16):
            logits = model(x)
        loss = cross_entropy(logits.float(), labels[part], label_smoothing=recipe.label_smoothing)
        for group in opt.param_groups:
            group["lr"] = recipe.rate(step, len(parts)) * group["scale"]
        opt.zero_grad()
        loss.backward()
        opt.step()


@contextmanager
def timed_calls(module, names):
    """A list that gathers the seconds of every call of some of a module's functions."""
    seconds, kept = [], {name: getattr(module, name) for name in names}

    def timed(function):
        def call(*args, **kwargs):
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds.append(time.perf_counter() - begin)

        return call

    for name, function in kept.items():
        setattr(module, name, timed(function))
    try:
        yield seconds
    finally:
        for name, function in kept.items():
            setattr(module, name, function)


def second_start(bench: Bench) -> dict:
    """Opening the folder when its cache is warm: seconds after the imports."""
    (seconds,) = bench.turns(lambda: bench.child(OPEN, **shape(bench))["seconds"])
    return {"seconds": summary(seconds), "limit": "<= 0.5 for 60,000 images"}


def first_start(bench: Bench) -> dict:
    """One process that decodes with Pillow, over opening the folder with an empty cache."""

    def empty() -> float:
        with tempfile.TemporaryDirectory(dir=bench.scratch) as cache:
            return bench.child(OPEN, cache=Path(cache), **shape(bench))["seconds"]

    pillow, ours = bench.turns(lambda: bench.child(DECODE, **shape(bench))["seconds"], empty)
    return {"ratio": ratio(pillow, ours), "limit": ">= 1.4", "pillow": summary(pillow), "open_folder": summary(ours)}


def shape(bench: Bench) -> dict:
    record = bench.record()
    return {"size": record.size, "channels": record.channels}


def help_text(bench: Bench) -> dict:
    """`unlearn --help` over a bare Typer program's."""
    hello = bench.scratch / "hello.py"
    hello.write_text(HELLO)
    ours, bare = bench.turns(
        lambda: bench.wall("-m", "unlearn_cli", "--help"), lambda: bench.wall(str(hello), "--help")
    )
    imported = bench.python("-c", TORCH_AFTER_HELP).stderr.strip() == "True"
    return {"ratio": ratio(ours, bare), "limit": "<= 2", "help": summary(ours), "hello": summary(bare),
            "torch_imported": imported}  # fmt: skip


def memory(bench: Bench) -> dict:
    """Peak resident megabytes of the whole command beyond those of importing torch; each in a process of its own."""

    def peak(*arguments: str) -> float:
        return float(bench.python("-c", PEAK, sys.executable, *arguments).stdout)

    whole, torch = bench.turns(lambda: peak("-m", "unlearn_cli", *bench.forget), lambda: peak("-c", "import torch"))
    beyond = [w - t for w, t in zip(whole, torch, strict=True)]
    return {"megabytes": summary(beyond), "limit": "< 1500", "command": summary(whole), "import_torch": summary(torch)}


PARTS = {
    "process_start": process_start,
    "forget_lau": forget_lau,
    "lau_uncached": lau_uncached,
    "evaluate_first": evaluate_first,
    "evaluate_again": evaluate_again,
    "training": training,
    "second_start": second_start,
    "first_start": first_start,
    "help": help_text,
    "memory": memory,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="the image folder")
    parser.add_argument("--checkpoint", required=True, help="an original trained on it")
    parser.add_argument("--class", dest="cls", default="3", help="what is forgotten")
    parser.add_argument("--runs", type=int, default=5, help="turns of each comparison")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--uncached-runs", type=int, default=5, help="turns of lau_uncached, which takes minutes")
    parser.add_argument("--train-images", type=int, default=5120, help="the images of an epoch of training")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when torch is first imported
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, Path(scratch))
        bench.python("-m", "unlearn_cli", *bench.forget)  # fills the cache, and compiles what Python keeps compiled
        parts = {}
        for name in args.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            parts[name] = PARTS[name](bench)
    import torch

    about = {"data": args.data, "checkpoint": args.checkpoint, "class": args.cls, "threads": args.threads,
             "python": platform.python_version(), "torch": torch.__version__}  # fmt: skip
    print(json.dumps({"about": about, "parts": parts}, indent=2))


if __name__ == "__main__":
    main()
