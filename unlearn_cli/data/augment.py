"""From uint8 images to what a network eats: random translation and flips, then normalisation, on the images' device."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from unlearn_cli.data.images import Images

FLIPS = ("none", "random", "alternating")


def augment(x: Tensor, shift_rows: Tensor, shift_cols: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Each image translated by its own shift, reflected at the borders, then mirrored where `flip` is True.

        out[b, r, c] = x[b, reflect(r - shift_rows[b]), reflect(c' - shift_cols[b])],   c' = W-1-c if flip[b] else c

    Args:
        x: (B, H, W, C) uint8.
        shift_rows, shift_cols: (B,) int64 in [-padding, padding]; positive moves the content down and right.
        flip: (B,) bool.
        padding: the largest shift, less than H and W.

    Every output row is one run of W·C bytes of the row reflected twice, because a mirrored row continues it:
    x0 x1 .. xW-1 xW-2 .. x1 x0 ..; so one index_select over overlapping runs does translation and flip at once.
    """
    b, height, width, channels = x.shape
    if b == 0:  # a process's share of a small batch
        return x
    mirrored = x.flip(2)
    left, right = mirrored[:, :, width - 1 - padding : width - 1], x[:, :, 1 : 1 + padding]
    rows = torch.cat([left, x, mirrored[:, :, 1:], right], 2)
    length = rows.shape[2] * channels
    runs = rows.view(-1).as_strided((rows.numel() - width * channels + 1, width * channels), (1, 1))

    row = torch.arange(height, device=x.device) - shift_rows[:, None]
    row = height - 1 - (height - 1 - row.abs()).abs()
    start = padding + torch.where(flip, width - 1 + shift_cols, -shift_cols)
    first = torch.arange(b, device=x.device)[:, None] * height + row
    return runs.index_select(0, (first * length + start[:, None] * channels).view(-1)).view(x.shape)


def draws(
    generator: torch.Generator, n: int, padding: int, flip_mode: str, epoch: int = 0, index: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The random part of `augment` for n images, on the generator's device: (shift_rows, shift_cols, flip).

    "alternating" needs the images' (n,) `index` and draws no flip: an image mirrored in one epoch is not in the next,
    so that two epochs show both sides of each ("94% on CIFAR-10 in 3.29 Seconds on a Single GPU", Jordan 2024).
    """
    device = generator.device
    shifts = torch.randint(-padding, padding + 1, (2, n), generator=generator, device=device)
    if flip_mode == "none":
        flip = torch.zeros(n, dtype=torch.bool, device=device)
    elif flip_mode == "random":
        flip = torch.randint(2, (n,), generator=generator, device=device, dtype=torch.bool)
    elif flip_mode == "alternating":
        flip = (_bit(index.to(device)) ^ (epoch & 1)).bool()
    else:
        raise ValueError(f"flip_mode is one of {FLIPS}, not {flip_mode!r}")
    return shifts[0], shifts[1], flip


def _bit(index: Tensor) -> Tensor:
    """One fixed, well-mixed bit per index: the first half of splitmix64, whose products wrap around in int64."""
    mixed = (index + 1) * -0x61C8864680B583EB
    mixed = (mixed ^ ((mixed >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    return (mixed >> 40) & 1


def normalise(x: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
    """(x / 255 - mean) / std of (B, H, W, C) uint8 as (B, C, H, W) in channels-last strides; computed in float32."""
    scale, offset = _scale_and_offset(tuple(mean), tuple(std), x.device)
    return torch.addcmul(offset, x.float(), scale).to(dtype).permute(0, 3, 1, 2)


@cache
def _scale_and_offset(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """On the device once: a copy per batch would wait for it."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    return scale, torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)


def statistics(images: Images, index: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in [0, 1], over all pixels of the images at `index`, from exact sums.

    A channel that never varies gets the deviation 1, which leaves its normalised values at 0.
    """
    sums = torch.zeros(2, images.values, dtype=torch.int64)
    for x in images.stream(index.split(512)):  # 512 squares of 255 fit an int32, the fast type here
        values = x.flatten(1).int()
        sums[0] += values.sum(0, dtype=torch.int32)
        sums[1] += values.square_().sum(0, dtype=torch.int32)
    per_channel = sums.view(2, -1, images.channels).sum(1)
    n = len(index) * images.values // images.channels
    mean, std = [], []
    for total, squares in per_channel.T.tolist():
        mean.append(total / n / 255)
        std.append(((n * squares - total * total) / n**2) ** 0.5 / 255 or 1.0)
    return mean, std
