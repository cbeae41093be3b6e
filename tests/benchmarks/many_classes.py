"""What a folder of many small classes costs, phase by phase: seconds and peak memory, one JSON document. Run by hand:

    python -m tests.benchmarks.many_classes FOLDER --classes 1000 --images 100 > many.json

FOLDER is made where it is not there: grey PNG files of 32 by 32 pixels, a fifth of each class under test/. Every phase is a
process of its own. `seconds` are those of the whole process, `cpu` those that it and its workers computed, `inside` those of
the call alone where the phase is one call, `megabytes` the most that it held at once; `nothing` starts Python with torch and
does no more, for comparison. The checkpoint is a plain state dict of random weights: what forgetting and judging cost does not
depend on what the model knows.
"""

import argparse
import json
import os
import platform
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

SIDE = 32
FORGOTTEN = "c0007"
ARCH = "compact,width=8"

OPEN = """
import json, sys, time
from unlearn_cli.data.folder import open_folder
known = json.loads(sys.argv[2])
begin = time.perf_counter()
opened = open_folder(sys.argv[1], size=32, channels=1, **known)
print(json.dumps({"inside": time.perf_counter() - begin, "images": len(opened.images)}))
"""
SCAN = """
import json, sys, time
from unlearn_cli.data.scan import scan
begin = time.perf_counter()
listing = scan(sys.argv[1], 0.2)
print(json.dumps({"inside": time.perf_counter() - begin, "images": len(listing.paths)}))
"""
WALK = """
import json, os, sys, time
begin, images = time.perf_counter(), 0
for folder in [f"{sys.argv[1]}/{part}/{name}" for part in ("train", "test") for name in os.listdir(f"{sys.argv[1]}/{part}")]:
    with os.scandir(folder) as found:
        images += sum(entry.stat().st_size > 0 for entry in found)
print(json.dumps({"inside": time.perf_counter() - begin, "images": images}))
"""
WEIGHTS = """
import sys, torch
from safetensors.torch import save_file
from unlearn_cli import models
torch.manual_seed(0)
save_file(models.build("compact", int(sys.argv[2]), 1, {"width": 8}).state_dict(), sys.argv[1])
"""


def png(number: int) -> bytes:
    """A grey image of two random halves, unlike that of any other number."""
    upper, lower = number % 256, number // 256
    row = b"\0" + bytes([upper]) * (SIDE // 2) + bytes([lower % 256]) * (SIDE // 2)
    rows = row * (SIDE - 1) + b"\0" + bytes([lower // 256]) * SIDE
    parts = (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")
    chunks = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def make(folder: Path, classes: int, images: int) -> None:
    """`images` per class, of which every fifth is a test image."""
    number = 0
    for c in range(classes):
        for part in ("train", "test"):
            (folder / part / f"c{c:04}").mkdir(parents=True)
        for i in range(images):
            part = "train" if i % 5 else "test"
            (folder / part / f"c{c:04}" / f"{i:05}.png").write_bytes(png(number))
            number += 1


def measured(command: list[str], environment: dict[str, str], codes: tuple[int, ...] = (0,)) -> dict:
    """A process's seconds and peak memory, and what its last line of JSON says."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        begin = time.perf_counter()
        files = [(os.POSIX_SPAWN_DUP2, said.fileno(), 1), (os.POSIX_SPAWN_DUP2, complained.fileno(), 2)]
        pid = os.posix_spawn(command[0], command, environment, file_actions=files)
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        code = os.waitstatus_to_exitcode(status)
        said.seek(0), complained.seek(0)
        if code not in codes:
            sys.exit(f"{' '.join(command[:8])} ... left with {code}:\n{complained.read().decode()[-2000:]}")
        last = said.read().decode().strip().rpartition("\n")[2]
    unit = 1 if sys.platform == "darwin" else 1024
    told = json.loads(last) if last.startswith("{") and last.endswith("}") else {}
    inside = {"inside": round(told["inside"], 3), "images": told["images"]} if "inside" in told else {}
    spent = {"seconds": round(seconds, 2), "cpu": round(used.ru_utime + used.ru_stime, 2)}
    return spent | {"megabytes": round(used.ru_maxrss * unit / 1e6), "code": code} | inside


def phases(folder: Path, scratch: Path, classes: int) -> dict[str, Callable[[], dict]]:
    """Each phase by its name, in the order in which they run: later ones find what earlier ones left."""
    environment = dict(os.environ) | {"UNLEARN_CACHE": str(scratch / "cache")}
    weights, masked, trained = (str(scratch / f"{name}.safetensors") for name in ("weights", "masked", "neg-grad"))
    names = scratch / "names.txt"     # random weights know no class: their order has to be said
    names.write_text("\n".join(sorted(entry.name for entry in (folder / "train").iterdir())))
    plain = ["--arch", ARCH, "--data", str(folder), "--size", str(SIDE), "--device", "cpu", "--quiet", "--class-names", str(names)]

    def python(code: str, *arguments: str) -> dict:
        return measured([sys.executable, "-c", code, *arguments], environment)

    def unlearn(*arguments: str) -> dict:
        return measured([sys.executable, "-m", "unlearn_cli", *arguments], environment, codes=(0, 1))

    def forget(method: str, output: str, *settings: str) -> dict:
        return unlearn("forget", weights, "-m", method, "--class", FORGOTTEN, "-o", output, "--force", *settings, *plain)

    def evaluate() -> dict:
        data = ["--data", str(folder), "--device", "cpu", "--quiet"]
        return unlearn("evaluate", masked, "--require", "forget_test_accuracy<=0.5", *data)

    def erased() -> dict:
        away = scratch / "erased"
        for part in ("train", "test"):
            shutil.move(folder / part / FORGOTTEN, away / part / FORGOTTEN)
        try:
            return python(OPEN, str(folder), json.dumps({"may_lack": [FORGOTTEN]}))
        finally:
            for part in ("train", "test"):
                shutil.move(away / part / FORGOTTEN, folder / part / FORGOTTEN)

    return {
        "nothing": lambda: python("import torch"),
        "walk": lambda: python(WALK, str(folder)),
        "scan": lambda: python(SCAN, str(folder)),
        "first_start": lambda: python(OPEN, str(folder), "{}"),
        "second_start": lambda: python(OPEN, str(folder), "{}"),
        "weights": lambda: python(WEIGHTS, weights, str(classes)),
        "forget_mask": lambda: forget("mask", masked),
        "forget_neg_grad": lambda: forget("neg-grad", trained, "--set", "epochs=1"),
        "evaluate": evaluate,
        "start_after_erasure": erased,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the images are, or are to be made")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100, help="of each class, train and test")
    parser.add_argument("--phases", nargs="+", metavar="NAME", help="these alone")
    args = parser.parse_args()
    if not args.folder.exists():
        print(f"making {args.classes * args.images} images ...", file=sys.stderr, flush=True)
        make(args.folder, args.classes, args.images)
    about = {"classes": args.classes, "images": args.classes * args.images}
    about |= {"python": platform.python_version(), "cores": os.cpu_count()}
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        known = phases(args.folder.resolve(), Path(scratch), args.classes)
        for name in args.phases or known:
            found[name] = known[name]()
            print(name, found[name], file=sys.stderr, flush=True)
    print(json.dumps({"about": about, "phases": found}, indent=2))


if __name__ == "__main__":
    main()
