"""A checkpoint's tensors in a network of its architecture, presented as every method reads it, and back in its file's terms."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn_cli import models
from unlearn_cli.checkpoints.fitting import fit
from unlearn_cli.checkpoints.leftovers import ends, remarks
from unlearn_cli.checkpoints.record import Record, as_size
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.building import new
from unlearn_cli.ops.presented import JOINED, Joined, as_library, as_network, names_in_files, take, written_as

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded network.

    Args:
        tensors: the checkpoint's, under the network's names.
        given: the same under its library's.
        prefix: what stood before their names in the file.
        idle: other classifiers of its classes that no answer is made of.
    """

    model: nn.Module
    head: str
    tensors: Tensors
    given: Tensors
    prefix: str
    notes: list[str]
    idle: list[str] = field(default_factory=list)

    def as_file(self, tensors: Tensors, prefixed: bool = False) -> Tensors:
        """Tensors of this network as its library names them; of a head that did not change, the file's own bits.

        Args:
            prefixed: with the prefix that the file had.
        """
        found = as_library(tensors, self.model, self.given)
        return {f"{self.prefix}{key}": tensor for key, tensor in found.items()} if prefixed and self.prefix else found


def architecture_of(record: Record, arch: str | None, name: str) -> tuple[Architecture, list[str]]:
    """The architecture that a record names. Code of the user's is run only where the command line names it as well.

    Args:
        arch: what --arch says.
        name: of the checkpoint, as messages call it.
    """
    if record.architecture_digest is None:
        return models.find(record.architecture, config=record.architecture_config), []
    if arch is None or ".py:" not in arch:
        try:
            return models.find(record.architecture), []
        except UnlearnError as error:
            raise UnlearnError(f"{name}: {error.problem}", error.hint) from None
    found = models.find(arch.partition(",")[0].strip(), typed=True)
    if found.name != record.architecture:
        raise UnlearnError(f"{name} was made with {record.architecture}, and --arch names {found.name}.", "name the same.")
    if found.digest == record.architecture_digest:
        return found, []
    return found, [f"the code of {found.name} is not that which {name} was made with (digest {found.digest[:12]}, was "
                   f"{record.architecture_digest[:12]})"]  # fmt: skip


def fresh(architecture: Architecture, record: Record, seed: int) -> nn.Module:
    """New weights of a record's architecture, from the seed alone."""
    return new(architecture, len(record.classes), record.channels, as_size(record.size), record.architecture_settings, seed)[0]


def filled(architecture: Architecture, record: Record, tensors: Tensors, name: str, head: str | None) -> Network:
    """The record's architecture with a checkpoint's weights in it.

    Args:
        name: of the checkpoint, as messages call it.
        head: the head's name, where somebody said it.
    """
    settings = record.architecture_settings
    # A meta model would be free, but imports torch's compiler stack.
    model, found = new(architecture, len(record.classes), record.channels, as_size(record.size), settings, 0, head)
    notes = list(found.notes)
    _named_as(model, tensors)
    if helpers := [key for key in tensors if any(f".{part}" in f".{key}" for part in architecture.aside)]:
        tensors = {key: tensor for key, tensor in tensors.items() if key not in set(helpers)}
        notes.append(f"{len(helpers)} tensors of {name} that only help a training, as {helpers[0]}, are left out, here and in what "
                     "is written")  # fmt: skip
    said = ", ".join(f"{k}={v}" for k, v in settings.items())
    hint = f"the architecture was taken as {record.architecture}" + (f" with {said}" if said else "") + "; check --arch."
    given, prefix = fit(tensors, model, f"{name} does not fit {record.architecture}", hint)
    notes += remarks(tensors, given, prefix, name)
    taken = as_network(given, model)
    float_type = torch.float64 if any(t.dtype == torch.float64 for t in given.values()) else torch.float32
    take(model.to(float_type), taken)
    return Network(model.eval(), found.head, taken, given, prefix, notes, found.idle)


def _named_as(model: nn.Module, tensors: Tensors) -> None:
    """Where a file has the names of the library's code, and not those that it writes into files, take and give these; in place."""
    if not (there := names_in_files(model)):
        return
    names = {end for key in tensors for end in ends(key)}
    own = there.keys() & model.state_dict().keys()
    if own <= names and not all(there[key] in names for key in own):
        written_as(model, {})


def outputs_of(model: nn.Module, head: str, tensors: Tensors) -> int | None:
    """How many classes a file's head has, whatever configurations say; None where it is not known which tensor that is."""
    layer = model.get_submodule(head)
    key = f"{layer.parts[0] if head == JOINED and isinstance(layer, Joined) else head}.weight"
    return _one({tensor.shape[0] for name, tensor in tensors.items() if name == key or name.endswith(f".{key}")})


def channels_of(model: nn.Module, tensors: Tensors) -> int | None:
    """How many channels a file's first convolution takes; None where it is not known which tensor that is."""
    key = next((f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), "")
    return _one({tensor.shape[1] for name, tensor in tensors.items() if name == key or name.endswith(f".{key}")})


def _one(found: set[int]) -> int | None:
    return found.pop() if len(found) == 1 else None
