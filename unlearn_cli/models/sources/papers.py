"""The networks of the papers by their short names: torchvision's, with a stem that suits small images where they are small.

    stem=small      convolutions of stride 1 and no pooling where torchvision's quarter the image at once; patches of 4
    stem=standard   exactly torchvision's

What ran is recorded. Names of tensors stay torchvision's.
"""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Size, in_words, sides
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import general
from unlearn_cli.settings import Setting, parse, setting

if TYPE_CHECKING:
    from torch import nn

SMALL = 96
"""Pixels: images with a shorter side below it are small."""

NAMES = {
    "vgg16": "vgg16",
    "resnet50": "resnet50",
    "wide-resnet50-2": "wide_resnet50_2",
    "mobilenet-v2": "mobilenet_v2",
    "efficientnet-b0": "efficientnet_b0",
    "vit-b-16": "vit_b_16",
}
"""What the papers call them, and what torchvision does."""

STEM = Setting("stem", Annotated[Literal["auto", "small", "standard"], setting("how the image is first made smaller")], "auto")


def find(name: str) -> Architecture:
    return Papers(name=name, construct=partial(construct, name), recipe=general(name.startswith("vit")), settings={"stem": STEM},
                  channels=(1, 3), assumed={"stem": "auto"})  # fmt: skip


class Papers(Architecture):
    """An architecture whose stem follows from the size of its images."""

    def parsed(self, given: dict[str, Any], size: Size | None = None) -> dict[str, Any]:
        stem = parse(self.settings, given, self.name).get("stem", "auto")
        if stem == "auto" and size is not None:
            stem = "small" if min(sides(size)) < SMALL else "standard"
        return {"stem": stem}


def construct(name: str, classes: int, channels: int, size: Size, settings: dict[str, Any]) -> "nn.Module":
    from torchvision import models as library

    small = settings["stem"] == "small"
    if name == "vit-b-16":
        height, width = sides(size)
        patch = 4 if small else 16
        if height != width or height % patch:
            raise UnlearnError(f"vit-b-16 does not take images of {in_words(size)} pixels.", f"pass a --size that {patch} divides.")
        from torchvision.models.vision_transformer import VisionTransformer

        model = VisionTransformer(height, patch, 12, 12, 768, 3072, num_classes=classes)
    else:
        model = library.get_model(NAMES[name], weights=None, num_classes=classes)
        if small:
            SMALLER[name](model, classes)
    return model if channels == 3 else _of_channels(model, channels)


def _resnet(model: "nn.Module", classes: int) -> None:
    from torch import nn

    model.conv1, model.maxpool = _of_stride_1(model.conv1, kernel=3), nn.Identity()


def _vgg(model: "nn.Module", classes: int) -> None:
    """One linear layer of 512 in place of those of 4,096 on 7 x 7 places; a map of one pixel is not pooled away."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Sequential(nn.Linear(512, 512), nn.ReLU(True), nn.Dropout(), nn.Linear(512, classes))


def _mobilenet(model: "nn.Module", classes: int) -> None:
    model.features[0][0] = _of_stride_1(model.features[0][0])
    depthwise = model.features[2].conv[1]
    depthwise[0] = _of_stride_1(depthwise[0])


def _efficientnet(model: "nn.Module", classes: int) -> None:
    model.features[0][0] = _of_stride_1(model.features[0][0])


SMALLER = {
    "vgg16": _vgg,
    "resnet50": _resnet,
    "wide-resnet50-2": _resnet,
    "mobilenet-v2": _mobilenet,
    "efficientnet-b0": _efficientnet,
}


def _of_stride_1(conv: "nn.Conv2d", kernel: int | None = None) -> "nn.Conv2d":
    from torch import nn

    size = kernel or conv.kernel_size[0]
    made = nn.Conv2d(conv.in_channels, conv.out_channels, size, 1, size // 2, groups=conv.groups, bias=conv.bias is not None)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def _of_channels(model: "nn.Module", channels: int) -> "nn.Module":
    """With another number of input channels: its first convolution anew."""
    from torch import nn

    name, first = next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    made = nn.Conv2d(channels, first.out_channels, first.kernel_size, first.stride, first.padding, bias=first.bias is not None)
    above, _, last = name.rpartition(".")
    setattr(model.get_submodule(above), last, made)
    return model
