"""A vision transformer for small images: patches of 4 pixels, a class token, learned positions, norms before each part.

"An Image is Worth 16x16 Words", ICLR 2021, at a size that can be trained from scratch. With `tokens=shifted` it is the form
for small data sets of "Vision Transformer for Small-Size Datasets" (Lee, Lee and Song 2021), in two parts:

    shifted patches      a patch is cut from the image and its four diagonal shifts by half a patch, one upon another
    local attention      σ((QKᵀ with -∞ on its diagonal) / τ), τ learned by each layer, √d at first: no token looks at itself

Departure: as the positions are learned for one size of images, so are the weights; another size is another network.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Size, in_words, sides
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.settings import setting

# The decay spares norms, biases, tokens and positions, as is usual for transformers.
RECIPE = Recipe(
    epochs=60,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.05,
    decay="matrices",
    clip=1.0,
    label_smoothing=0.1,
    schedule="cosine",
    warmup=0.1,
)
SPREAD = 0.02
"""Standard deviation of the first weights."""


def build(
    classes: int,
    channels: int = 3,
    *,
    size: Size = 32,
    patch: Annotated[int, setting("side of a patch in pixels; the image's sides are multiples of it", ge=1, le=64)] = 4,
    width: Annotated[int, setting("numbers of a token; a multiple of the heads", ge=4, le=2048)] = 192,
    depth: Annotated[int, setting("blocks of attention and perceptron", ge=1, le=48)] = 6,
    heads: Annotated[int, setting("of each attention", ge=1, le=64)] = 3,
    mlp: Annotated[int, setting("width of the perceptrons, in widths of a token", ge=1, le=16)] = 4,
    tokens: Annotated[Literal["patches", "shifted"], setting("what a token sees; shifted is for small data sets")] = "patches",
) -> nn.Module:
    height, breadth = sides(size)
    if height % patch or breadth % patch:
        fit = max(patch, round(height / patch) * patch)
        raise UnlearnError(f"vit cuts images into patches of {patch} pixels, and {in_words(size)} is no multiple of it.",
                           f"pass --size {fit}, or --arch vit,patch=N.")  # fmt: skip
    if width % heads:
        raise UnlearnError(f"vit divides its width among its heads, and {width} is no multiple of {heads}.",
                           f"pass heads=1, or width={max(1, round(width / heads)) * heads}.")  # fmt: skip
    if tokens == "shifted" and patch == 1:
        raise UnlearnError("tokens=shifted shifts the image by half a patch, and patch=1 has no half.", "pass patch=2 or more.")
    return ViT(classes, channels, (height // patch) * (breadth // patch), patch, width, depth, heads, mlp, tokens == "shifted")


class ViT(nn.Module):
    def __init__(self, classes: int, channels: int, patches: int, patch: int, width: int, depth: int, heads: int, mlp: int,
                 shifted: bool):  # fmt: skip
        super().__init__()
        self.embed = ShiftedPatches(channels, patch, width) if shifted else Patches(channels, patch, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, patches + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, mlp, patches + 1, shifted) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        for table in (self.class_token, self.positions, *(m.weight for m in self.modules() if isinstance(m, nn.Linear))):
            nn.init.trunc_normal_(table, std=SPREAD)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class Patches(nn.Module):
    """(n, C, H, W) images to (n, patches, width) tokens, row by row."""

    def __init__(self, channels: int, patch: int, width: int):
        super().__init__()
        self.project = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).flatten(2).transpose(1, 2)


class ShiftedPatches(nn.Module):
    """The same, of the image and its four diagonal shifts by half a patch, whose empty borders are zero."""

    def __init__(self, channels: int, patch: int, width: int):
        super().__init__()
        self.patch = patch
        self.norm = nn.LayerNorm(5 * channels * patch**2)
        self.project = nn.Linear(5 * channels * patch**2, width)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        half, p = self.patch // 2, self.patch
        whole = pad(x, (half, half, half, half))
        corners = [(row, column) for row in (0, 2 * half) for column in (0, 2 * half)]
        x = torch.cat([x, *(whole[:, :, r : r + height, c : c + width] for r, c in corners)], 1)
        x = x.reshape(n, -1, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        return self.project(self.norm(x.reshape(n, (height // p) * (width // p), -1)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, mlp: int, count: int, local: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, count, local)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp * width), nn.GELU(), nn.Linear(mlp * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Written out: fused kernels for so few tokens gain little, and on a GPU their gradients differ from run to run."""

    def __init__(self, width: int, heads: int, count: int, local: bool):
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width, bias=not local)
        self.output = nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.tensor((width // heads) ** 0.5)) if local else (width // heads) ** 0.5
        if local:
            self.register_buffer("itself", torch.eye(count, dtype=torch.bool), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, count, width = x.shape
        q, k, v = self.inputs(x).reshape(n, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / self.temperature
        if isinstance(self.temperature, Tensor):
            scores = scores.masked_fill(self.itself, -torch.inf)
        return self.output((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, count, width))
