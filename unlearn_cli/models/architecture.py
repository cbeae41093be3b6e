"""An architecture is one value: how to build it, what it takes, and where it came from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unlearn_cli.errors import UnlearnError, reason_of
from unlearn_cli.inputs import Input, Size, in_words, sides
from unlearn_cli.settings import Setting, parse

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearn_cli.models.recipes import Recipe


Labels = tuple[list[str], list[list[str]]]
"""Names of classes in the order of the outputs, and other names of each."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A kind of network.

    Args:
        name: as it is typed and recorded: `resnet18`, `torchvision/resnet50`, `net.py:Net`.
        construct: (classes, channels, size, settings) to a network with fresh weights from the current RNG.
        recipe: how it is trained unless told otherwise.
        settings: what it takes, with types and ranges; None where its library or its file alone knows.
        channels: the numbers of input channels that it takes, the most natural last.
        smallest: side in pixels of the smallest images; what else it cannot take shows when it is built.
        ours: whether it is one of our own: its head is its last linear layer, and no library prepares its input.
        input: what its library feeds it, where nothing else is said.
        digest: SHA-256 of the file with its code, where that is the user's.
        config: its library's own description, from which it is built.
        aside: what begins the names of tensors that its files may hold and that answer nothing: helpers of its training.
        labels: the names that its library has for the outputs of a head of so many, and other names of each; none it may be.
        assumed: settings that nobody can read off weights, and what is taken where nobody says them.
    """

    name: str
    construct: Callable[[int, int, Size, dict[str, Any]], "nn.Module"]
    recipe: "Recipe"
    settings: dict[str, Setting] | None = field(default_factory=dict)
    channels: tuple[int, ...] = (1, 3)
    smallest: int = 1
    ours: bool = False
    input: Input | None = None
    digest: str | None = None
    config: dict[str, Any] | None = None
    aside: tuple[str, ...] = ()
    labels: Callable[[int], "Labels | None"] = lambda outputs: None
    assumed: dict[str, Any] = field(default_factory=dict)

    def parsed(self, given: dict[str, Any], size: Size | None = None) -> dict[str, Any]:
        """The settings that run: those given, and the defaults of the others where these are known."""
        if self.settings is None:
            return self.assumed | {name: _value(value) for name, value in given.items()}
        return {name: one.default for name, one in self.settings.items()} | parse(self.settings, given, self.name)

    def check(self, size: Size, channels: int) -> None:
        """Refuse images that it cannot take, as far as that is known before it is built."""
        if min(sides(size)) < self.smallest:
            raise UnlearnError(f"images of {in_words(size)} pixels are too small for {self.name}.",
                               f"pass --size {self.smallest} or more.")  # fmt: skip
        if channels not in self.channels:
            hint = "pass --channels 3: grey images are read as colour." if 3 in self.channels else "check --arch."
            taken = " or ".join(map(str, self.channels))
            raise UnlearnError(f"{self.name} takes images of {taken} channels, not {channels}.", hint)


@dataclass(frozen=True, eq=False)
class Published:
    """Weights that a library has for one of its networks.

    Args:
        name: of the network, with that of the weights behind a point.
        tensors: under its library's names.
    """

    name: str
    tensors: dict[str, "Tensor"]


def unreachable(name: str, error: Exception) -> UnlearnError:
    """That a library's weights are not to be had, and why."""
    return UnlearnError(f"the weights of {name} could not be downloaded ({reason_of(error)}).",
                        "check the connection; a file or a folder that has them is taken by --weights.")  # fmt: skip


def _value(given: Any) -> Any:
    """A setting of which nobody told the type: a number or a truth where it reads like one."""
    if not isinstance(given, str):
        return given
    words = {"true": True, "false": False, "none": None}
    if given.lower() in words:
        return words[given.lower()]
    for kind in (int, float):
        try:
            return kind(given)
        except ValueError:
            continue
    return given
