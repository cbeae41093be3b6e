"""The references of a request: retrained models that differ in their seed, each in a file of its own."""

import os
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

from unlearn_cli.cases import requests
from unlearn_cli.checkpoints import store
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs.training import Plan, summary, train_once
from unlearn_cli.metrics import registry
from unlearn_cli.metrics.report import Measure, Report, Row


def check(references: int, without: bool, output: str) -> None:
    """Refuse a number of references, a request or an output that makes no sense for them."""
    if references < 1:
        raise UnlearnError(f"{references} references cannot be trained.", "pass 1 or more.")
    if not without:
        raise UnlearnError(
            "--references trains models that never saw a forget set, and none is named.",
            "add --without-class NAME, --without FILE, or --without-forgotten.",
        )
    if output == store.PIPE:
        raise UnlearnError("several checkpoints cannot go to standard output.", "give -o a file name, to be numbered by seed.")


def targets(output: str, references: int, seed: int, taken: set[int]) -> dict[int, str]:
    """Where each reference is written, by its seed: `references` seeds that follow `seed` and are not taken."""
    free = (other for other in count(seed + 1) if other not in taken)
    return {other: beside(output, other) for other in islice(free, references)}


def beside(output: str, seed: int) -> str:
    """`without-3-seed2.safetensors` for `without-3.safetensors` and 2: where the reference of that seed is written."""
    path = Path(output)
    stem = path.name.removesuffix(".safetensors")
    return str(path.with_name(f"{stem}-seed{seed}{path.name.removeprefix(stem)}"))


def retrain(plan: Plan, files: dict[int, str], options: Options, resume: bool) -> Report:
    """Train into the files, by seed, one after the other; what an earlier call of this has finished is kept."""
    of = {seed: replace(options, seed=seed) for seed in files}
    there = [seed for seed, name in files.items() if os.path.lexists(name) and not options.force]
    for seed in there:
        if not plan.has_made(store.read(files[seed]).record, plan.run(of[seed])):
            raise UnlearnError(f"{files[seed]} already exists, and this command does not make it.",
                               "pass another --output, or --force to replace it.")  # fmt: skip
    done, rows = [], []
    for seed, name in files.items():
        if seed in there:
            accuracy = Measure(None, "trained before and kept")
        else:
            done.append(train_once(plan, name, of[seed], resume))
            resume = False          # of those that are missing, the others have not begun
            accuracy = Measure(done[-1].accuracy)
        rows.append(Row(Path(name).name, "reference", {"test_accuracy": accuracy}))
    return Report(
        command="train",
        title=f"Trained {len(done)} reference{'' if len(done) == 1 else 's'} without {requests.in_words(plan.wanted)}",
        facts=summary(plan, done, options) | {"seeds": ", ".join(map(str, files))},
        columns=registry.columns(["test_accuracy"], "classes" if plan.wanted.classes else "images"),
        rows=rows,
        written=list(files.values()),
        notes=[*plan.notes, *(note for one in done for note in one.run.notes)],
    )
