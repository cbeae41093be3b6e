"""`transformers/CLASS`: a classifier of the transformers library, built from its own config.json."""

from typing import Any

import torch

from unlearn_cli.errors import UnlearnError, did_you_mean, reason_of
from unlearn_cli.inputs import Size
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import general
from unlearn_cli.ops.presented import written_as

LABELS = ("num_labels", "id2label", "label2id", "_num_labels")
BY_NAME = ("Auto", "TimmWrapper")
"""What begins classes that build whatever their config names: files and hubs may be among it, and no record names these."""

FETCHED = ("_implementation", "kernel_config", "use_kernels", "auto_map")
"""What ends settings by which the library fetches compiled or other people's code; its own code computes the same."""


def find(name: str, config: dict[str, Any] | None = None) -> Architecture:
    """The class by its name, for the model that the config describes."""
    library = imported()
    if config is None:
        raise UnlearnError(f"transformers/{name} is known by its config.json only.", "give the folder that holds it as CHECKPOINT.")
    if not name.endswith("ForImageClassification") and "ForImageClassification" not in name:
        raise UnlearnError(f"transformers/{name} is not an image classifier.", "a class ForImageClassification is needed.")
    if name.startswith(BY_NAME):
        raise UnlearnError(f"transformers/{name} is no network by itself: it builds what its config.json names.",
                           "give the folder that holds it as CHECKPOINT, or --arch timm/NAME.")  # fmt: skip
    kind = getattr(library, name, None)
    if kind is None:
        hint = did_you_mean(name, [one for one in dir(library) if one.endswith("ForImageClassification")])
        raise UnlearnError(f"transformers {library.__version__} has no class {name}.", hint or "upgrade transformers.")
    if "quantization_config" in config:
        raise UnlearnError(f"the weights of this {name} are quantized.", "save the model in float32 or bfloat16 first.")
    channels = config.get("num_channels", 3)

    def construct(classes: int, channels: int, size: Size, settings: dict[str, Any]):
        rest = {key: value for key, value in _own(config).items() if key not in (*LABELS, "model_type")}
        rest |= {key: False for key in ("use_pretrained_backbone",) if key in rest}  # it would be downloaded
        try:
            described = library.AutoConfig.for_model(config["model_type"], **rest, num_labels=classes)
            model = kind(described)
            return written_as(model, names_in_files(model))
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ImportError, OSError) as error:
            raise UnlearnError(f"transformers cannot build {name} from its config.json ({reason_of(error)}).",
                               "it may be of another version of transformers.") from None  # fmt: skip

    return Architecture(name=f"transformers/{name}", construct=construct, recipe=general(True), settings={},
                        channels=(channels,), config=config)  # fmt: skip


def _own(config: Any) -> Any:
    """A configuration, and those within it, without what would be fetched."""
    if not isinstance(config, dict):
        return config
    return {key: _own(value) for key, value in config.items() if not key.endswith(FETCHED)}


def names_in_files(model: Any) -> dict[str, str]:
    """The tensors that the library saves under other names than its code has for them now, by the latter.

    Its version 5 renamed modules and kept its files as they were. The library itself is asked.

    Raises:
        ValueError: it does more than rename: one tensor of a file is not one of the network.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5, names are names
        return {}
    tensors = {**dict(model.named_buffers()), **model.state_dict()}
    marks = {name: torch.full((), float(i)) for i, name in enumerate(tensors)}
    names, found = list(tensors), {}
    for there, mark in revert_weight_conversion(model, dict(marks)).items():
        if mark.dim() or there in found.values():
            raise ValueError("its files hold tensors that this version of transformers joins or splits")
        found[names[int(mark)]] = there
    if found.keys() != tensors.keys():
        raise ValueError("its files hold tensors that this version of transformers joins or splits")
    return {own: there for own, there in found.items() if own != there}


def imported():
    try:
        import transformers
    except ImportError:
        raise UnlearnError("transformers is not installed.", "install it: pip install 'unlearn-cli[hub]'.") from None
    return transformers
