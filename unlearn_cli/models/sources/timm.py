"""`timm/NAME`: every network that the installed timm has, with the input of its default or named weights."""

import inspect
from math import floor
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UnlearnError, did_you_mean, reason_of
from unlearn_cli.inputs import Input, Resize, Size, sides, sized
from unlearn_cli.models.architecture import Architecture, Labels, Published, unreachable
from unlearn_cli.models.recipes import general

WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir")
"""What timm takes with a network's settings and reads weights by, some of them pickled: no record and no config may name any."""


def find(name: str, config: dict[str, Any] | None = None) -> Architecture:
    """A name may end in the tag of its weights, whose input is taken then: `resnet50.a1_in1k`."""
    library = imported()
    if not library.is_model(name.partition(".")[0]):
        hint = did_you_mean(name, library.list_models()) or "timm.list_models() lists them."
        raise UnlearnError(f"timm has no network called '{name}'.", hint)
    given = (config or {}).get("pretrained_cfg")
    try:
        about = library.models.PretrainedCfg(**_known(given)) if given else library.get_pretrained_cfg(name)
        fed = input_of(about) if about is not None else None
    except RuntimeError:
        own, _, tag = name.partition(".")
        hint = did_you_mean(name, library.list_models(f"{own}.*", pretrained=True)) or "leave what is behind the point out."
        raise UnlearnError(f"timm has no weights '{tag}' of {own}.", hint) from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnlearnError(f"timm does not read the pretrained_cfg of {name} ({error}).", "it is damaged: restore it.") from None
    arguments = {key: value for key, value in ((config or {}).get("model_args") or {}).items() if key not in GIVEN}

    def construct(classes: int, channels: int, size: Size, settings: dict[str, Any]):
        more = arguments | settings
        if named := [key for key in more if key in WEIGHTS]:
            raise UnlearnError(f"{named[0]} is no setting of timm/{name} here: weights come from the checkpoint alone.",
                               "leave it out.")  # fmt: skip
        fixed = about is not None and about.fixed_input_size and not more.get("dynamic_img_size")
        if fixed and "img_size" not in settings and sides(size) != tuple(about.input_size[1:]):
            more = more | {"img_size": sides(size)}
        try:
            return library.create_model(
                name.partition(".")[0], pretrained=False, num_classes=classes, in_chans=channels, **_overridden(given), **more
            )
        except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
            hint = "check the settings after --arch and --size."
            raise UnlearnError(f"timm cannot build {name} so ({reason_of(error)}).", hint) from None

    attention = about is not None and bool(about.fixed_input_size)
    return Architecture(name=f"timm/{name}", construct=construct, recipe=general(attention), settings=None, channels=(1, 3),
                        input=fed, config=config, labels=imagenet)  # fmt: skip


GIVEN = ("num_classes", "in_chans")
"""Arguments of a network that a configuration may repeat: the head's tensor and the images say them."""


def published(name: str) -> Published:
    """The weights that timm has for a network, by its name, with their tag or by their default one; downloaded into the cache of
    the Hugging Face hub where they are not there yet.

    Raises:
        UnlearnError: timm has no such weights, or they cannot be had.
    """
    library = imported()
    find(name)
    about = library.get_pretrained_cfg(name)
    if about is None or not about.has_weights:
        raise UnlearnError(f"timm has no weights for {name}.", "timm.list_pretrained() lists those that it has.")
    named = f"{name.partition('.')[0]}.{about.tag}" if about.tag else name
    try:
        model = library.create_model(named, pretrained=True, **_fetched(about))
    except Exception as error:  # noqa: BLE001 - networks and servers fail in every way
        raise unreachable(f"timm/{named}", error) from None
    return Published(f"timm/{named}", model.state_dict())


def _fetched(about: Any) -> dict[str, Any]:
    """Where the hub has safetensors: that file. Asked for by timm itself, an unreachable hub is tried for a minute."""
    if not about.hf_hub_id or about.hf_hub_filename or isinstance(about.custom_load, str):
        return {}
    from huggingface_hub import snapshot_download

    file = Path(snapshot_download(about.hf_hub_id, allow_patterns=["model.safetensors"])) / "model.safetensors"
    return {"pretrained_cfg_overlay": {"file": str(file), "custom_load": False}} if file.exists() else {}


def imagenet(outputs: int) -> Labels | None:
    """The classes of the ImageNet subset that has just so many, as timm lists them: its identifiers, their words beside them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": outputs})
    if subset is None:
        return None
    known = ImageNetInfo(subset)
    return list(known.label_names()), [[words] for words in known.label_descriptions()]


def imported():
    try:
        import timm
    except ImportError:
        raise UnlearnError("timm is not installed.", "install it: pip install 'unlearn-cli[timm]'.") from None
    return timm


def _known(given: dict[str, Any]) -> dict[str, Any]:
    """What this version of timm knows of a description that another may have written."""
    from timm.models import PretrainedCfg

    return {name: value for name, value in given.items() if name in inspect.signature(PretrainedCfg).parameters}


def _overridden(given: dict[str, Any] | None) -> dict[str, Any]:
    return {"pretrained_cfg": _known(given)} if given else {}


def input_of(about: Any) -> Input | None:
    """Resized to floor(size / crop_pct), then cut from the centre; squashed to it where the weights want that."""
    from timm.data import resolve_data_config

    known = resolve_data_config({}, pretrained_cfg=about.to_dict())
    height, width = known["input_size"][1:]
    larger = floor(height / known["crop_pct"]), floor(width / known["crop_pct"])
    squashed = known["crop_mode"] == "squash"
    if not squashed and (known["crop_mode"] != "center" or height != width):  # a cut that is no square's is another there
        return None
    to = larger if squashed else larger[0]
    return Input(sized(height, width), tuple(known["mean"]), tuple(known["std"]), Resize(to, known["interpolation"]))
