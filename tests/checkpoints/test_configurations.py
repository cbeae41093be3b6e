"""Configurations of other libraries, read and mended."""

import copy

import pytest

from unlearn_cli.checkpoints.configurations import described, mended
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Resize

FED = {"input_size": [3, 160, 160], "crop_pct": 0.95, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3,
       "num_classes": 3}  # fmt: skip
TIMM = {"architecture": "resnet18", "num_classes": 3, "label_names": ["a", "b", "c"], "pretrained_cfg": FED}
FLAT = {"architecture": "resnet18", "num_features": 512, "labels": ["a", "b", "c"]} | FED
VIT = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "image_size": 32, "num_channels": 3,
       "id2label": {"2": "c", "0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1, "c": 2},
       "transformers_version": "4.48.0"}  # fmt: skip
PREPARED = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "image_mean": [0.1, 0.2, 0.3],
            "image_std": [0.4, 0.5, 0.6], "resample": 3}  # fmt: skip


def read(config, processor=None):
    before = copy.deepcopy(config)
    found = described(config, processor, "model")
    assert config == before
    return found


@pytest.mark.parametrize("config", [TIMM, FLAT], ids=["split", "flat"])
def test_timm_says_it_in_two_ways(config):
    found = read(config)
    assert (found.architecture, found.classes, found.outputs, found.channels) == ("timm/resnet18", ["a", "b", "c"], 3, 3)
    assert found.config["pretrained_cfg"]["crop_pct"] == 0.95
    assert not {"label_names", "labels"} & {*found.config, *found.config["pretrained_cfg"]}


def test_the_arguments_of_a_network_say_what_its_input_is():
    fixed = FED | {"fixed_input_size": True}
    found = read(TIMM | {"pretrained_cfg": fixed, "model_args": {"img_size": 32, "in_chans": 1}})
    assert found.config["pretrained_cfg"]["input_size"] == [1, 32, 32] and found.channels == 1
    loose = read(TIMM | {"pretrained_cfg": fixed, "model_args": {"img_size": 32, "dynamic_img_size": True}})
    assert loose.config["pretrained_cfg"]["input_size"] == [3, 160, 160]
    assert loose.config["pretrained_cfg"]["fixed_input_size"] is False


def test_descriptions_are_other_names_of_the_classes():
    found = read(TIMM | {"label_descriptions": {"a": "tench, Tinca tinca", "c": "crane"}})
    assert found.also == [["tench, Tinca tinca"], [], ["crane"]]
    assert read(TIMM | {"pretrained_cfg": FED | {"label_names": ["x", "y", "z"]}, "label_names": None}).classes == ["x", "y", "z"]


def test_names_stand_in_the_order_of_their_numbers_and_gaps_make_them_useless():
    assert read(VIT).classes == ["a", "b", "c"]
    assert read(VIT | {"id2label": {str(i): f"c{i}" for i in range(12)}}).classes == [f"c{i}" for i in range(12)]
    gap = read(VIT | {"id2label": {"0": "a", "2": "c"}})
    assert gap.classes is None and "have gaps" in gap.notes[0]
    made_up = read(VIT | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})
    assert (made_up.classes, made_up.outputs) == (None, 2)
    synsets = read(VIT | {"id2label": {"0": "n01440764 tench, Tinca tinca", "1": "b"}})
    assert synsets.also == [["n01440764", "tench, Tinca tinca"], []]


def test_what_transformers_is_fed_stands_in_a_file_of_its_own():
    found = read(VIT, PREPARED)
    assert found.architecture == "transformers/ViTForImageClassification"
    assert (found.input.size, found.input.mean, found.input.std) == (32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert found.input.resize == Resize((32, 32), "bicubic", "down")
    own = ("architectures", "model_type", "image_size", "num_channels")
    assert found.config == {key: VIT[key] for key in own}
    bare = read(VIT)
    assert bare.input is None and "no preprocessor_config.json" in bare.unprepared


@pytest.mark.parametrize(
    "change, words",
    [
        ({"architectures": ["ViTModel"]}, "holds a ViTModel, not an image classifier"),
        ({"architectures": None}, "names no architecture of timm or transformers"),
        ({"problem_type": "multi_label_classification"}, "several labels or a number"),
        ({"quantization_config": {"bits": 4}}, "are quantized"),
        ({"num_channels": 4}, "images of 4 channels"),
        ({"id2label": {"zero": "a"}}, "is not as its library writes it"),
        ({"id2label": 7}, "is not as its library writes it"),
        ({"vision_config": "none", "num_channels": None}, "is not as its library writes it"),
    ],
)
def test_what_is_no_classifier_of_images_is_refused(change, words):
    with pytest.raises(UnlearnError, match=words):
        read(VIT | change, PREPARED)


def test_a_configuration_that_agrees_with_the_head_stays_as_it_came():
    for config in (TIMM, FLAT, VIT):
        before = copy.deepcopy(config)
        assert mended(config, ["x", "y", "z"]) == before == config
    two = {key: value for key, value in VIT.items() if key not in ("id2label", "label2id")}
    assert mended(two, ["x", "y"]) == two


def test_stale_counts_and_names_are_put_right_and_nothing_else():
    names = ["x", "y"]
    found = mended(TIMM | {"model_args": {"num_classes": 3, "depth": 2}}, names)
    assert found == TIMM | {"num_classes": 2, "label_names": names, "pretrained_cfg": FED | {"num_classes": 2},
                            "model_args": {"num_classes": 2, "depth": 2}}  # fmt: skip
    flat = mended(FLAT, names)
    assert (flat["num_classes"], flat["label_names"], "labels" in flat) == (2, names, False)
    unnamed = {key: value for key, value in TIMM.items() if key != "label_names"} | {"num_classes": 1000}
    assert mended(unnamed, names)["label_names"] == names
    vit = mended(VIT, names)
    assert vit == VIT | {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}}
