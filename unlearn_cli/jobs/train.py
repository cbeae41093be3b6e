"""`train`: a classifier from a folder of images, or its retrained counterpart without some of them."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from unlearn_cli import models, settings
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Step
from unlearn_cli.data.augment import statistics
from unlearn_cli.data.splits import ALL, Request, Split, split
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.engine.training import Progress, fit, prepare
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.forget import what_happened
from unlearn_cli.jobs.loading import arch_and_settings, describe, fresh, open_images
from unlearn_cli.metrics.report import Report
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import find_head


def train(
    data: str,
    output: str,
    *,
    arch: str = "resnet18",
    epochs: int | None = None,
    without: Request = Request(),
    chosen: dict[str, Any] | None = None,
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    resume: bool = False,
    options: Options = Options(),
) -> Report:
    """Train ARCH on DATA and write it to OUTPUT.

    Args:
        without: classes or images that are left out of the training: the result is a retrained (reference) model.
        chosen: settings of the architecture and of its recipe, by name.
        resume: go on from the state that a killed training left beside OUTPUT.
    """
    store.claim(output, force=options.force)
    arch, arch_settings = arch_and_settings(arch)
    recipe, arch_settings = _choose(arch, arch_settings, (chosen or {}) | ({"epochs": epochs} if epochs else {}))
    folder = open_images(data, options, size=size, channels=channels, test_fraction=test_fraction)
    everything = (~folder.images.test).nonzero()[:, 0]
    wanted, splits, used = None, None, Split("train", folder.images, everything)
    if without.classes or without.instances:
        request, wanted = requests.resolve(without, folder)
        splits = split(folder, request, reads=ALL)
        used = splits.retain

    mean, std = statistics(folder.images, used.index)
    path = None if output == store.PIPE else Path(output)
    record = describe(arch, arch_settings, folder, mean, std, test_fraction, path)
    run = Run(options, mean, std)
    with deterministic(run):
        model = fresh(arch, record, options.seed)
        head = find_head(model, len(folder.classes))
        state = _State(output, arch, record.architecture_settings, recipe, folder.fingerprint, used, run)
        start = state.read() if resume else None
        with run.adopted(model, head), run.timed():
            if start is None:
                prepare(run, model, used)
            fit(run, model, used, recipe, resume=start, keep=state.write)
        happened = what_happened(run)
        test = Split("test", folder.images, folder.images.test.nonzero()[:, 0])
        trained = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
        with run.adopted(model, head):
            correct = run.logits(model, test, "testing").argmax(1).cpu() == test.y

    recipe_record = asdict(recipe) | {"frozen": list(recipe.frozen)}
    step = Step(operation="train", method="train", settings=recipe_record, request=wanted, **happened)
    if run.ranks.first:
        store.write(output, trained, record.after(step), force=options.force)
        state.remove()
    return _report(output, arch, model, recipe, run, used, wanted, test, correct)


def _choose(arch: str, arch_settings: dict[str, Any], chosen: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Settings given with --set belong to the architecture or to its recipe; each name is known to one of them."""
    of_arch, of_recipe = models.settings(arch), models.recipe_settings()
    unknown = [name for name in chosen if name not in of_arch and name not in of_recipe]
    if unknown:
        known = [*of_arch, *of_recipe]
        hint = did_you_mean(unknown[0], known) or f"settings: {', '.join(known)}."
        raise UnlearnError(f"training {arch} has no setting called '{unknown[0]}'.", hint)
    arch_settings |= {k: v for k, v in chosen.items() if k in of_arch}
    values = settings.parse(of_recipe, {k: v for k, v in chosen.items() if k in of_recipe}, arch)
    return replace(models.recipe(arch), **values), settings.parse(of_arch, arch_settings, arch)


class _State:
    """The state of an unfinished training, in a safetensors file beside the output that is to come."""

    def __init__(self, output: str, *belongs_to: Any):
        self.path = None if output == store.PIPE else Path(f"{output}.resume")
        *plain, used, run = belongs_to
        index = hashlib.sha256(used.index.numpy().tobytes()).hexdigest()
        whole = [str(part) for part in plain] + [index, str(run.seed), str(run.precision), run.device.type]
        self.identity = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
        self.first = run.ranks.first

    def write(self, progress: Progress) -> None:
        if self.path is None or not self.first:
            return
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in progress.tensors.items()}
        metadata = {"epoch": str(progress.epoch), "identity": self.identity}
        store.replace_whole(str(self.path), lambda temporary: save_file(tensors, temporary, metadata))

    def read(self) -> Progress | None:
        if self.path is None or not self.path.exists():
            raise UnlearnError(f"there is no training to resume at {self.path}.", "run it without --resume.")
        found = store.read(str(self.path))
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("identity") != self.identity:
            raise UnlearnError(
                f"{self.path} belongs to a training with other data or settings.",
                "repeat the first command with --resume added, or remove that file to start anew.",
            )
        return Progress(int(metadata["epoch"]), found.tensors)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _report(output, arch, model, recipe, run, used, wanted, test, correct) -> Report:
    facts = {
        "architecture": arch,
        "parameters": sum(p.numel() for p in model.parameters()),
        "left_out": requests.in_words(wanted),
        "train_images": len(used),
        "epochs": recipe.epochs,
        "train_seconds": round(run.seconds, 2),
        "test_images": len(test),
        "test_accuracy": round(correct.double().mean().item(), 4),
        "device": str(run.device),
        "precision": str(run.precision).removeprefix("torch."),
        "seed": run.seed,
    }
    return Report(command="train", title=f"Trained {arch}", facts=facts, written=output, notes=run.notes)
