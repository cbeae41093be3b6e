"""Which layers are the last k, what freezing freezes, and what begins anew."""

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.freezing import COUNTED, blocks, freeze_but, last_layers, renew, train_only


def built(name):
    """A torchvision network without memory of its own."""
    with torch.device("meta"):
        return getattr(torchvision.models, name)(weights=None, num_classes=10)


def named(model, chosen):
    names = {module: name for name, module in model.named_modules()}
    return [names[module] for module in chosen]


def counted(model, k):
    return named(model, [module for module in last_layers(model, k) if isinstance(module, COUNTED)])


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


# which layers


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 21), ("resnet50", 54), ("wide_resnet50_2", 54), ("efficientnet_b0", 82), ("vgg16", 16), ("mobilenet_v2", 53)],
)
def test_all_convolutions_and_linear_layers_of_a_network_count(name, count):
    assert len(counted(built(name), 1000)) == count


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("resnet18", "fc layer4.1.conv2 layer4.1.conv1 layer4.0.downsample.0 layer4.0.conv2 layer4.0.conv1 layer3.1.conv2"),
        ("resnet50", "fc layer4.2.conv3 layer4.2.conv2 layer4.2.conv1 layer4.1.conv3 layer4.1.conv2 layer4.1.conv1 "
                     "layer4.0.downsample.0 layer4.0.conv3"),
        ("efficientnet_b0", "classifier.1 features.8.0 features.7.0.block.3.0 features.7.0.block.2.fc2 features.7.0.block.2.fc1 "
                            "features.7.0.block.1.0 features.7.0.block.0.0"),
        ("vgg16", "classifier.6 classifier.3 classifier.0 features.28 features.26 features.24"),
        ("mobilenet_v2", "classifier.1 features.18.0 features.17.conv.2 features.17.conv.1.0 features.17.conv.0.0"),
    ],
)  # fmt: skip
def test_they_are_counted_backwards_in_the_order_of_registration(name, order):
    assert counted(built(name), len(order.split())) == order.split()


def test_batchnorm_met_on_the_way_comes_along_and_does_not_count():
    model = built("resnet18")
    assert named(model, last_layers(model, 1)) == ["fc"]
    assert named(model, last_layers(model, 2)) == ["fc", "layer4.1.bn2", "layer4.1.conv2"]
    assert named(model, last_layers(model, 3)) == ["fc", "layer4.1.bn2", "layer4.1.conv2", "layer4.1.bn1", "layer4.1.conv1"]


@pytest.mark.parametrize(("name", "k"), [("resnet18", 6), ("resnet50", 11)])
def test_so_many_layers_are_the_head_and_the_last_stage(name, k):
    model = built(name)
    parameters = {p for module in last_layers(model, k) for p in module.parameters()}
    assert parameters == {*model.fc.parameters(), *model.layer4.parameters()}
    assert named(model, last_layers(model, k + 1))[-1].startswith("layer3")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", "fc layer4.1.bn2 layer4.1.conv2 layer4.1.bn1 layer4.1.conv1 layer4.0.downsample.1 layer4.0.downsample.0"),
        ("allcnn", "head features.7.1 features.7.0 features.6.1 features.6.0 features.5.1 features.5.0"),
        ("compact", "head group3.norm2 group3.conv2 group3.norm1 group3.conv1 group2.norm2 group2.conv2"),
    ],
)
def test_the_last_four_of_our_own_networks(name, last):
    model = models.build(name, 10, 3, {"width": 4})
    assert named(model, last_layers(model, 4)) == last.split()


def test_blocks_are_modules_by_name_with_all_that_is_inside():
    model = models.build("resnet18", 10, 3, {"width": 4})
    chosen = blocks(model, "layer4, fc")
    assert set(chosen) == {*model.layer4.modules(), model.fc}
    assert blocks(model, "layer4.1.conv2,layer4.1") == [model.layer4[1].conv2, *list(model.layer4[1].modules())[:3],
                                                        model.layer4[1].bn2]  # fmt: skip


def test_a_block_that_is_not_there_is_refused():
    with pytest.raises(UnlearnError, match="no module called 'layer5'") as caught:
        blocks(models.build("resnet18", 10, 3, {"width": 4}), "layer5")
    assert "did you mean 'layer" in caught.value.hint


# freezing


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5),
                         nn.Flatten(), nn.Linear(5, 3))  # fmt: skip


def free(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_only_the_chosen_layers_keep_their_gradients():
    model = net()
    freeze_but(model, last_layers(model, 2))
    assert free(model) == ["3.weight", "3.bias", "4.weight", "4.bias", "6.weight", "6.bias"]


def test_what_was_frozen_before_or_is_to_be_left_alone_is_not_freed():
    model = net()
    model[6].bias.requires_grad_(False)
    freeze_but(model, last_layers(model, 2), left_alone={"4.weight"})
    assert free(model) == ["3.weight", "3.bias", "4.bias", "6.weight"]


def test_a_choice_that_leaves_nothing_to_train_is_refused():
    model = net()
    with pytest.raises(UnlearnError, match="nothing is left to train"):
        freeze_but(model, [model[2]])
    with pytest.raises(UnlearnError, match="nothing is left to train"):
        freeze_but(net(), [model[6]])


@pytest.mark.parametrize(("bn", "statistics"), [("train", True), ("recalibrate", True), ("eval", False)])
def test_only_chosen_modules_are_in_train_mode(bn, statistics):
    model = net().train()
    train_only(model, [model[6], model[4], model[3]], bn)
    assert [module.training for module in model] == [False, False, False, True, statistics, False, True]


# beginning anew


def test_weights_are_kaiming_normal_and_biases_zero():
    conv = nn.Conv2d(64, 96, 3)
    renew([conv], draw())
    assert conv.bias.abs().max() == 0
    assert_close(conv.weight.std().item(), (2 / (64 * 9)) ** 0.5, rtol=0.02, atol=0)
    assert conv.weight.mean().abs() < 1e-3


def test_the_numbers_depend_on_the_generator_and_not_on_the_precision():
    one, two, other = (nn.Linear(5, 3, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.float32))
    for layer, seed in ((one, 1), (two, 1), (other, 2)):
        renew([layer], draw(seed))
    assert torch.equal(one.weight.double(), two.weight)
    assert not torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("reset", [True, False])
def test_batchnorm_begins_anew_where_asked(reset):
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.fill_(7)
        norm.num_batches_tracked += 7
    renew([norm], draw(), reset_bn=reset)
    values = [norm.weight[0], norm.bias[0], norm.running_mean[0], norm.running_var[0], norm.num_batches_tracked]
    assert [v.item() for v in values] == ([1, 0, 0, 1, 0] if reset else [7] * 5)


def test_frozen_parameters_keep_their_values():
    model = net()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    freeze_but(model, [model[3], model[6]], left_alone={"6.weight"})
    renew(model.modules(), draw())
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {"3.weight", "3.bias", "6.bias"}


def test_a_layer_without_a_known_beginning_is_refused():
    with pytest.raises(UnlearnError, match="a PReLU cannot be initialised anew"):
        renew([nn.PReLU()], draw())
