"""Methods run on the shipped digits, on the classes or images asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.quick import quick
from tests.splitting import split
from unlearn_cli import methods
from unlearn_cli.cases.loading import Loaded, Plain, load
from unlearn_cli.cases.unlearning import unlearn
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options, Run


@dataclass
class Outcome:
    tensors: dict[str, Tensor]
    run: Run
    loaded: Loaded
    settings: dict[str, Any]


class Toy:
    """The shipped model and its digits; `forget` gives what a method made of it."""

    def __init__(self, checkpoint: Path, data: Path | None = None):
        self.checkpoint, self.data = checkpoint, data

    @property
    def weights(self) -> dict[str, Tensor]:
        return store.read(str(self.checkpoint)).tensors

    def load(self) -> Loaded:
        return load(str(self.checkpoint), Plain(data=str(self.data) if self.data else None), Options(device="cpu"))

    def forget(
        self,
        name: str,
        request: Request | None = None,
        seed: int = 0,
        precision: str = "float32",
        short: bool = True,
        **settings: Any,
    ) -> Outcome:
        method = methods.get(name)
        loaded = self.load()
        options = Options(device="cpu", precision=precision, seed=seed)
        target = resolve(request or Request(("3",)), loaded.folder)
        brief = method.acting({**quick(name, target.kind), **settings}, target.kind) if short else {}
        values = method.parse(brief | settings, target.kind)
        run, tensors, _ = unlearn(loaded, method, values, target, options)
        return Outcome(tensors, run, loaded, values | run.settled)


def listed(toy: Toy, count: int) -> Request:
    """Training images of all classes, by their paths."""
    images = toy.load().folder.images
    train = (~images.test).nonzero().squeeze(1)
    chosen = train[torch.linspace(0, len(train) - 1, count).long()]
    return Request(instances=tuple(images.paths[i] for i in chosen.tolist()))


def on(loaded: Loaded, request: Request, look: Callable, fraction: float = 0.0) -> Any:
    """look(run, model, splits) in float64, on a model as loaded, or as a method left it."""
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        return look(run, model, split(loaded.folder, request, ALL, fraction))


def accuracy(outcome: Outcome, name: str, request: Request) -> float:
    """Of a model that forgot, on one of the request's splits."""

    def right(run, model, splits):
        return run.correct(model, getattr(splits, name)) / len(getattr(splits, name))

    return on(outcome.loaded, request, right)


def known(outcome: Outcome, classes: tuple[int, ...] = (3,)) -> int:
    """How many images of these classes a model that forgot still gives one of them."""

    def count(run, model, splits):
        return int(torch.isin(run.logits(model, splits.forget).argmax(1), torch.tensor(classes)).sum())

    return on(outcome.loaded, Request(tuple(map(str, classes))), count)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """To the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def furthest(made: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference of a tensor's values."""
    return max(float((made[name].double() - tensor.double()).abs().max()) for name, tensor in expected.items())
