"""A `config.json` as timm or transformers write it, in our words. Nothing is imported and nothing is built: it is read.

    timm                       `architecture`, `num_classes`, `pretrained_cfg`, `model_args`, `label_names`; older ones flat
    transformers' wrapper      the same, and `architectures: [TimmWrapperForImageClassification]`
    transformers               `architectures: [..ForImageClassification..]`, `model_type`, `id2label`
"""

from collections.abc import Mapping
from typing import Any

from unlearn_cli.checkpoints.described import Described
from unlearn_cli.checkpoints.processors import Unprepared, input_of
from unlearn_cli.errors import UnlearnError

Json = Mapping[str, Any]
OF_LABELS = ("label_names", "label_descriptions", "labels", "id2label", "label2id", "num_labels", "num_classes")
"""What says of the classes; names stand in records by themselves."""

ABOUT_THE_FILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "auto_map", "_attn_implementation")
"""What says nothing of the network."""


def described(config: Json, processor: Json | None, name: str) -> Described:
    """What a configuration, and the one of the images' preparation beside it, say.

    Args:
        name: of the folder, as messages call it.

    Raises:
        UnlearnError: it is of no library that is known here, or of no classifier of images into one class each.
    """
    try:
        if isinstance(config.get("architecture"), str):
            return _timm(config)
        return _transformers(config, processor, name)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise UnlearnError(f"the config.json of {name} is not as its library writes it ({type(error).__name__}: {error}).",
                           "it is damaged: restore it.") from None  # fmt: skip


def _timm(config: Json) -> Described:
    about = config.get("pretrained_cfg")
    if about is None:  # as timm wrote it once: all in one
        apart = ("architecture", "num_features", "model_args", *OF_LABELS)
        about = {key: value for key, value in config.items() if key not in apart}
    about = {key: value for key, value in about.items() if key not in ("label_names", "label_descriptions", "state_dict", "file")}
    arguments = dict(config.get("model_args") or {})
    about = _of_arguments(about, arguments)
    told = [*((config.get(key), config.get("label_descriptions")) for key in ("label_names", "labels")),
            tuple((config.get("pretrained_cfg") or {}).get(key) for key in ("label_names", "label_descriptions"))]  # fmt: skip
    labels, words = next(((labels, words) for labels, words in told if labels), (None, None))
    names, notes = _in_order(labels)
    also = [[str(words[one])] if one in words else [] for one in names] if names and isinstance(words, Mapping) else None
    outputs = config.get("num_classes", about.get("num_classes"))
    kept = {"architecture": config["architecture"], "pretrained_cfg": about, "model_args": arguments}
    return Described(
        architecture=f"timm/{config['architecture']}", config=kept, classes=names, also=also,
        channels=_channels(about.get("input_size", (3,))[0]), notes=notes, outputs=outputs if isinstance(outputs, int) else None,
        unprepared="images are prepared in a way for it that is not known here (its crop_mode, or a size that is no square)",
    )  # fmt: skip


def _of_arguments(about: dict[str, Any], arguments: Json) -> dict[str, Any]:
    """The input as the arguments of the network change it: they describe the weights that were saved."""
    size = list(about.get("input_size") or (3, 224, 224))
    fixed = about.get("fixed_input_size", False)
    if arguments.get("dynamic_img_size") or arguments.get("strict_img_size") is False:
        fixed = False
    if arguments.get("in_chans") is not None:
        size[0] = arguments["in_chans"]
    if arguments.get("img_size") is not None and fixed:
        given = arguments["img_size"]
        size[1:] = [given, given] if isinstance(given, int) else list(given)
    return about | {"input_size": size, "fixed_input_size": fixed}


def _transformers(config: Json, processor: Json | None, name: str) -> Described:
    architectures = config.get("architectures") or []
    if not architectures or "model_type" not in config:
        raise UnlearnError(f"the config.json of {name} names no architecture of timm or transformers.",
                           "give its safetensors file, and pass --arch.")  # fmt: skip
    kind = architectures[0]
    if "ForImageClassification" not in kind:
        raise UnlearnError(f"{name} holds a {kind}, not an image classifier.", "give one with a head: a ForImageClassification.")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise UnlearnError(f"{name} gives an image several labels or a number ({config['problem_type']}), not one class.",
                           "a classifier is needed.")  # fmt: skip
    if config.get("quantization_config"):
        raise UnlearnError(f"the weights of {name} are quantized.", "give those of full precision.")
    names, notes = _in_order(config.get("id2label"))
    outputs = len(config["id2label"]) if config.get("id2label") else config.get("num_labels")
    channels = _channels(config.get("num_channels") or (config.get("vision_config") or {}).get("num_channels") or 3)
    fed, unprepared = None, ""
    try:
        fed = input_of(processor, config["model_type"], channels)
    except Unprepared as error:
        unprepared = str(error)
    kept = {key: value for key, value in config.items() if key not in (*OF_LABELS, *ABOUT_THE_FILE)}
    return Described(f"transformers/{kind}", kept, names, _words(names), fed, channels, notes, outputs, unprepared)


def _channels(number: int) -> int:
    if number not in (1, 3):
        raise UnlearnError(f"its network takes images of {number} channels.", "grey images or colour images are read.")
    return number


def _in_order(labels: Any) -> tuple[list[str] | None, list[str]]:
    """The names of the outputs from the first to the last, and what to say where a list of them is not whole.

    `LABEL_7`, as transformers fills in for want of a name, is none.
    """
    if not labels:
        return None, []
    if isinstance(labels, Mapping):
        numbered = {int(place): name for place, name in labels.items()}
        if sorted(numbered) != list(range(len(numbered))):
            return None, ["the names of classes in its config.json have gaps: they are not used"]
        labels = [numbered[i] for i in range(len(numbered))]
    names = [str(name) for name in labels]
    if names == [f"LABEL_{i}" for i in range(len(names))] or not all(name.strip() for name in names):
        return None, []
    return names, []


def _words(names: list[str] | None) -> list[list[str]] | None:
    """What stands behind an identifier as `n01440764 tench, Tinca tinca` may have it."""
    if not names:
        return None
    apart = [name.split(" ", 1) for name in names]
    is_synset = [len(parts) == 2 and len(parts[0]) == 9 and parts[0][0] == "n" and parts[0][1:].isdigit() for parts in apart]
    return [parts if synset else [] for parts, synset in zip(apart, is_synset, strict=True)] if any(is_synset) else None


def mended(config: Json, classes: list[str]) -> dict[str, Any]:
    """The configuration for a head of these classes: counts and names that are not of so many are put right, all else stays."""
    found, count = dict(config), len(classes)
    for key in ("num_classes", "num_labels"):
        if isinstance(found.get(key), int):
            found[key] = count
    if not isinstance(found.get("architecture"), str):
        labels = found.get("id2label")
        if (labels is None and count == 2) or (labels is not None and len(labels) == count):
            return found
        return found | {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
    is_stale = found != dict(config)
    found |= {key: dict(found[key]) for key in ("pretrained_cfg", "model_args") if isinstance(found.get(key), Mapping)}
    for part in (found, *(found[key] for key in ("pretrained_cfg", "model_args") if isinstance(found.get(key), dict))):
        if "num_classes" in part:
            part["num_classes"] = count
        if any(part.get(key) is not None and len(part[key]) != count for key in ("label_names", "labels")):
            is_stale = True
            for key in ("label_names", "labels", "label_descriptions"):
                part.pop(key, None)
    return found | {"label_names": list(classes)} if is_stale else found
