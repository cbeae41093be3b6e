"""The papers' networks by their short names: for small images and large ones, grey and in colour."""

import pytest
import torch
from torch import nn

from unlearn_cli import models
from unlearn_cli.cases.strangers import Plain, described
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.building import new
from unlearn_cli.models.sources.papers import NAMES, SMALL, construct

torchvision = pytest.importorskip("torchvision")

LIGHT = ("mobilenet-v2", "efficientnet-b0")
"""Those that run here; of the others, shapes alone are computed."""


def built(name, size, channels=3, **settings):
    architecture = models.find(name)
    return new(architecture, 7, channels, size, architecture.parsed(settings, size), 0)


def on_meta(name, size, channels, stem):
    with torch.device("meta"):
        model = construct(name, 7, channels, size, {"stem": stem})
        return model, model(torch.randn(2, channels, size, size))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 64, 224])
def test_any_size_and_channels_give_a_score_per_class(name, channels, size):
    stem = models.find(name).parsed({}, size)["stem"]
    _, output = on_meta(name, size, channels, stem)
    assert output.shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "stem"), [(28, "small"), (SMALL - 1, "small"), (SMALL, "standard"), (224, "standard"),
                                            ((64, 224), "small")])  # fmt: skip
def test_the_stem_follows_from_the_shorter_side_and_is_what_is_recorded(name, size, stem):
    architecture = models.find(name)
    assert architecture.parsed({}, size) == architecture.parsed({"stem": "auto"}, size) == {"stem": stem}
    assert architecture.parsed({"stem": "standard"}, 28) == {"stem": "standard"}
    with pytest.raises(UnlearnError, match=f"{name} has no setting called 'stm'"):
        architecture.parsed({"stm": "small"}, size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stem", ["small", "standard"])
def test_names_of_tensors_are_torchvisions_and_of_the_standard_stem_their_shapes_too(name, stem):
    ours = on_meta(name, 224 if stem == "standard" else 32, 3, stem)[0].state_dict()
    with torch.device("meta"):
        theirs = torchvision.models.get_model(NAMES[name], weights=None, num_classes=7).state_dict()
    shapes = [{key: tensor.shape for key, tensor in tensors.items()} for tensors in (ours, theirs)]
    other = {key for key in ours if shapes[0][key] != shapes[1].get(key)}
    if stem == "standard":
        assert list(ours) == list(theirs) and not other
    elif name == "vgg16":
        assert set(ours) < set(theirs) and all(key.startswith("classifier.") for key in other | (set(theirs) - set(ours)))
    else:
        first = {"conv_proj.weight", "encoder.pos_embedding", "conv1.weight"}
        assert list(ours) == list(theirs) and other <= first


@pytest.mark.parametrize("name", LIGHT)
def test_the_standard_stem_gives_torchvisions_own_outputs(name):
    model, _ = built(name, 64, stem="standard")
    theirs = torchvision.models.get_model(NAMES[name], weights=None, num_classes=7)
    theirs.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.eval()(x), theirs.eval()(x))
    small, _ = built(name, 64)
    small.load_state_dict(model.state_dict())
    assert not torch.allclose(small.eval()(x), theirs(x), rtol=0.01, atol=0), "another function of the weights"


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_of_training_changes_every_weight(name, channels):
    model, found = built(name, 28, channels)
    assert isinstance(model.get_submodule(found.head), nn.Linear) and not found.notes
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    loss = nn.functional.cross_entropy(model.train()(torch.randn(4, channels, 28, 28)), torch.arange(4))
    loss.backward()
    optimiser.step()
    assert all(p.grad is not None for p in model.parameters())
    moved = [key for key, p in model.named_parameters() if not torch.equal(p, before[key])]
    assert len(moved) > 0.9 * len(before) and all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("given", ["", ",stem=standard"])
def test_of_a_file_that_does_not_say_its_stem_it_is_said_what_was_taken(shipped, given):
    tensors = built("mobilenet-v2", 28)[0].state_dict()
    plain = Plain(arch=f"mobilenet-v2{given}", data=str(shipped / "digits"))
    tensors["classifier.1.weight"], tensors["classifier.1.bias"] = torch.zeros(10, 1280), torch.zeros(10)
    checkpoint = Checkpoint(tensors, None, "0" * 64, shipped / "theirs.safetensors")
    _, record, _, notes = described(checkpoint, "theirs.safetensors", plain, Options(device="cpu"), None, ())
    assert record.architecture_settings == {"stem": "standard" if given else "small"}
    said = "mobilenet-v2 was taken with stem=small; pass --arch mobilenet-v2,stem=VALUE if its weights were trained with another"
    assert (said in notes) == (not given)


def test_the_same_seed_builds_the_same_weights():
    first, second = (built("mobilenet-v2", 28)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("name", "size", "line"), [
    ("vit-b-16", 30, "vit-b-16 does not take images of 30 x 30 pixels"),
    ("vit-b-16", 100, "vit-b-16 does not take images of 100 x 100 pixels"),
    ("vit-b-16", (32, 64), "vit-b-16 does not take images of 32 x 64 pixels"),
])  # fmt: skip
def test_sizes_that_do_not_fit_are_one_line(name, size, line):
    with pytest.raises(UnlearnError, match=line) as error:
        built(name, size)
    assert error.value.hint.startswith("pass a --size that ") and "\n" not in error.value.problem


def test_images_of_two_channels_are_refused():
    with pytest.raises(UnlearnError, match="mobilenet-v2 takes images of 1 or 3 channels, not 2"):
        built("mobilenet-v2", 28, 2)
