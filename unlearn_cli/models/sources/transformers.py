"""`transformers/CLASS`: a classifier of the transformers library, built from its own config.json."""

from typing import Any

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.inputs import Size, sides
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import general

LABELS = ("num_labels", "id2label", "label2id", "_num_labels")


def find(name: str, config: dict[str, Any] | None = None) -> Architecture:
    """The class by its name, for the model that the config describes."""
    library = imported()
    if config is None:
        raise UnlearnError(f"transformers/{name} is known by its config.json only.", "give the folder that holds it as CHECKPOINT.")
    if not name.endswith("ForImageClassification") and "ForImageClassification" not in name:
        raise UnlearnError(f"transformers/{name} is not an image classifier.", "a class ForImageClassification is needed.")
    kind = getattr(library, name, None)
    if kind is None:
        hint = did_you_mean(name, [one for one in dir(library) if one.endswith("ForImageClassification")])
        raise UnlearnError(f"transformers {library.__version__} has no class {name}.", hint or "upgrade transformers.")
    channels = config.get("num_channels", 3)

    def construct(classes: int, channels: int, size: Size, settings: dict[str, Any]):
        rest = {key: value for key, value in config.items() if key not in (*LABELS, "model_type")}
        height, width = sides(size)
        own = config.get("image_size")
        if own is not None and own not in (height, [height, width]) and isinstance(own, (int, list)):
            rest["image_size"] = height if height == width else (height, width)
        try:
            described = library.AutoConfig.for_model(config["model_type"], **rest, num_labels=classes)
            return kind(described)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UnlearnError(f"transformers cannot build {name} from its config.json ({reason}).",
                               "it may be of another version of transformers.") from None  # fmt: skip

    return Architecture(name=f"transformers/{name}", construct=construct, recipe=general(True), settings={},
                        channels=(channels,), config=config)  # fmt: skip


def imported():
    try:
        import transformers
    except ImportError:
        raise UnlearnError("transformers is not installed.", "install it: pip install 'unlearn-cli[hub]'.") from None
    return transformers
