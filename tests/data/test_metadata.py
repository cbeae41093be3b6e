"""An image is damaged when its pixels are; what is said beside them may be broken in any way."""

import struct
import zlib
from io import BytesIO

import pytest
from pictures import encoded, picture, put
from PIL import Image

from unlearn_cli.data import decode
from unlearn_cli.data.folder import open_folder

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, which a user never sees

IMAGE = picture(6, (28, 28))
PIXELS = IMAGE.tobytes()
TURN = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    whole = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", whole)


def png_with(extra: bytes, *, after: bool = False, image: Image.Image = IMAGE) -> bytes:
    """A PNG with more chunks right after its header, or after its pixels."""
    data = encoded(image)
    at = len(data) - 12 if after else 33
    return data[:at] + extra + data[at:]


def jpeg_with(marker: int, body: bytes) -> bytes:
    data = encoded(IMAGE, "jpeg", quality=90)
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


BOMB = zlib.compress(bytes(100_000_000))
CHUNKS = {
    "a profile that is no hex": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      10\nzzzz"),
    "a profile of half a byte": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      10\n4578696600004"),
    "a profile without lines": chunk(b"tEXt", b"Raw profile type exif\0"),
    "a profile in a compressed text": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 10\nzzzz")),
    "EXIF that is no TIFF": chunk(b"eXIf", b"nothing of the kind"),
    "EXIF cut short": chunk(b"eXIf", TURN[:11]),
    "EXIF with a wrong count": chunk(b"eXIf", TURN[:8] + b"\xff\xff\x01\x13" + TURN[12:]),
    "an empty EXIF": chunk(b"eXIf", b""),
    "an orientation out of range": chunk(b"eXIf", TURN[:19] + b"\x63" + TURN[20:]),
    "XMP that is no XML": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmp tiff:Orientation=\"zz\""),
    "XMP in another encoding": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation=\xff\xfe\"6\""),
    "a colour profile cut short": chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(3000))[:9]),
    "an unknown compression of a profile": chunk(b"iCCP", b"sRGB\0\x07xx"),
    "a colour profile without a name": chunk(b"iCCP", b""),
    "an unknown compression of a text": chunk(b"zTXt", b"Comment\0\x07xx"),
    "a text of a hundred megabytes": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "an international text of a hundred megabytes": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
    "a profile of a hundred megabytes": chunk(b"iCCP", b"sRGB\0\0" + BOMB),
    "many texts": 70 * chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))),
    "a time cut short": chunk(b"tIME", b"\0"),
    "a resolution cut short": chunk(b"pHYs", b"\0\0"),
    "a gamma cut short": chunk(b"gAMA", b"\0"),
    "chromaticities cut short": chunk(b"cHRM", b"\0"),
    "a rendering intent cut short": chunk(b"sRGB", b""),
    "a transparency cut short": chunk(b"tRNS", b"\0"),
    "an animation cut short": chunk(b"acTL", b"\0"),
    "a frame out of order": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", struct.pack(">I", 9) + bytes(22)),
    "a wrong checksum": chunk(b"tEXt", b"Comment\0words", checksum=7),
    "a chunk that nobody knows": chunk(b"quQx", b"words"),
}  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
@pytest.mark.parametrize("extra", CHUNKS.values(), ids=CHUNKS)
def test_a_png_whose_pixels_are_whole_is_read_whatever_is_said_beside_them(extra, after):
    data = png_with(extra, after=after)
    assert decode.decode(data, 28, 3) == PIXELS
    assert decode.checked(data).size == (28, 28)


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
def test_an_orientation_that_can_be_read_is_applied(after):
    turned = IMAGE.transpose(Image.Transpose.ROTATE_270).tobytes()
    assert decode.decode(png_with(chunk(b"eXIf", TURN), after=after), 28, 3) == turned != PIXELS


@pytest.mark.parametrize("extra", CHUNKS.values(), ids=CHUNKS)
def test_broken_words_beside_broken_pixels_save_nothing(extra):
    whole = png_with(extra)
    at = whole.index(b"IDAT")
    cut, spoilt = whole[: at + 400], bytearray(whole)
    spoilt[at + 300 : at + 340] = bytes(40)
    for data in (cut, bytes(spoilt)):
        with pytest.raises(ValueError, match="damaged or cut short"):
            decode.decode(data, 28, 3)


def test_a_png_cut_short_after_its_pixels_is_read():
    data = png_with(chunk(b"tEXt", b"Comment\0" + bytes(100)), after=True)
    assert decode.decode(data[:-60], 28, 3) == PIXELS


def test_palettes_and_deep_pixels_survive_the_loss_of_their_metadata():
    for image in (IMAGE.quantize(16), Image.new("I;16", (28, 28), 0x1234), IMAGE.convert("1"), IMAGE.convert("RGBA")):
        broken = png_with(chunk(b"iCCP", b"sRGB\0\x07xx"), image=image)
        assert decode.decode(broken, 28, 3) == decode.decode(encoded(image), 28, 3)


SEGMENTS = {
    "EXIF that is no TIFF": (0xE1, b"Exif\0\0nothing of the kind"),
    "EXIF cut short": (0xE1, b"Exif\0\0" + TURN[:11]),
    "EXIF with a wrong count": (0xE1, b"Exif\0\0" + TURN[:8] + b"\xff\xff\x01\x13" + TURN[12:]),
    "an empty EXIF": (0xE1, b"Exif\0\0"),
    "XMP that is no XML": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmp tiff:Orientation=\"zz\""),
    "a colour profile cut short": (0xE2, b"ICC_PROFILE\0"),
    "a list of pictures that is none": (0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff"),
    "resources cut short": (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
    "a comment of other bytes": (0xFE, b"\xff\xfe\xff"),
}  # fmt: skip


@pytest.mark.parametrize("marker, body", SEGMENTS.values(), ids=SEGMENTS)
def test_a_jpeg_whose_pixels_are_whole_is_read_whatever_is_said_beside_them(marker, body):
    assert decode.decode(jpeg_with(marker, body), 28, 3) == decode.decode(encoded(IMAGE, "jpeg", quality=90), 28, 3)


@pytest.mark.parametrize("marker, body", SEGMENTS.values(), ids=SEGMENTS)
def test_a_jpeg_cut_short_is_refused_whatever_is_said_beside_its_pixels(marker, body):
    data = jpeg_with(marker, body)
    with pytest.raises(ValueError, match="damaged or cut short"):
        decode.decode(data[: len(data) - 700], 28, 3)


def test_a_jpeg_keeps_its_colours_when_its_metadata_is_left_out():
    for mode in ("RGB", "L", "CMYK"):
        data = encoded(IMAGE.convert(mode), "jpeg", quality=90, exif=b"Exif\0\0" + TURN, comment=b"words")
        bare = decode.without_metadata(data)
        assert len(bare) < len(data) and b"Exif" not in bare
        assert Image.open(BytesIO(bare)).tobytes() == Image.open(BytesIO(data)).tobytes()


def test_webp_with_broken_metadata_is_read():
    data = encoded(IMAGE, "webp", lossless=True, exif=b"Exif\0\0nothing of the kind", xmp=b"<tiff:Orientation=")
    assert decode.decode(data, 28, 3) == PIXELS


def test_other_bytes_are_no_image_without_their_metadata_either():
    for data in (b"words", decode.PNG, decode.PNG + b"\xff" * 40, b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\0\0" * 9):
        with pytest.raises(ValueError, match="not a readable"):
            decode.decode(data, 28, 3)


def test_a_bomb_behind_a_broken_text_is_a_bomb():
    data = png_with(CHUNKS["a text of a hundred megabytes"], image=Image.new("1", (20_000, 10_000)))
    with pytest.raises(ValueError, match="million pixels"):
        decode.decode(data, 28, 3)


def test_the_size_is_taken_from_images_with_odd_texts_as_from_others(tmp_path):
    for part in ("train", "test"):
        for name, seed in (("a", 1), ("b", 2)):
            image = picture(seed, (44, 44), "L")
            put(tmp_path / "odd" / part / name / "1.png", png_with(CHUNKS["an unknown compression of a text"], image=image))
            put(tmp_path / "plain" / part / name / "1.png", image)
    odd, plain = open_folder(tmp_path / "odd").images, open_folder(tmp_path / "plain").images
    assert (odd.size, odd.channels) == (plain.size, plain.channels) == (44, 1)
    assert odd.pixels.equal(plain.pixels)
