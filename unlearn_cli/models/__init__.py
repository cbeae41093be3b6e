"""Architectures by name: a file here is one, with its `build(classes, channels, *, settings)` and `RECIPE`."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.inputs import Size
from unlearn_cli.settings import Setting, declared, parse

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearn_cli.models.recipes import Recipe

SMALLEST = 28
"""Side in pixels of the smallest images; in smaller ones the networks have nothing left to pool."""


def names() -> list[str]:
    """Every architecture, found by its file; nothing is imported."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "recipes")


def build(arch: str, classes: int, channels: int = 3, settings: dict[str, Any] | None = None, size: Size = 32) -> "nn.Module":
    """A network with fresh weights from the current RNG, for normalised float NCHW images of 28 pixels or more.

    Its last module is one `nn.Linear` with bias, the head, whose outputs are the logits.
    """
    module = _module(arch)
    sized = {"size": size} if "size" in declared(module.build) else {}
    return module.build(classes, channels, **parse(_settings(module), settings or {}, arch), **sized)


def settings(arch: str) -> dict[str, Setting]:
    """The settings an architecture takes."""
    return _settings(_module(arch))


def defaults(arch: str) -> dict[str, Any]:
    """The defaults of those settings."""
    return {name: setting.default for name, setting in settings(arch).items()}


def recipe(arch: str) -> "Recipe":
    """How the architecture is trained unless told otherwise."""
    return _module(arch).RECIPE


def recipe_settings() -> dict[str, Setting]:
    """What of a recipe a user may set, with types and ranges."""
    from unlearn_cli.models.recipes import Recipe

    return {name: setting for name, setting in declared(Recipe).items() if name != "frozen"}


def prepare(model: "nn.Module", sample: "Tensor") -> None:
    """Let a fresh network set the weights that it takes from data rather than from training, if it has any.

    Args:
        sample: (M, C, H, W) normalised float training images; a few thousand are plenty.
    """
    hook = getattr(model, "prepare", None)
    if hook is not None:
        hook(sample)


def _settings(module: ModuleType) -> dict[str, Setting]:
    return {name: one for name, one in declared(module.build).items() if name != "size"}


def _module(arch: str) -> ModuleType:
    if arch not in names():
        known = f"the architectures are {', '.join(names())}."
        raise UnlearnError(f"no architecture called '{arch}'.", f"{did_you_mean(arch, names())} {known}".strip())
    return import_module(f"{__name__}.{arch}")
