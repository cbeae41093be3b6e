"""A `preprocessor_config.json` as the input that it makes of an image, by the rules of transformers' own processors.

    all         resize (to height and width, or the shorter side), crop the centre, times `rescale_factor`, minus mean over std
    ConvNext    below 384 pixels the shorter side to int(size / crop_pct), then the centre; from 384 on squashed
    PoolFormer  the shorter side to int(size / crop_pct);  LeViT: to int(256 / 224 * size)
    EfficientNet    may subtract 1 before, and divides by std once more

What a file leaves out is as the processor of that name has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_cli.inputs import Input, Interpolation, Resize, Size, sized

HALF, IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

FILTERS: Sequence[Interpolation] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers."""


class Unprepared(Exception):
    """Why an input does not follow from a configuration."""


@dataclass(frozen=True)
class Processor:
    """What a processor does where its configuration does not say.

    Args:
        size: of the square that images are squashed to, or their shorter side.
        is_square: which of the two a lone number means.
        crop: the side of what is cut from the centre; None where nothing is cut.
    """

    size: int
    is_square: bool
    crop: int | None
    filter: int
    scale: tuple[Sequence[float], Sequence[float]]


PROCESSORS = {
    "Beit": Processor(224, True, None, 3, HALF),
    "Bit": Processor(224, False, 224, 3, CLIP),
    "CLIP": Processor(224, False, 224, 3, CLIP),
    "ConvNext": Processor(384, False, None, 3, HALF),
    "DeiT": Processor(256, True, 224, 3, HALF),
    "EfficientNet": Processor(346, True, None, 3, HALF),
    "LeViT": Processor(224, False, 224, 3, IMAGENET),
    "MobileNetV1": Processor(256, False, 224, 2, HALF),
    "MobileNetV2": Processor(256, False, 224, 2, HALF),
    "PoolFormer": Processor(224, False, 224, 3, IMAGENET),
    "Pvt": Processor(224, True, None, 3, IMAGENET),
    "Segformer": Processor(512, True, None, 2, IMAGENET),
    "Siglip": Processor(224, False, None, 3, HALF),
    "ViT": Processor(224, True, None, 2, HALF),
}

OF_MODELS = {
    "beit": "Beit", "bit": "Bit", "clip": "CLIP", "convnext": "ConvNext", "convnextv2": "ConvNext", "cvt": "ConvNext",
    "data2vec-vision": "Beit", "deit": "DeiT", "dinat": "ViT", "dinov2": "Bit", "dinov2_with_registers": "Bit",
    "efficientnet": "EfficientNet", "focalnet": "Bit", "hiera": "Bit", "ijepa": "ViT", "levit": "LeViT",
    "mobilenet_v1": "MobileNetV1", "mobilenet_v2": "MobileNetV2", "poolformer": "PoolFormer", "pvt": "Pvt", "pvt_v2": "Pvt",
    "regnet": "ConvNext", "resnet": "ConvNext", "segformer": "Segformer", "siglip": "Siglip", "swiftformer": "ViT",
    "swin": "ViT", "swinv2": "ViT", "vit": "ViT", "vit_msn": "ViT",
}  # fmt: skip
"""The processor of a model whose file names none."""


def input_of(config: Mapping[str, Any] | None, model_type: str, channels: int) -> Input:
    """The input that a processor makes of any image.

    Args:
        config: what preprocessor_config.json holds.
        model_type: as the model's own configuration has it.

    Raises:
        Unprepared: it does not say, or does what is not known here.
    """
    if config is None:
        raise Unprepared("there is no preprocessor_config.json, which would say how images are prepared for it")
    kind = _kind(config, model_type)
    own = PROCESSORS.get(kind)
    if own is None:
        raise Unprepared(f"images are prepared for it by {kind or 'a processor without a name'}, which is not known here")
    if odd := next((key for key in ("do_flip_channel_order", "do_pad", "do_color_quantize") if config.get(key)), None):
        raise Unprepared(f"its preprocessor_config.json says {odd}, which is not known here")
    if not _said(config, "do_resize", True):
        raise Unprepared("its preprocessor_config.json does not resize images, and they are of many sizes")
    size, resize = _sizes(config, kind, own)
    mean, std = _scale(config, kind, own, channels)
    return Input(size, mean, std, resize)


def _kind(config: Mapping[str, Any], model_type: str) -> str:
    name = config.get("image_processor_type") or config.get("feature_extractor_type")
    if not name:
        return OF_MODELS.get(model_type, "")
    for end in ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(end)
    return {"Levit": "LeViT", "ConvNeXT": "ConvNext"}.get(name, name)


def _said(config: Mapping[str, Any], key: str, otherwise: Any) -> Any:
    return otherwise if config.get(key) is None else config[key]


def _sizes(config: Mapping[str, Any], kind: str, own: Processor) -> tuple[Size, Resize]:
    """The input's size, and how images are resized before it is cut from them."""
    number = _said(config, "resample", own.filter)
    if number not in range(len(FILTERS)):
        raise Unprepared(f"its preprocessor_config.json resizes by filter {number}, which Pillow does not have")
    side, box = _size(_said(config, "size", own.size), own.is_square)
    crop = _crop(config, own)
    if kind == "ConvNext":
        if side is None:
            raise Unprepared("its preprocessor_config.json has no shortest_edge, which this processor needs")
        if side >= 384:
            box, side = (side, side), None
        elif crop not in (None, (side, side)):
            raise Unprepared("its preprocessor_config.json crops images twice")
        else:
            side, crop = int(side / _said(config, "crop_pct", 224 / 256)), (side, side)
    elif kind == "LeViT" and side is not None:
        side = int(256 / 224 * side)
    elif kind == "PoolFormer":
        if side is None and box[0] != box[1]:
            raise Unprepared("its preprocessor_config.json has a size that is no square")
        side, box = int((side or box[0]) / _said(config, "crop_pct", 0.9)), None
    to: Size = box if box is not None else side
    size = crop or box
    if size is None:
        raise Unprepared("its preprocessor_config.json keeps the proportions of images and crops none: they are of no one size")
    return sized(*size), Resize(to, FILTERS[number], "down")


def _size(given: Any, is_square: bool) -> tuple[int | None, tuple[int, int] | None]:
    """The shorter side, or (height, width)."""
    if isinstance(given, int):
        return (None, (given, given)) if is_square else (given, None)
    if isinstance(given, (list, tuple)) and len(given) == 2:
        return None, (given[0], given[1])
    if isinstance(given, Mapping):
        known = {key: value for key, value in given.items() if value is not None}
        if known.keys() == {"shortest_edge"}:
            return known["shortest_edge"], None
        if known.keys() == {"height", "width"}:
            return None, (known["height"], known["width"])
    raise Unprepared(f"its preprocessor_config.json has a size that is not known here: {given}")


def _crop(config: Mapping[str, Any], own: Processor) -> tuple[int, int] | None:
    if not _said(config, "do_center_crop", own.crop is not None):
        return None
    given = _said(config, "crop_size", own.crop)
    if given is None:
        raise Unprepared("its preprocessor_config.json crops the centre, and says not how much of it")
    side, box = _size(given, True)
    return box if box is not None else (side, side)


def _scale(config: Mapping[str, Any], kind: str, own: Processor, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation in units of [0, 1] pixels: (u * 255 * factor - shift - mean) / std is one of its own there."""
    factor = 255 * (_said(config, "rescale_factor", 1 / 255) if _said(config, "do_rescale", True) else 1)
    normalises = _said(config, "do_normalize", True)
    given = [_said(config, key, default) for key, default in zip(("image_mean", "image_std"), own.scale, strict=True)]
    mean, std = ([one] * channels if isinstance(one, (int, float)) else list(one) for one in given)
    again = std if kind == "EfficientNet" and _said(config, "include_top", True) else [1.0] * len(std)
    if not normalises:
        mean, std = [0.0] * channels, [1.0] * channels
        again = again[:channels]
    shift = 1.0 if kind == "EfficientNet" and config.get("rescale_offset") and _said(config, "do_rescale", True) else 0.0
    if len(mean) != channels or len(std) != channels or factor <= 0:
        raise Unprepared(f"its preprocessor_config.json does not fit images of {channels} channel{'s' * (channels > 1)}")
    means = tuple(_exact((m + shift) / factor, m, factor, shift) for m in mean)
    stds = tuple(_exact(s * more / factor, s * more, factor, 0.0) for s, more in zip(std, again, strict=True))
    return means, stds


def _exact(value: float, plain: float, factor: float, shift: float) -> float:
    """The number as it stands in the file, where a factor of 1/255 leaves it so but for rounding."""
    return plain if shift == 0 and abs(factor - 1) < 1e-6 else value
