"""Architectures by name.

    resnet18                  our own: a file here is one, with its `build(classes, channels, *, settings)` and `RECIPE`
    vgg16                     the papers', for small images or large ones (`sources.papers`)
    torchvision/resnet50      a library's: whatever it has
    net.py:Net                the user's own code, from the command line alone
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.inputs import Size
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.settings import Setting, declared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearn_cli.models.architecture import Published
    from unlearn_cli.models.recipes import Recipe

SMALLEST = 28
"""Side in pixels of the smallest images for our own; in smaller ones they have nothing left to pool."""

SHARED = ("architecture", "building", "recipes")
"""The files here that are no architecture."""

LIBRARIES = ("torchvision", "timm", "transformers")
"""What a name may begin with, and a slash; each is asked what it has in `sources`."""


def names() -> list[str]:
    """Every architecture of our own, found by its file; nothing is imported."""
    return sorted(module.name for module in iter_modules(__path__) if not module.ispkg and module.name not in SHARED)


def known() -> str:
    """What may be typed, in words."""
    from unlearn_cli.models.sources import papers

    own = ", ".join([*names(), *(name for name in papers.NAMES if name not in names())])
    return f"the architectures are {own}, torchvision/NAME, timm/NAME and FILE.py:NAME."


def find(name: str, *, typed: bool = False, config: dict[str, Any] | None = None) -> Architecture:
    """An architecture by its name.

    Args:
        typed: whether the user typed it in this command: only then it may name a file of code, which is run.
        config: its library's description of it, where it is not known by its name alone.

    Raises:
        UnlearnError: there is none of that name, or what has it is not installed.
    """
    if name in names():
        return _own(name)
    library, slash, own_name = name.partition("/")
    if ".py:" in name:
        from unlearn_cli.models.sources import file

        return file.find(name, typed=typed)
    if name.endswith(".py"):
        raise UnlearnError(f"{name} is a file of code, and may define several networks.",
                           f"name the class or the function: --arch {name}:NAME.")  # fmt: skip
    if slash and library in LIBRARIES:
        return import_module(f"{__name__}.sources.{library}").find(own_name, config)
    from unlearn_cli.models.sources import papers

    if name in papers.NAMES:
        return papers.find(name)
    raise UnlearnError(f"no architecture called '{name}'.", f"{did_you_mean(name, [*names(), *papers.NAMES])} {known()}".strip())


def published(name: str) -> "Published":
    """The weights that torchvision or timm has for a network, downloaded into the library's own cache: only where this was asked.

    Args:
        name: as it is typed, or with the name of the weights behind a point, as the answer has it.
    """
    library, slash, own_name = name.partition("/")
    if not slash or library not in ("torchvision", "timm"):
        raise UnlearnError(f"no library has weights for {name}.", "--pretrained is for --arch torchvision/NAME and timm/NAME.")
    return import_module(f"{__name__}.sources.{library}").published(own_name)


def _own(name: str) -> Architecture:
    module = _module(name)

    def construct(classes: int, channels: int, size: Size, settings: dict[str, Any]) -> "nn.Module":
        sized = {"size": size} if "size" in declared(module.build) else {}
        return module.build(classes, channels, **settings, **sized)

    return Architecture(
        name=name, construct=construct, recipe=module.RECIPE, settings=_settings(module), smallest=SMALLEST, ours=True
    )


def build(arch: str, classes: int, channels: int = 3, settings: dict[str, Any] | None = None, size: Size = 32) -> "nn.Module":
    """A network with fresh weights from the current RNG, for normalised float NCHW images of the size.

    Of our own architectures, which take 28 pixels or more, the last module is one `nn.Linear` with bias, the head, whose
    outputs are the logits.
    """
    found = find(arch)
    return found.construct(classes, channels, size, found.parsed(settings or {}, size))


def settings(arch: str) -> dict[str, Setting]:
    """The settings that one of our own architectures takes."""
    return find(arch).settings


def defaults(arch: str) -> dict[str, Any]:
    """The defaults of those settings."""
    return {name: setting.default for name, setting in settings(arch).items()}


def recipe(arch: str) -> "Recipe":
    """How the architecture is trained unless told otherwise."""
    return find(arch).recipe


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
    return import_module(f"{__name__}.{arch}")
