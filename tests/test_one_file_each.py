"""A method or an architecture is one file: what holds for every other one is asked of it, and no test is edited."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
METHOD = '''"""Nudge: a step or two up the loss of the forget set, beside a pull of the head towards zero.

    θ ← θ + lr · ∇ CE(f_θ(x_f), y_f);   W ← (1 - shrink) · W

A method that nobody published, written to see whether one file is enough. It has no epochs, a setting that acts for one kind
of request only and one whose value it finds by itself.
"""

from typing import Annotated

import torch
from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.modes import train_mode


@method("A nudge", paper="none", scope="class classes instances", reads="forget", quick={"turns": 1, "shrink": 0.02})
def nudge(
    run: Run, model: nn.Module, splits: Splits, *,
    turns: Annotated[int, setting("passes over the forget set", ge=1)] = 2,
    lr: Annotated[float, setting("SGD's step size", images=0.002, gt=0)] = 0.001,
    shrink: Annotated[float, setting("share that the head loses", only="classes", ge=0, lt=1)] = 0.01,
    batch_size: Annotated[int | None, setting("images per step", computed="half the forget set", ge=1)] = None,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    size = run.settle("batch_size", batch_size or max(1, len(splits.forget) // 2))
    opt = run.optimizer(model, "sgd", lr=lr)
    train_mode(model, bn)
    for _ in run.epochs(turns, "nudging", splits.forget):
        for b in run.batches(splits.forget, size=size):
            run.step(-b.mean(splits.task.loss(model(b.x), b.y)), opt)
    if splits.kind == "classes":
        with torch.no_grad():
            run.split(model)[1].weight.mul_(1 - shrink)
'''
ARCHITECTURE = '''"""Shallow: one convolution and a head, to see whether one file is enough; it has a depth and no width."""

from typing import Annotated

from torch import Tensor, nn

from unlearn_cli.models.recipes import Recipe
from unlearn_cli.settings import setting

RECIPE = Recipe(epochs=2, lr=0.05)


def build(
    classes: int,
    channels: int = 3,
    *,
    depth: Annotated[int, setting("convolutions", ge=1, le=9)] = 2,
) -> nn.Module:
    return Shallow(classes, channels, depth)


class Shallow(nn.Module):
    def __init__(self, classes: int, channels: int, depth: int):
        super().__init__()
        sizes = [channels, *[8] * depth]
        self.body = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:], strict=False))
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.body:
            x = layer(x).relu()
        return self.head(x.mean((2, 3)))
'''


def test_a_new_method_and_a_new_architecture_pass_the_tests_of_every_other_one(tmp_path):
    for folder in ("unlearn_cli", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (tmp_path / "unlearn_cli/methods/nudge.py").write_text(METHOD, encoding="utf-8")
    (tmp_path / "unlearn_cli/models/shallow.py").write_text(ARCHITECTURE, encoding="utf-8")
    asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=prepend", "-k", "nudge or shallow",
             "tests/methods/test_every_method.py", "tests/models/test_models.py"]  # fmt: skip
    done = subprocess.run(asked, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " deselected" in done.stdout
    passed = int(done.stdout.rpartition(" passed")[0].split()[-1])
    assert passed > 45, done.stdout
