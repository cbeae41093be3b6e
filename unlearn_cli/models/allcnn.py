"""All-CNN-C: convolutions only, strides in place of pooling, with BatchNorm and a linear head on the pooled features.

"Striving for Simplicity: The All Convolutional Net", ICLR 2015 workshop. Departures: BatchNorm in place of dropout,
padding in every 3x3 convolution, and the last 1x1 convolution, which gave the classes' maps before averaging, is a
linear layer after it.
"""

from typing import Annotated

from torch import Tensor, nn

from unlearn_cli.models.recipes import Recipe
from unlearn_cli.settings import setting

RECIPE = Recipe(epochs=10, lr=0.1, momentum=0.9, weight_decay=5e-4, label_smoothing=0.1, lookahead_every=5)


def build(
    classes: int,
    channels: int = 3,
    *,
    width: Annotated[int, setting("channels of the first stage; the second doubles them", ge=4, le=512)] = 96,
) -> nn.Module:
    return AllCNN(classes, channels, width)


class AllCNN(nn.Module):
    def __init__(self, classes: int, channels: int, width: int):
        super().__init__()
        self.features = nn.Sequential(
            _layer(channels, width, 3),
            _layer(width, width, 3),
            _layer(width, width, 3, stride=2),
            _layer(width, 2 * width, 3),
            _layer(2 * width, 2 * width, 3),
            _layer(2 * width, 2 * width, 3, stride=2),
            _layer(2 * width, 2 * width, 3),
            _layer(2 * width, 2 * width, 1),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
