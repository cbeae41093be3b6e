"""What `evaluate --verify full` costs, phase by phase, in inference passes over train and test: one JSON document. By hand:

    python -m tests.benchmarks.verify_cost DATA --checkpoint model.lau-class-3.safetensors > verify.json

The original lies beside the checkpoint, as its record names it. Cold: the images are decoded and nothing else is kept;
cached: the same command once more. A pass is the hand-written one of `main_job`, over all images, in its best setting.
What is compared runs in turns; every number is a median with its smallest and largest value. With `--clock process_time`
the seconds are those that a process computed: on one thread they do not count what its neighbours took.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.main_job import Bench, ratio, summary

PHASES = {"readout": "readout", "relearn_curve": "revival", "untrained": "random_network"}
"""Functions, and the phase that their seconds belong to."""
FILES = {"membership": "membership", "membership_attacks": "membership", "membership_references": "membership",
         "scores": "membership", "features": "features"}  # fmt: skip
"""Files of metrics, and theirs; all others are `other_metrics`."""
APART = "random_network"
"""Made only where a limit names the ZRF score, so that it is no part of the whole."""
LIMIT = 2.5

VERIFY = """
import functools, json, sys, time
from dataclasses import replace
from unlearn_cli import jobs
from unlearn_cli.engine.memory import keep_freed_memory
from unlearn_cli.metrics import registry

asked = json.loads(sys.argv[1])
seconds = dict.fromkeys(["other_metrics", *asked["phases"].values(), *asked["files"].values()], 0.0)

def timed(function, phase):
    @functools.wraps(function)
    def call(*args, **kwargs):
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[phase] += time.perf_counter() - begin
    return call

ours = [module for name, module in sys.modules.items() if name.startswith("unlearn_cli.")]
for name, phase in asked["phases"].items():
    places = [module for module in ours if name in vars(module) and callable(vars(module)[name])]
    if not places:
        sys.exit(f"no function is called {name}")
    for module in places:
        setattr(module, name, timed(vars(module)[name], phase))
known = registry.known()
for name, metric in known.items():
    phase = asked["files"].get(metric.measure.__module__.rpartition(".")[2], "other_metrics")
    known[name] = replace(metric, measure=timed(metric.measure, phase))
keep_freed_memory()
begin = time.perf_counter()
jobs.evaluate(asked["checkpoint"], verify="full", require=["zrf>=0.01"], plain=jobs.Plain(data=asked["data"]))
whole = time.perf_counter() - begin
seconds["rest"] = whole - sum(seconds.values())
print(json.dumps(seconds))
"""


class VerifyBench(Bench):
    def child(self, code: str, **more) -> dict:
        return super().child(code.replace("perf_counter", self.args.clock), **more)

    def drop_readouts(self) -> None:
        """Forget everything but the decoded images."""
        for path in (self.scratch / "cache").iterdir():
            if not path.name.startswith(("index-", "pixels-")):
                path.unlink()

    def verify(self) -> dict[str, float]:
        """Seconds of each phase, in a process of its own."""
        return self.child(VERIFY, phases=PHASES, files=FILES)

    def cold(self) -> dict[str, float]:
        self.drop_readouts()
        return self.verify()


def in_passes(phases: list[dict[str, float]], passes: list[float]) -> dict:
    """The whole and its phases over a pass of the same turn."""
    whole = [sum(seconds for name, seconds in each.items() if name != APART) for each in phases]
    parts = {name: ratio([each[name] for each in phases], passes) for name in phases[0] if name != APART}
    apart = ratio([each[APART] for each in phases], passes)
    return {"whole": ratio(whole, passes), "seconds": summary(whole), "phases": parts, f"apart_{APART}": apart}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="the image folder")
    parser.add_argument("--checkpoint", required=True, help="a model that forgot a class, its original beside it")
    parser.add_argument("--runs", type=int, default=5, help="turns of each comparison")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["perf_counter", "process_time"], default="perf_counter", help="of the time module")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    args.cls = "0"  # its images choose the setting of the pass
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when torch is first imported
    with tempfile.TemporaryDirectory() as scratch:
        bench = VerifyBench(args, Path(scratch))
        print("decoding, and what only a first time costs ...", file=sys.stderr, flush=True)
        bench.verify()
        bench.best()
        cold, cached, passes = bench.turns(bench.cold, bench.verify, lambda: bench.bare_pass(None))
    import torch

    about = {"data": args.data, "checkpoint": args.checkpoint, "threads": args.threads, "clock": args.clock,
             "python": platform.python_version(), "torch": torch.__version__}  # fmt: skip
    costs = {
        "pass": summary(passes), "pass_setting": bench.best(),
        "cold": in_passes(cold, passes) | {"limit": f"<= {LIMIT}"}, "cached": in_passes(cached, passes),
    }  # fmt: skip
    print(json.dumps({"about": about, "verify_full": costs}, indent=2))


if __name__ == "__main__":
    main()
