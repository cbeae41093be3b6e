"""Processors of transformers: the pixels that follow from their files are theirs."""

import json
from dataclasses import astuple
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from unlearn_cli.checkpoints.processors import FILTERS, Unprepared, input_of
from unlearn_cli.data.decode import decode
from unlearn_cli.inputs import Resize

CASES = [
    ("ViT", {"size": {"height": 30, "width": 24}, "resample": 3}),
    ("DeiT", {"size": {"height": 40, "width": 40}, "crop_size": {"height": 33, "width": 32}}),
    ("Beit", {"do_center_crop": True, "size": 36, "crop_size": 32}),
    ("ConvNext", {"size": {"shortest_edge": 63}, "crop_pct": 0.95}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("MobileNetV1", {"size": {"shortest_edge": 37}, "crop_size": 32, "resample": 1}),
    ("MobileNetV2", {"size": {"shortest_edge": 37}, "crop_size": 32}),
    ("Bit", {"size": {"shortest_edge": 36}, "crop_size": 32}),
    ("CLIP", {"size": {"shortest_edge": 33}, "crop_size": 32, "resample": 0}),
    ("Levit", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    ("PoolFormer", {"size": {"height": 32, "width": 32}, "crop_size": 32}),
    ("Pvt", {"size": 32}),
    ("Segformer", {"size": 32, "resample": 5}),
    ("Siglip", {"size": {"height": 32, "width": 32}}),
    ("EfficientNet", {"size": 32}),
    ("EfficientNet", {"size": 32, "rescale_offset": True, "include_top": False, "rescale_factor": 1 / 127.5}),
    ("ViT", {"size": 32, "do_normalize": False}),
    ("ViT", {"size": 32, "do_rescale": False}),
    ("ViT", {"size": 32, "rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0]}),
]


def pictures():
    """Of odd proportions: where the centre lies, and which way half a pixel goes, shows."""
    draw = np.random.default_rng(0)
    sizes = (40, 41), (91, 60), (57, 83), (120, 45), (44, 107), (64, 64), (40, 44), (60, 75), (50, 54)
    return [Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def prepared(image, fed):
    file = BytesIO()
    image.save(file, "PNG")
    height, width = (fed.size, fed.size) if isinstance(fed.size, int) else fed.size
    pixels = decode(file.getvalue(), fed.size, 3, astuple(fed.resize))
    x = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(height, width, 3).permute(2, 0, 1) / 255
    return (x - torch.tensor(fed.mean)[:, None, None]) / torch.tensor(fed.std)[:, None, None]


@pytest.mark.parametrize("name, settings", CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_images_are_prepared_as_by_the_processor_that_resizes_with_pillow(tmp_path, name, settings):
    transformers = pytest.importorskip("transformers")
    getattr(transformers, f"{name}ImageProcessor")(**settings).save_pretrained(tmp_path)
    fed = input_of(json.loads((tmp_path / "preprocessor_config.json").read_text()), "vit", 3)
    try:
        library = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    except TypeError:
        library = transformers.AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    shifted = 0
    for picture in pictures():
        theirs = torch.as_tensor(library(picture, return_tensors="pt")["pixel_values"][0]).float()
        ours = prepared(picture, fed)
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=2e-5 * theirs.abs().max().item())
        even = prepared(picture, type(fed)(fed.size, fed.mean, fed.std, Resize(fed.resize.to, fed.resize.interpolation)))
        shifted += not torch.equal(even, ours)
    if isinstance(fed.resize.to, int):
        assert shifted           # a control: rounding the place of the cut as torchvision does gives other pixels


def test_files_of_before_have_lone_numbers_and_another_name():
    old = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3,
           "image_mean": [0.4] * 3, "image_std": [0.2] * 3}  # fmt: skip
    found = input_of(old, "resnet", 3)
    assert (found.size, found.resize) == (224, Resize(256, "bicubic", "down"))
    assert input_of(old | {"size": 384}, "resnet", 3).resize == Resize((384, 384), "bicubic", "down")
    assert input_of({"size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, "vit", 3).resize.to == (224, 224)
    assert input_of({}, "vit", 3).resize == Resize((224, 224), "bilinear", "down")
    assert input_of({"image_mean": 0.5, "image_std": 0.25}, "vit", 1).std == (0.25,)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"image_processor_type": "ImageGPTImageProcessor"}, "ImageGPTImageProcessor|ImageGPT"),
        ({"do_resize": False}, "does not resize"),
        ({"do_pad": True}, "do_pad"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"resample": len(FILTERS)}, "filter 6"),
        ({"size": {"shortest_edge": 32}}, "of no one size"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "not known here"),
        ({"size": {"height": 32}}, "not known here"),
        ({"do_center_crop": True}, "how much"),
        ({"image_mean": [0.5]}, "3 channels"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"height": 32, "width": 32}}, "shortest_edge"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 32, "do_center_crop": True, "crop_size": 30}, "twice"),
    ],
)
def test_what_is_not_known_is_said_and_not_guessed(change, words):
    plain = {"image_processor_type": "ViTImageProcessor", "size": 32}
    assert input_of(plain, "vit", 3).size == 32
    with pytest.raises(Unprepared, match=words):
        input_of(plain | change, "vit", 3)
    with pytest.raises(Unprepared, match="a processor without a name"):
        input_of({"size": 32}, "unheard_of", 3)
