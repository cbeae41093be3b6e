"""Two processes under torchrun, on the CPU and in float64, do what one does."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from tests.quick import quick
from unlearn_cli import methods
from unlearn_cli.checkpoints import store
from unlearn_cli.cli import app

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")

CASES = {
    "lau": ("lau", {"batch_size": 33}),
    "lau-images": ("lau", {"attack": "images", "attack_steps": 1, "epochs": 1, "cache": "false"}),
    "fine-tune": ("fine-tune", {"epochs": 1, "bn": "train", "momentum": 0.9, "batch_size": 101}),
    "neg-grad": ("neg-grad", {"epochs": 2, "batch_size": 29}),
    "suli": ("suli", {"bn": "train", "forwards": 2, "chunk_size": 41}),
    "su": ("su", {"batch_size": 33, "lr": 1e-3}),
}
CASES |= {name: (name, quick(name)) for name in methods.names() if name not in CASES and methods.get(name).reads}
ONE_IMAGE = {
    "suli-one-image": ("suli", {"bn": "train", "passes": 2, "stop_accuracy": 0.0}),
    "unsir-one-image": ("unsir", {"repair_epochs": 0}),
    "gli-one-image": ("gli", {"select": "false", "bn": "train"}),
    "adv-imp-one-image": ("adv-imp", {"n_adv": 3, "attack_steps": 2, "epochs": 2, "forget_term": "relabel"}),
    "boundary-shrink-one-image": ("boundary-shrink", {"attack": "pgd", "weight_assign": "true", "epochs": 1, "lr": 1e-3}),
}
"""Of two processes one has no forget image at all."""
CASES |= ONE_IMAGE
ROUGH = {"gli": 1e-6, "gli-one-image": 1e-6}
"""gli moves pixels by the sign of a gradient: where that is all but zero, rounding decides."""
LIST = "".join(f"train/{digit}/{number:04}.png\n" for digit, number in ((3, 3), (3, 13), (5, 5), (8, 8)))
SEVERAL = """
import json, sys
from unlearn_cli.cli.app import run
sys.exit(max(run(command) for command in json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def written(shipped, tmp_path_factory):
    """Every case on one process and on two: the folder, and the stdout of the two. One torchrun serves all of them.

    The model is in float64, so that nothing is rounded at the end.
    """
    place = tmp_path_factory.mktemp("ranks")
    (place / "digits").symlink_to(shipped / "digits")
    shutil.copy(shipped / "model.safetensors", place)
    found = store.read(str(place / "model.safetensors"))
    wide = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in found.tensors.items()}
    double = store.write(str(place / "double.safetensors"), wide, found.record)
    (place / "several.py").write_text(SEVERAL)
    (place / "list.txt").write_text(LIST)
    (place / "one.txt").write_text(LIST.splitlines()[0])

    def command(case, processes):
        method, settings = CASES[case]
        request = ["--instances", str(place / ("one.txt" if case in ONE_IMAGE else "list.txt"))]
        if "class" in methods.get(method).scope and case not in ONE_IMAGE:
            request = ["--class", "3"]
        given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        output = str(place / f"{case}-{processes}.safetensors")
        return [
            "forget",
            "--method",
            method,
            *request,
            double,
            "-o",
            output,
            "--precision",
            "float64",
            "--device",
            "cpu",
            *given,
        ]

    for case in CASES:
        assert app.run(command(case, 1)) == 0
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(place / "several.py"),
    ]
    alone = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*torchrun, json.dumps([command(case, 2) for case in CASES])],
        env=os.environ | alone,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place, done.stdout


@pytest.mark.parametrize("case", CASES)
def test_two_processes_write_what_one_writes(written, case):
    place, _ = written
    original, one, two = (store.read(str(place / f"{name}.safetensors")) for name in ("double", f"{case}-1", f"{case}-2"))
    assert any(not torch.equal(one.tensors[name], original.tensors[name]) for name in one.tensors)
    near = ROUGH.get(case, 1e-9)
    for name, tensor in one.tensors.items():
        assert_close(two.tensors[name], tensor, rtol=near, atol=near, msg=lambda text, name=name: f"{name}: {text}")
    assert two.record.last.images_read == one.record.last.images_read
    assert two.record.last.stopped_by == one.record.last.stopped_by


def test_only_the_first_process_writes_and_speaks(written):
    place, said = written
    assert said.splitlines() == [str(place / f"{case}-2.safetensors") for case in CASES]
    outputs = {f"{case}-{processes}.safetensors" for case in CASES for processes in (1, 2)}
    inputs = {"digits", "model.safetensors", "double.safetensors", "several.py", "list.txt", "one.txt"}
    assert {path.name for path in place.iterdir()} == outputs | inputs
