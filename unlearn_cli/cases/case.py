"""A request put to a model on open data: the positions that every attack and every metric reads."""

from dataclasses import dataclass

from torch import Tensor

from unlearn_cli.cases import requests
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.checkpoints.record import Record, RequestRecord
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.data.splits import ALL, split
from unlearn_cli.kinds import Kind


@dataclass(frozen=True, eq=False)
class Case:
    """A request on open data.

    Args:
        splits: name to (n,) int64 positions.
        target: None where nothing was ever asked to be forgotten.
        request: as a record keeps it.
    """

    splits: dict[str, Tensor]
    target: Target | None
    request: RequestRecord | None

    @property
    def kind(self) -> Kind:
        """What the request names."""
        return self.target.kind if self.target else "images"

    @property
    def forgotten(self) -> tuple[int, ...]:
        """Indices of the classes to forget; empty where images are."""
        return self.target.task.forgotten if self.target else ()


def selection_of(record: Record) -> float:
    """The share of the test images that chose something on the way to this model, and says nothing of it any more."""
    return max((step.selection_fraction for step in record.lineage), default=0.0)


def open_case(loaded: Loaded, given: Request, carved: float | None = None) -> Case:
    """The splits of the request that was given or is remembered; without any, train and test alone.

    Args:
        carved: the share of the test images that is left out; by default what the model's own lineage set aside.
    """
    folder = loaded.folder
    if given:
        target = resolve(given, folder)
    elif remembered := requests.asked(loaded.record.lineage):
        target = requests.target_of(remembered[-1], folder, loaded.name)
    else:
        test = folder.images.test
        return Case({"train": (~test).nonzero()[:, 0], "test": test.nonzero()[:, 0]}, None, None)
    carved = selection_of(loaded.record) if carved is None else carved
    splits = split(folder, target, reads=ALL, selection_fraction=carved)
    return Case({name: getattr(splits, name).index for name in ALL}, target, requests.recorded(target, folder))
