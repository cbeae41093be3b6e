"""Squares of gradients of single images, against a plain loop over images and classes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torchvision.models import SwinTransformer, VisionTransformer

from tests.looped import looped
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops import fisher, per_image
from unlearn_cli.ops.fisher import examined, information, seeds


def at_once(model, x, labels="all", y=None):
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    y = torch.zeros(len(x), dtype=torch.int64) if y is None else y
    for name, part in information(model, examined(model, x), x.clone(), y, labels):
        total[name] += part
    return total


def assert_alike(made, expected):
    assert made.keys() == expected.keys()
    nothing = 1e-25 * max(t.max().item() for t in expected.values())  # rounding, squared, where a gradient cancels out
    for name in expected:
        near = nothing + 1e-9 * expected[name].max().item()
        assert_close(made[name], expected[name], rtol=1e-9, atol=near, msg=lambda m, n=name: f"{n}: {m}")


def randomised(model):
    """In float64 and eval mode, with weights and statistics that are far from those of a fresh network."""
    draw = torch.Generator().manual_seed(0)
    model = model.double().eval()
    with torch.no_grad():
        for name, t in model.state_dict().items():
            if t.is_floating_point():
                values = torch.randn(t.shape, generator=draw, dtype=torch.float64) * 0.4
                t.copy_(values.abs() + 0.5 if "running_var" in name else values)
    return model


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Twice(nn.Module):
    """One layer called twice, and one never."""

    def __init__(self):
        super().__init__()
        self.conv, self.idle, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(2, 2), nn.Linear(3, 4)

    def forward(self, x):
        return self.head(self.conv(F.gelu(self.conv(x))).mean((2, 3)))


class Tokens(nn.Module):
    """A linear layer on several vectors per image."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear, self.head = nn.LayerNorm(3), nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.linear(self.norm(x.flatten(2).transpose(1, 2)))).mean(1))


class Shortcut(nn.Module):
    """ReLU in place, as torchvision's residual blocks have it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.conv2, self.norm2, self.head = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 4)

    def forward(self, x):
        y = F.relu_(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += x
        return self.head(F.relu_(y).mean((2, 3)))


def after(*layers):
    """Some layers, and a head on the mean of what they give."""
    probe = nn.Sequential(*layers)
    width = probe(torch.zeros(2, 3, 7, 8)).shape[1]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


class Tied(nn.Module):
    """Two layers with one weight, and a weight that is used beside its layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.aside = nn.Linear(8, 8)
        self.two.weight = self.one.weight

    def forward(self, x):
        x = torch.tanh(self.aside(x.mean((1, 2))))
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))) + F.linear(x, self.aside.weight))


class Attention(nn.Module):
    """A class token, a position embedding, attention with raw weights and one map over the sequence first."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Parameter(torch.zeros(1, 1, 4)), nn.Parameter(torch.zeros(1, 8, 4))
        self.patch, self.attend = nn.Conv2d(3, 4, (1, 8)), nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)
        self.mix, self.drop, self.norm, self.head = nn.Linear(4, 4), nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x).flatten(2).transpose(1, 2)], 1) + self.place
        x = x + self.attend(query=x, key=x, value=x, need_weights=False)[0]
        x = x + self.mix(x.transpose(0, 1)).transpose(0, 1)
        return self.head(self.drop(self.norm(x))[:, 0])


class Windows(nn.Module):
    """Windows of images as rows of a batch, and a scale of its own that works in place."""

    def __init__(self):
        super().__init__()
        self.linear, self.scale, self.head = nn.Linear(12, 6), Scale(), nn.Linear(48, 4)

    def forward(self, x):
        windows = self.linear(x[:, :, :4].transpose(1, 3).reshape(-1, 12)) + 0.1
        return self.head(torch.tanh(self.scale(windows)).reshape(len(x), -1))


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return x.mul_(self.gamma)


class Stubborn(nn.Module):
    """What torch.func cannot run on all images at once: a value decides, and a shared buffer is written to."""

    def __init__(self):
        super().__init__()
        self.shift, self.head = nn.Parameter(torch.zeros(3)), nn.Linear(3, 4)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        x = torch.tanh(x.mean((2, 3)) + self.shift)
        self.seen.copy_(x.detach()[0])
        return self.head(x) * (2 if x.abs().sum() > 0 else 1)


NETWORKS = {
    "plain convolution": lambda: after(nn.Conv2d(3, 5, 3), nn.GELU()),
    "stride, padding, no bias": lambda: after(nn.Conv2d(3, 5, (3, 2), stride=(2, 3), padding=(2, 1), bias=False), nn.GELU()),
    "groups and dilation": lambda: after(nn.Conv2d(3, 6, 3, groups=3, dilation=2), nn.GELU(), nn.Conv2d(6, 4, 1, groups=2)),
    "padding by name": lambda: after(nn.Conv2d(3, 4, (3, 5), padding="same"), nn.GELU(), nn.Conv2d(4, 4, 3, padding="valid")),
    "reflected padding": lambda: after(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.GELU()),
    "batchnorm": lambda: after(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.BatchNorm2d(4, affine=False)),
    "linear layers": lambda: nn.Sequential(nn.Flatten(), nn.Linear(168, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4, False)),
    "any other layer": lambda: after(nn.ConvTranspose2d(3, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.PReLU(4)),
    "depthwise and transposed": lambda: after(nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.Conv2d(6, 6, 3, groups=6), nn.GELU(),
                                              nn.ConvTranspose2d(6, 4, 3, groups=2, output_padding=1, stride=2)),
    "norms": lambda: after(nn.LayerNorm([7, 8]), nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4, eps=1e-3), nn.GELU(),
                           nn.LayerNorm([5, 6], bias=False), nn.InstanceNorm2d(4, affine=True), nn.GELU()),
    "a convolution that changes its kernel": lambda: after(Standardised(3, 4, 3), nn.GELU()),
    "a layer called twice": Twice,
    "weights in common": Tied,
    "tokens and attention": Attention,
    "windows": Windows,
    "not all at once": Stubborn,
    "several vectors per image": Tokens,
    "relu in place": Shortcut,
}  # fmt: skip
X = torch.randn(6, 3, 7, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("few", [False, True])
def test_it_is_the_sum_of_squared_gradients_of_single_images(kind, few, monkeypatch):
    if few:  # one image at a time
        monkeypatch.setattr(per_image, "CHUNK", 1)
        monkeypatch.setattr(fisher, "LARGEST", 1)
    model = randomised(NETWORKS[kind]())
    made, expected = at_once(model, X), looped(model, X, model(X).softmax(1).detach())
    assert_alike(made, expected)
    assert sum(t.sum() for t in expected.values()) > 0.1


def layers_of(kind):
    model = randomised(NETWORKS[kind]())
    layers = examined(model, X)
    names = {module: name for name, module in model.named_modules()}
    return [names[module] for module in layers.telling], layers.rest, layers.batched


def test_layers_tell_where_they_can_and_all_else_has_copies_per_image():
    assert layers_of("relu in place") == (["conv1", "norm1", "conv2", "norm2", "head"], [], True)
    assert layers_of("norms")[1] == layers_of("a convolution that changes its kernel")[1] == layers_of("any other layer")[1] == []
    assert layers_of("weights in common") == (["head"], ["one.weight", "one.bias", "two.bias", "aside.weight", "aside.bias"], True)
    told, rest, batched = layers_of("tokens and attention")
    assert (told, batched) == (["patch", "norm", "head"], True)
    assert rest == ["token", "place", "attend.in_proj_weight", "attend.in_proj_bias", "attend.out_proj.weight",
                    "attend.out_proj.bias", "mix.weight", "mix.bias"]  # fmt: skip
    assert layers_of("windows")[:2] == (["head"], ["linear.weight", "linear.bias", "scale.gamma"])
    assert layers_of("not all at once") == (["head"], ["shift"], False)


def test_looking_at_a_network_leaves_it_as_it_was():
    model = randomised(Attention())
    model.mix.weight.requires_grad_(False)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    made = at_once(model, X)
    assert made["mix.weight"].sum() > 0
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["mix.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def vision_transformer():
    return VisionTransformer(image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=4,
                             dropout=0.1)  # fmt: skip


def swin():
    return SwinTransformer(patch_size=[2, 2], embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=[2, 2], num_classes=4)


def of_timm(name, **given):
    timm = pytest.importorskip("timm")
    return getattr(timm.models, name)(num_classes=4, **given)


STRANGERS = {
    "torchvision vit": vision_transformer,
    "torchvision swin": swin,
    "timm vit": lambda: of_timm("VisionTransformer", img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, init_values=0.1),
    "timm swin": lambda: of_timm("SwinTransformer", img_size=16, patch_size=2, embed_dim=4, depths=(2, 1), num_heads=(1, 2),
                                 window_size=4),
    "timm mixer": lambda: of_timm("MlpMixer", img_size=16, patch_size=8, num_blocks=2, embed_dim=8),
    "timm convnext": lambda: of_timm("ConvNeXt", depths=(1, 1, 1, 1), dims=(4, 4, 8, 8), patch_size=1),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
def test_networks_of_other_libraries_are_no_exception(kind):
    torch.manual_seed(0)
    model, x = randomised(STRANGERS[kind]()), torch.randn(3, 3, 16, 16, dtype=torch.float64)
    expected = looped(model, x, model(x).softmax(1).detach())
    assert_alike(at_once(model, x), expected)
    assert sum(t.sum() for t in expected.values()) > 0.1
    assert examined(model, x).batched


def test_it_is_not_the_square_of_the_batchs_gradient():
    model = randomised(NETWORKS["plain convolution"]())
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    grad, = torch.autograd.grad(F.cross_entropy(model(X), y, reduction="sum"), [model[0].weight])  # fmt: skip
    assert (grad.square() - at_once(model, X, "own", y)["0.weight"]).abs().max() > 0.1


def test_own_labels_give_the_empirical_information():
    model, y = randomised(NETWORKS["batchnorm"]()), torch.tensor([0, 1, 2, 3, 0, 1])
    made, expected = at_once(model, X, "own", y), looped(model, X, F.one_hot(y, 4).double())
    assert_alike(made, expected)


def test_a_linear_model_has_p_times_one_minus_p_times_the_squared_input():
    head = randomised(nn.Linear(3, 4))
    x = X[:, :, 0, 0]
    p = head(x).softmax(1).detach()
    made = at_once(head, x)
    assert_close(made["weight"], (p * (1 - p)).T @ x.square())
    assert_close(made["bias"], (p * (1 - p)).sum(0))


def test_a_parameter_that_nothing_reaches_has_no_information():
    assert at_once(randomised(Twice()), X)["idle.weight"].abs().max() == 0


def test_drawn_labels_have_the_probabilities_that_the_model_gives():
    logits = torch.tensor([[1.0, -0.5, 0.3]], dtype=torch.float64)
    n = 3000
    evenly = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    (one,) = seeds(logits.expand(n, 3), "sampled", torch.zeros(n, dtype=torch.int64), evenly)
    whole = sum(s.square() for s in seeds(logits, "all", torch.zeros(1, dtype=torch.int64), None))
    assert_close(one.square().mean(0, keepdim=True), whole, rtol=0, atol=1e-3)


def test_what_mixes_the_images_is_refused():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(168, 4))
    with pytest.raises(UnlearnError, match="mixes the images"):
        at_once(randomised(model), X)
