"""Images brought to a size that is no square, and as torchvision does it: by PIL, to the last bit."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from pictures import encoded, picture, put
from PIL import Image

from unlearn_cli.data import decode, folder, workers
from unlearn_cli.data.augment import augment, statistics
from unlearn_cli.data.copies import traits_of
from unlearn_cli.data.folder import open_folder
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Interpolation, Resize

SHAPES = [(28, 28), (31, 50), (50, 31), (9, 200), (200, 9), (1, 60), (5, 4), (64, 65), (33, 47)]
"""(width, height): even and odd, long, and smaller than what is cut from them."""
WAYS = [(16, 16), (20, 16), (19, 16), (16, 20), (16, 21), (24, (17, 30)), ((20, 31), 16), ((9, 40), (16, 21)), ((40, 9), 17)]
"""What is resized to, and the size that is cut from it."""
INTERPOLATIONS = get_args(Interpolation)


def by_torchvision(image: Image.Image, to, size, interpolation: str) -> np.ndarray:
    from torchvision.transforms import CenterCrop, InterpolationMode
    from torchvision.transforms import Resize as Theirs

    image = Theirs(to, InterpolationMode(interpolation))(image)
    return np.asarray(CenterCrop(size)(image))


def ours(data: bytes, size, channels: int, *resize) -> np.ndarray:
    height, width = (size, size) if isinstance(size, int) else size
    pixels = np.frombuffer(decode.decode(data, size, channels, resize or None), np.uint8).reshape(height, width, channels)
    return pixels[..., 0] if channels == 1 else pixels


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_resized_images_are_torchvisions_bit_for_bit(interpolation, mode):
    for seed, shape in enumerate(SHAPES):
        image = picture(seed, shape, mode)
        for to, size in WAYS:
            got = ours(encoded(image), size, len(mode) if mode == "RGB" else 1, to, interpolation)
            assert np.array_equal(got, by_torchvision(image, to, size, interpolation)), (shape, to, size)


def test_grey_images_in_colour_are_torchvisions_of_the_converted_image():
    image = picture(1, (50, 31), "L")
    got = ours(encoded(image), 16, 3, 20, "bicubic")
    assert np.array_equal(got, by_torchvision(image.convert("RGB"), 20, 16, "bicubic"))
    assert np.array_equal(got[..., 0], got[..., 2])


def test_interpolations_and_our_own_way_differ():
    data = encoded(picture(3, (50, 31)))
    seen = {ours(data, 16, 3, 20, interpolation).tobytes() for interpolation in INTERPOLATIONS}
    seen |= {ours(data, 16, 3, to, "bilinear").tobytes() for to in (16, (20, 20))} | {ours(data, 16, 3).tobytes()}
    assert len(seen) == len(INTERPOLATIONS) + 3


def test_images_are_upright_before_they_are_resized():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(4, (50, 31))
    upright = image.transpose(Image.Transpose.ROTATE_270)
    got = ours(encoded(image, "png", exif=exif), (16, 21), 3, 20, "bilinear")
    assert np.array_equal(got, by_torchvision(upright, 20, (16, 21), "bilinear"))


def test_what_is_smaller_than_the_size_lies_in_black():
    got = ours(encoded(Image.new("L", (40, 20), 200)), (31, 16), 1, 20, "bilinear")
    assert (got[:5] == 0).all() and (got[5:25] == 200).all() and (got[25:] == 0).all() and len(got[25:]) == 6


def test_without_a_resize_the_largest_centred_part_of_the_sizes_proportions_is_taken():
    image = picture(3, (60, 44))
    whole = image.resize((15, 11), Image.Resampling.BILINEAR)
    assert np.array_equal(ours(encoded(image), (11, 15), 3), np.asarray(whole))
    middle = image.resize((11, 11), Image.Resampling.BILINEAR, box=(8, 0, 52, 44))
    assert np.array_equal(ours(encoded(image), 11, 3), np.asarray(middle))
    strip = np.asarray(image.resize((15, 5), Image.Resampling.BILINEAR, box=(0, 12, 60, 32)))
    assert np.array_equal(ours(encoded(image), (5, 15), 3), strip)


def test_a_strip_that_would_become_huge_is_refused_before_it_is_decoded(monkeypatch):
    data = encoded(Image.new("L", (2, 60_000), 7))
    assert len(decode.decode(data, 32, 1)) == 32 * 32
    assert len(decode.decode(data, 32, 1, ((40, 40), "bilinear"))) == 32 * 32
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(ValueError, match="too long to be resized: it would have 115 million pixels"):
        decode.decode(data, 32, 1, (62, "bilinear"))


# Folders


@pytest.fixture
def uneven(tmp_path):
    for part, count in (("train", 6), ("test", 3)):
        for c, name in enumerate(("ant", "bee")):
            for i in range(count):
                put(tmp_path / "uneven" / part / name / f"{i}.png", picture(100 * c + i, (20 + 7 * i, 31)))
    return tmp_path / "uneven"


WAY = {"size": (16, 21), "resize": Resize(24, "bicubic")}


def test_a_folder_holds_each_images_pixels_in_height_and_width(uneven):
    images = open_folder(uneven, **WAY).images
    assert images.pixels.shape == (18, 16, 21, 3) and (images.size, images.channels, images.values) == ((16, 21), 3, 16 * 21 * 3)
    for path, pixels in zip(images.paths, images.pixels, strict=True):
        assert np.array_equal(pixels, by_torchvision(Image.open(uneven / path), 24, (16, 21), "bicubic"))
    square = open_folder(uneven, size=(16, 16)).images
    assert square.size == 16 and square.resize is None


def test_pixels_prepared_in_two_ways_are_kept_apart_and_each_is_found_again(uneven, own_cache, monkeypatch):
    ways = [{"size": 16}, {"size": (16, 21)}, {"size": (21, 16)}, {"size": 16, "channels": 1}]
    ways += [{"size": 16, "resize": Resize(to, how)} for to in (16, 20, (20, 20), (16, 20)) for how in ("bilinear", "bicubic")]
    opened = [open_folder(uneven, **way).images for way in ways]
    assert len(list(own_cache.glob("pixels-*"))) == len(ways) == len({repr(images.prepared) for images in opened})
    monkeypatch.setattr(decode, "decode", None)
    for way, images in zip(ways, opened, strict=True):
        assert torch.equal(open_folder(uneven, **way).images.pixels, images.pixels)


def test_squares_of_our_own_keep_the_name_that_their_cached_pixels_had(uneven, own_cache):
    opened = open_folder(uneven, size=16)
    assert (own_cache / f"pixels-1-{opened.fingerprint[:32]}-16-3.safetensors").is_file()


def test_resized_pixels_of_files_that_stay_are_taken_over_and_go_with_a_file_that_is_gone(uneven, own_cache, monkeypatch):
    open_folder(uneven, **WAY), open_folder(uneven, size=16)
    (uneven / "train" / "ant" / "5.png").unlink()
    monkeypatch.setattr(decode, "decode", None)
    opened = open_folder(uneven, **WAY)
    wanted = by_torchvision(Image.open(uneven / opened.images.paths[-1]), 24, (16, 21), "bicubic")
    assert np.array_equal(opened.images.pixels[-1], wanted)
    (left,) = own_cache.glob("pixels-*")
    assert opened.fingerprint[:32] in left.name


@pytest.mark.parametrize("way", [WAY, {"size": (16, 21)}])
def test_streamed_pixels_are_the_cached_ones(uneven, way):
    kept, streamed = open_folder(uneven, **way).images, open_folder(uneven, cache_limit=0, **way).images
    assert streamed.pixels is None and len(streamed._workers) >= 1
    for batch in torch.randperm(18, generator=torch.Generator().manual_seed(0)).split(5):
        assert torch.equal(kept.gather(batch), streamed.gather(batch))
    index = (~kept.test).nonzero()[:, 0]
    assert statistics(kept, index) == statistics(streamed, index)
    assert torch.equal(traits_of(kept).thumbnails, traits_of(streamed).thumbnails)
    streamed._workers.close()


def test_worker_processes_resize_as_this_one_does(uneven, monkeypatch):
    here = open_folder(uneven, **WAY).images
    with workers.Workers(2) as two:
        chunks = list(two.map((str(uneven), [path], (16, 21), 3, (24, "bicubic")) for path in here.paths))
        assert len(two._processes) == 2
    monkeypatch.setattr(workers, "read_here", None)
    assert np.array_equal(np.concatenate([chunk.pixels for chunk in chunks]), here.pixels)
    assert json.loads(json.dumps(((16, 21), (24, "bicubic")))) == [[16, 21], [24, "bicubic"]]


def test_a_strip_is_named_when_the_folder_is_opened(uneven, monkeypatch):
    monkeypatch.setattr(decode, "PIXEL_LIMIT", 5000)
    monkeypatch.setattr(folder, "WORTH_WORKERS", 1 << 40)
    put(uneven / "train" / "bee" / "strip.png", picture(1, (4, 60)))
    assert len(open_folder(uneven, size=16).images) == 19
    with pytest.raises(UnlearnError, match=r"train/bee/strip.png is 4 x 60 pixels, too long"):
        open_folder(uneven, **WAY)


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_of_images_that_are_no_squares_are_numpys(uneven, channels):
    images = open_folder(uneven, channels=channels, **WAY).images
    pixels = images.pixels.numpy().astype(np.float64) / 255
    mean, std = statistics(images, torch.arange(len(images)))
    assert mean == pytest.approx(pixels.mean((0, 1, 2)).tolist(), rel=1e-12)
    assert std == pytest.approx(pixels.std((0, 1, 2)).tolist(), rel=1e-12)


def test_images_that_are_no_squares_are_shifted_and_mirrored_each_in_its_own_direction():
    x = torch.arange(2 * 3 * 5).view(2, 3, 5, 1).to(torch.uint8)
    down, right = torch.tensor([1, 0]), torch.tensor([0, 2])
    got = augment(x, down, right, torch.tensor([False, True]), 2)[..., 0]
    assert torch.equal(got[0], x[0, [1, 0, 1], :, 0])
    assert torch.equal(got[1], x[1, :, [2, 1, 0, 1, 2], 0].flip(1))


NO_WAYS = [{"size": (0, 9)}, {"size": (9, 5000)}, *({"resize": Resize(*given)} for given in ((0,), ((9, 5000),), (9, "cubic")))]


@pytest.mark.parametrize("way", NO_WAYS)
def test_ways_that_there_are_not_are_refused(uneven, way):
    with pytest.raises(UnlearnError) as caught:
        open_folder(uneven, **way)
    assert caught.value.hint
