"""`torchvision/NAME`: every classifier that the installed torchvision has, with the input of its default weights."""

import inspect
import typing
from collections.abc import Callable
from typing import Any

from unlearn_cli.errors import UnlearnError, did_you_mean, reason_of
from unlearn_cli.inputs import Input, Resize, Size, sides
from unlearn_cli.models.architecture import Architecture, Published, unreachable
from unlearn_cli.models.recipes import general

HELPERS = ("AuxLogits.", "aux1.", "aux2.")
"""Classifiers on early layers that help a training; no answer is theirs, and what they know nobody would make them forget."""


def find(name: str, config: dict[str, Any] | None = None) -> Architecture:
    from torchvision import models as library

    names = library.list_models(module=library)
    if name not in names:
        hint = did_you_mean(name, names) or f"torchvision.models.list_models() lists them, {names[0]} to {names[-1]}."
        raise UnlearnError(f"torchvision has no classifier called '{name}'.", hint)
    builder = library.get_model_builder(name)
    takes = inspect.signature(typing.get_type_hints(builder)["return"].__init__).parameters

    def construct(classes: int, channels: int, size: Size, settings: dict[str, Any]):
        if named := [key for key in settings if key in ("weights", "progress")]:
            raise UnlearnError(f"{named[0]} is no setting of torchvision/{name} here: weights come from the checkpoint alone.",
                               "leave it out.")  # fmt: skip
        return built(name, builder, {"num_classes": classes} | sized(takes, size, name) | plain(takes) | settings)

    return Architecture(
        name=f"torchvision/{name}", construct=construct, recipe=general("image_size" in takes), settings=None, channels=(3,),
        input=input_of(library.get_model_weights(name)), aside=HELPERS if "aux_logits" in takes else (),
        assumed=assumed(takes),
    )  # fmt: skip


def assumed(takes: typing.Mapping[str, Any]) -> dict[str, Any]:
    """What the weights that torchvision publishes want, and it would not take for a file: a normalisation of their own."""
    return {"transform_input": True} if "transform_input" in takes else {}


def built(name: str, builder: Callable, arguments: dict[str, Any]):
    try:
        return builder(weights=None, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        hint = "check the settings after --arch and --size."
        raise UnlearnError(f"torchvision cannot build {name} so ({reason_of(error)}).", hint) from None


def sized(takes: typing.Mapping[str, Any], size: Size, name: str) -> dict[str, Any]:
    """The image size, for the networks that are built for one."""
    height, width = sides(size)
    if "image_size" in takes:
        if height != width:
            raise UnlearnError(f"torchvision/{name} takes square images only.", "pass --size with one number.")
        return {"image_size": height}
    return {"input_size": (height, width)} if "input_size" in takes else {}


def plain(takes: typing.Mapping[str, Any]) -> dict[str, Any]:
    """No helpers, and weights as torch's layers draw them rather than by a slow initialisation that loading overwrites."""
    return {name: False for name in ("aux_logits", "init_weights") if name in takes and "aux_logits" in takes}


def input_of(weights: Any) -> Input | None:
    """What the default weights' transform makes of an image."""
    if not list(weights):
        return None
    steps = weights.DEFAULT.transforms()
    resize = Resize(steps.resize_size[0], steps.interpolation.value)
    return Input(steps.crop_size[0], tuple(steps.mean), tuple(steps.std), resize)


def published(name: str) -> Published:
    """The weights that torchvision has for a network: its default ones, or those named after a point as its own enum names them.

    They are downloaded into torch's own cache where they are not there yet, and only read as tensors.

    Raises:
        UnlearnError: torchvision has no such weights, or they cannot be had.
    """
    from torchvision import models as library

    own, _, tag = name.partition(".")
    find(own)
    known = library.get_model_weights(own)
    if not list(known) or (tag and tag not in known.__members__):
        hint = did_you_mean(tag, known.__members__) or f"torchvision.models.get_model_weights('{own}') has those that there are."
        raise UnlearnError(f"torchvision has no weights {tag or 'at all'} for {own}.", hint)
    weights = known[tag] if tag else known.DEFAULT
    named = f"torchvision/{own}.{weights.name}"
    try:
        return Published(named, weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except Exception as error:  # noqa: BLE001 - networks and servers fail in every way
        raise unreachable(named, error) from None
