"""Methods run on the shipped digits, on the classes or images asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tests.quick import quick
from unlearn_cli import methods
from unlearn_cli.checkpoints import store
from unlearn_cli.data.splits import Request
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.jobs.forget import unlearn
from unlearn_cli.jobs.loading import Loaded, Plain, load


@dataclass
class Outcome:
    tensors: dict[str, Tensor]
    run: Run
    loaded: Loaded


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
        values = method.parse((quick(name) if short else {}) | settings)
        run, tensors, _ = unlearn(loaded, method, values, request or Request(("3",)), options)
        return Outcome(tensors, run, loaded)
