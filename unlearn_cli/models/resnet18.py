"""ResNet-18 for small images: a 3x3 stem without max-pooling, torchvision's names, any width.

"Deep Residual Learning for Image Recognition", CVPR 2016: basic blocks, two per stage, as its CIFAR networks begin.
"""

from typing import Annotated

from torch import Tensor, nn
from torch.nn.functional import relu

from unlearn_cli.models.recipes import Recipe
from unlearn_cli.settings import setting

RECIPE = Recipe(epochs=12, lr=0.1, momentum=0.9, weight_decay=5e-4, label_smoothing=0.1, lookahead_every=5)


def build(
    classes: int,
    channels: int = 3,
    *,
    width: Annotated[int, setting("channels of the first stage; each later one doubles", ge=4, le=512)] = 64,
) -> nn.Module:
    return ResNet18(classes, channels, width)


class ResNet18(nn.Module):
    def __init__(self, classes: int, channels: int, width: int):
        super().__init__()
        self.conv1 = _conv3x3(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, 2 * width, stride=2), Block(2 * width, 2 * width))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, stride=2), Block(4 * width, 4 * width))
        self.layer4 = nn.Sequential(Block(4 * width, 8 * width, stride=2), Block(8 * width, 8 * width))
        self.fc = nn.Linear(8 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(x)) + shortcut)


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
