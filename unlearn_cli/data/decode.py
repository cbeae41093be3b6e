"""One image file to bytes: the only code that opens an image, in this process or in a worker.

Workers run this file as a script: it imports Pillow and the standard library, never torch or the rest of the package.
"""

import hashlib
import json
import sys
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO

from PIL import BmpImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

Size = int | Sequence[int]  # the side of a square, or (height, width)
Resize = Sequence  # a Size that the image is resized to before it is cut, Pillow's name of the interpolation, where halves go
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
PIXEL_LIMIT = 89_478_485  # Pillow's own: more than this is a bomb, or no image to classify at 224 pixels
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")
PNG = b"\x89PNG\r\n\x1a\n"
JPEG_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)  # APP1 to APP15 and comments; APP0 and APP14 name the colour space
ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def look(file: BinaryIO) -> Image.Image:
    """The image with only its header read; ValueError in a user's words when it is none or too large."""
    try:
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError:
            raise
        except Exception:  # noqa: BLE001 - Pillow's parsers raise whatever the damaged bytes led them to
            file.seek(0)
            image = Image.open(BytesIO(without_metadata(file.read())), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(f"has more than {PIXEL_LIMIT / 1e6:.0f} million pixels") from None
    except Exception:  # noqa: BLE001 - as above
        raise ValueError("is not a readable JPEG, PNG, BMP or WebP image") from None
    if image.width * image.height > PIXEL_LIMIT:
        raise ValueError(
            f"has {image.width * image.height / 1e6:.0f} million pixels, more than {PIXEL_LIMIT / 1e6:.0f}"
        )
    return image


def checked(data: bytes, resize: Resize | None = None) -> Image.Image:
    if not data:
        raise ValueError("is empty (0 bytes)")
    image = look(BytesIO(data))
    if resize is not None:
        width, height = resized_to(image, resize[0])
        if width * height > PIXEL_LIMIT:  # a thin strip: cut before it is resized, other pixels would come of it
            raise ValueError(
                f"is {image.width} x {image.height} pixels, too long to be resized: it would have "
                f"{width * height / 1e6:.0f} million pixels, more than {PIXEL_LIMIT / 1e6:.0f}"
            )
    return image


def decode(data: bytes, size: Size, channels: int, resize: Resize | None = None) -> bytes:
    """The file's pixels as height x width x channels bytes: upright, and brought to the size in one of two ways.

    Without `resize`, the largest part around the centre that has the size's proportions, resized. With it, all of the
    image resized, then cut around its centre, and black where it is smaller: torchvision's Resize and CenterCrop.

    Metadata that cannot be read is passed over, and the orientation with it: an image is damaged when its pixels are.
    """
    height, width = sides(size)
    image = checked(data, resize)
    try:
        try:
            image.load()
        except Exception:  # noqa: BLE001 - as above; texts may follow the pixels
            image = checked(without_metadata(data))
            image.load()
        image = converted(upright(image), "L" if channels == 1 else "RGB")
        image = fitted(image, width, height) if resize is None else cut(resized(image, *resize[:2]), width, height, *resize[2:])
    except Exception:  # noqa: BLE001 - as above
        raise ValueError("is damaged or cut short") from None
    return image.tobytes()


def upright(image: Image.Image) -> Image.Image:
    if not any(key in image.info for key in ORIENTATION_KEYS):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - as above; the pixels are whole
        return image


def without_metadata(data: bytes) -> bytes:
    """A PNG's critical chunks, or a JPEG without its EXIF, profiles and comments; other bytes as they are."""
    if data.startswith(PNG):
        return _png_pixels(data)
    return _jpeg_pixels(data) if data.startswith(b"\xff\xd8") else data


def _png_pixels(data: bytes) -> bytes:
    kept, at = [PNG], len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 5].isupper():  # a small first letter says that the pixels do not need the chunk
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _jpeg_pixels(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while data[at : at + 1] == b"\xff" and data[at + 1] not in (0xDA, 0xFF):  # up to the pixels, or what is no segment
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] not in JPEG_METADATA:
            kept.append(data[at:end])
        at = end
    return b"".join(kept) + data[at:]


def converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):  # 16 bits per pixel: Pillow's convert would clip them at 255
        import numpy

        image = Image.fromarray((numpy.asarray(image).astype(numpy.int64) >> 8).clip(0, 255).astype(numpy.uint8))
    elif image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns about transparency
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    return image.convert(mode)


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest part around the centre that has these proportions, at this size."""
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    # The crop is given as the part to resize, so that a very long image never becomes a huge intermediate one.
    left, top = (round((there / scale - side) / 2) * scale for there, side in zip(image.size, (width, height), strict=True))
    right, bottom = min(left + width * scale, image.width), min(top + height * scale, image.height)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def resized(image: Image.Image, to: Size, interpolation: str) -> Image.Image:
    return image.resize(resized_to(image, to), Image.Resampling[interpolation.upper()])


def resized_to(image: Image.Image, to: Size) -> tuple[int, int]:
    """(width, height) of the whole image once its shorter side is `to`, or it has the height and width that `to` is."""
    if not isinstance(to, int):
        return to[1], to[0]
    longer = int(to * max(image.size) / min(image.size))
    return (to, longer) if image.width <= image.height else (longer, to)


def cut(image: Image.Image, width: int, height: int, half: str = "even") -> Image.Image:
    """The part around the centre; black beyond the image, one pixel more of it after than before where it is uneven.

    Half a pixel of the place to cut at goes to the even number, or down.
    """
    rounded = round if half == "even" else int
    left, top = (
        rounded((there - side) / 2) if there > side else -((side - there) // 2)
        for there, side in zip(image.size, (width, height), strict=True)
    )
    return image.crop((left, top, left + width, top + height))


def sides(size: Size) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else tuple(size)


def read(
    root: str, names: list[str], size: Size, channels: int, resize: Resize | None = None
) -> tuple[bytes, bytes, list[tuple[int, str]]]:
    """Many files: their SHA-256 digests joined, their pixels joined, and (position, problem) of each that is bad.

    With size 0 only headers are read, and there are no pixels.
    """
    height, width = sides(size)
    digests, pixels, problems = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; what matters here raises
        for position, name in enumerate(names):
            data = b""
            try:
                with open(f"{root}/{name}", "rb", buffering=0) as file:
                    data = file.read()
                pixels.append(decode(data, size, channels, resize) if size else checked(data) and b"")
            except OSError as error:
                problems.append((position, f"cannot be read: {(error.strerror or str(error)).lower()}"))
            except ValueError as error:
                problems.append((position, str(error)))
            if len(pixels) <= position:
                pixels.append(bytes(height * width * channels))
            digests.append(hashlib.sha256(data).digest())
    return b"".join(digests), b"".join(pixels), problems


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """A worker's life: a line of JSON in; a line of JSON, the digests and the pixels out; until the parent is gone."""
    for line in requests:
        digests, pixels, problems = read(*json.loads(line))
        answers.write(json.dumps(problems).encode() + b"\n" + digests)
        answers.write(pixels)
        answers.flush()


if __name__ == "__main__":
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stdout = None  # nobody is left to flush to
