"""What a network looks at: how large its input is, and how an image file of any size becomes it."""

from dataclasses import dataclass
from typing import Literal

Size = int | tuple[int, int]
"""Pixels: the side of a square, or (height, width) of what is none."""

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""As Pillow has them: all but `nearest` average over what becomes one pixel."""


@dataclass(frozen=True)
class Resize:
    """How another library brings an image to the input's size: it is resized, and the input is cut from its centre.

    Args:
        to: the shorter side after resizing, in pixels, the proportions kept; or (height, width), whatever they were.
        half: where half a pixel goes, if one more is to be cut away after the input than before it: to the even number, as
            torchvision and timm round, or down, as transformers does.
    """

    to: Size
    interpolation: Interpolation = "bilinear"
    half: Literal["even", "down"] = "even"


@dataclass(frozen=True)
class Input:
    """The input that a network was made for, as its own library prepares it.

    Args:
        mean, std: per channel, in units of [0, 1] pixels.
        resize: None where images are brought to the size as ours are (`data.decode`).
    """

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize | None = None


def sides(size: Size) -> tuple[int, int]:
    """(height, width) in pixels."""
    return (size, size) if isinstance(size, int) else size


def sized(height: int, width: int) -> Size:
    """The one way to write a size: a square's by its side."""
    return height if height == width else (height, width)


def in_words(size: Size) -> str:
    height, width = sides(size)
    return f"{height} x {width}"
