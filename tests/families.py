"""A tiny network of every family that people have, as a user's own file: `--arch tests/families.py:plain`."""

from torch import nn
from torchvision.models import convnext, resnet, swin_transformer, vision_transformer
from torchvision.ops import Permute

NAMES = ("plain", "residual", "depthwise", "convnext_like", "vit", "swin", "mixer", "without_norms", "convolution_at_the_end",
         "pair_of_heads", "with_dropout")  # fmt: skip


def plain(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(True), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
        nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 32), nn.ReLU(True), nn.Linear(32, num_classes),
    )  # fmt: skip


def residual(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), nn.MaxPool2d(2), resnet.BasicBlock(16, 16),
        resnet.BasicBlock(16, 16), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_classes),
    )  # fmt: skip


def depthwise(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(True),
        nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(True),
        nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(128, num_classes),
    )  # fmt: skip


def convnext_like(num_classes):
    blocks = [convnext.CNBlockConfig(16, 32, 1), convnext.CNBlockConfig(32, None, 1)]
    return convnext.ConvNeXt(blocks, stochastic_depth_prob=0.1, layer_scale=0.5, num_classes=num_classes)


def vit(num_classes):
    return vision_transformer.VisionTransformer(28, 7, 2, 2, 32, 64, num_classes=num_classes)


def swin(num_classes):
    return swin_transformer.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=num_classes)


class Mixer(nn.Module):
    def __init__(self, tokens, width, num_classes):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 7, 7)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.over_tokens = nn.ModuleList(nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens)) for _ in range(2))
        self.over_width = nn.ModuleList(nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)) for _ in range(2))
        self.head = nn.Linear(width, num_classes, bias=False)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for i in range(2):
            x = x + self.over_tokens[i](self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + self.over_width[i](self.norms[2 * i + 1](x))
        return self.head(x.mean(1))


def mixer(num_classes):
    return Mixer(16, 32, num_classes)


def without_norms(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(128, num_classes),
    )  # fmt: skip


def convolution_at_the_end(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(), nn.ConvTranspose2d(16, 16, 2, 2), nn.Conv2d(16, 32, 7, 7),
        nn.ReLU(), nn.Conv2d(32, 32, 4), nn.ReLU(), nn.Conv2d(32, num_classes, 1), nn.Flatten(),
    )  # fmt: skip


class Pair(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 24, 5, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head, self.head_dist = nn.Linear(96, num_classes), nn.Linear(96, num_classes)

    def forward(self, x):
        x = self.body(x)
        return (self.head(x) + self.head_dist(x.square())) / 2


def pair_of_heads(num_classes):
    return Pair(num_classes)


def with_dropout(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, 7), Permute([0, 2, 3, 1]), nn.LayerNorm(16), nn.GELU(), nn.Flatten(), nn.Dropout(0.1),
        nn.Linear(16 * 16, num_classes), nn.LogSoftmax(1),
    )  # fmt: skip


def of_scores(num_classes):
    """No linear layer gives its output."""
    return nn.Sequential(nn.Conv2d(3, num_classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
