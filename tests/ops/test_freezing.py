"""Which layers are the last k, what freezing freezes, and what begins anew."""

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.freezing import COUNTED, blocks, encoder_blocks, freeze_but, last_layers, renew, train_only


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


class Residual(nn.Module):
    def __init__(self, inner, width=8):
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), inner

    def forward(self, x):
        return x + self.inner(self.norm(x))


class Mixed(nn.Module):
    """Attention that no name gives away but its own."""

    def __init__(self, width=8):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out((q @ k.transpose(-2, -1)).softmax(-1) @ v)


class Encoder(nn.Module):
    """A transformer of somebody's own, with a list of two residual branches per block."""

    def __init__(self, depth=3):
        super().__init__()
        self.token, self.patch = nn.Parameter(torch.randn(1, 1, 8)), nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList(nn.ModuleList([Residual(Mixed()), Residual(nn.Linear(8, 8))]) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)


def trained(model, k):
    """The names of the parameters that the last k layers hold."""
    own = {id(p) for module in last_layers(model, k) for p in module.parameters(recurse=False)}
    return [name for name, p in model.named_parameters() if id(p) in own]


def below(model, *prefixes):
    return [name for name, _ in model.named_parameters() if name.startswith(prefixes)]


@pytest.mark.parametrize(
    ("model", "rest", "one", "two"),
    [
        (built("vit_b_16"), ("encoder.ln", "heads"), "encoder.layers.encoder_layer_11", "encoder.layers.encoder_layer_10"),
        (built("swin_t"), ("norm", "head"), "features.7.1", "features.7.0"),
        (Encoder(), ("norm", "head"), "layers.2", "layers.1"),
    ],
    ids=["vit", "swin", "own"],
)
def test_a_network_with_attention_counts_blocks_and_begins_with_the_head_and_its_norm(model, rest, one, two):
    assert trained(model, 1) == below(model, *rest)
    assert trained(model, 2) == below(model, one, *rest)
    assert trained(model, 3) == below(model, one, two, *rest)
    assert trained(model, 1000) == below(model, "")


def test_between_two_blocks_everything_comes_along():
    model = built("swin_t")
    assert trained(model, 4) == below(model, "features.5.5", "features.6", "features.7", "norm", "head")


def test_blocks_are_the_innermost_and_one_block_alone_is_one():
    assert len(encoder_blocks(built("vit_b_16"))) == len(encoder_blocks(built("swin_t"))) == 12
    model = Encoder(1)
    assert named(model, encoder_blocks(model)) == ["layers.0"]
    assert encoder_blocks(built("convnext_tiny")) == encoder_blocks(built("efficientnet_b0")) == []


def test_timm_has_blocks_where_it_has_attention():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        vit = timm.models.VisionTransformer(depth=2, embed_dim=8, num_heads=2, num_classes=10)
        mixer = timm.models.MlpMixer(num_blocks=2, embed_dim=8, num_classes=10)
    assert trained(vit, 2) == below(vit, "blocks.1", "norm", "head")
    assert counted(mixer, 3) == ["head", "blocks.1.mlp_channels.fc2", "blocks.1.mlp_channels.fc1"]


def test_norms_of_any_kind_and_scales_come_along_and_do_not_count():
    model = built("convnext_tiny")
    assert trained(model, 3) == below(model, "features.7.2.block.3", "features.7.2.block.5", "classifier")
    assert trained(model, 4) == below(model, "features.7.2.block", "classifier")
    assert trained(model, 5)[1:] == below(model, "features.7.1.block.5.bias", "features.7.2.", "classifier")  # and its scale


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


def test_other_layers_begin_as_their_own_reset_has_it():
    norm, act = nn.LayerNorm(4), nn.PReLU(2)
    attention = nn.MultiheadAttention(8, 2)
    for p in (*norm.parameters(), *act.parameters(), *attention.parameters()):
        nn.init.constant_(p, 7)
    renew([norm, act, attention], draw())
    assert (norm.weight == 1).all() and (norm.bias == 0).all() and (act.weight == 0.25).all()
    assert (attention.in_proj_bias == 0).all()
    assert attention.in_proj_weight.abs().max() < 0.5 and attention.in_proj_weight.unique().numel() > 100
    assert (attention.out_proj.weight == 7).all() and (attention.out_proj.bias == 7).all()  # was not chosen


def test_a_reset_follows_the_generator_and_leaves_the_global_one_alone():
    one, same, other = (nn.MultiheadAttention(8, 2, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.float32))
    state = torch.get_rng_state()
    for layer, seed in ((one, 1), (same, 1), (other, 2)):
        renew([layer], draw(seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.in_proj_weight.double(), same.in_proj_weight)
    assert not torch.equal(one.in_proj_weight, other.in_proj_weight)


class Raw(nn.Module):
    """Parameters of its own, and a reset that speaks of one of them."""

    def __init__(self):
        super().__init__()
        self.gamma, self.q_bias = nn.Parameter(torch.full((4,), 7.0)), nn.Parameter(torch.full((4,), 7.0))
        self.cls_token, self.bias_table = nn.Parameter(torch.full((1, 1, 500), 7.0)), nn.Parameter(torch.full((50, 40), 7.0))
        self.told, self.frozen = nn.Parameter(torch.full((2, 2), 7.0)), nn.Parameter(torch.full((3,), 7.0), requires_grad=False)
        self.inner = nn.Linear(2, 2)

    def reset_parameters(self):
        nn.init.constant_(self.told, 3)
        nn.init.constant_(self.inner.weight, 3)
        nn.init.constant_(self.frozen, 3)


def test_what_a_reset_leaves_out_is_new_all_the_same():
    raw = Raw()
    before = raw.inner.weight.clone()
    renew([raw], draw())
    assert (raw.gamma == 1).all() and (raw.q_bias == 0).all() and (raw.told == 3).all() and (raw.frozen == 7).all()
    for p in (raw.cls_token, raw.bias_table):
        assert p.abs().max() <= 0.04
        assert_close(p.std().item(), 0.0176, rtol=0.1, atol=0)  # of a normal cut at two standard deviations
    assert torch.equal(raw.inner.weight, before)


def test_a_transformers_block_keeps_nothing_of_what_it_learned():
    model = torchvision.models.VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3)
    for p in model.parameters():
        nn.init.constant_(p, 7)
    chosen = blocks(model, "encoder.layers.encoder_layer_1")
    freeze_but(model, chosen)
    renew(chosen, draw())
    for name, p in model.named_parameters():
        assert (p == 7).any() == (not name.startswith("encoder.layers.encoder_layer_1."))
