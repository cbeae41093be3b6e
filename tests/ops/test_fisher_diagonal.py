"""Squares of gradients of single images, against a plain loop over images and classes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from tests.looped import looped
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops import fisher
from unlearn_cli.ops.fisher import recorded, seeds, squares


def at_once(model, x, labels="all", y=None):
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    with recorded(model) as calls:
        logits = model(x.clone().requires_grad_())
    y = torch.zeros(len(x), dtype=torch.int64) if y is None else y
    for seed in seeds(logits.detach(), labels, y, None):
        for name, part in squares(model, calls, logits, seed):
            total[name] += part
    return total


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


NETWORKS = {
    "plain convolution": lambda: after(nn.Conv2d(3, 5, 3), nn.GELU()),
    "stride, padding, no bias": lambda: after(nn.Conv2d(3, 5, (3, 2), stride=(2, 3), padding=(2, 1), bias=False), nn.GELU()),
    "groups and dilation": lambda: after(nn.Conv2d(3, 6, 3, groups=3, dilation=2), nn.GELU(), nn.Conv2d(6, 4, 1, groups=2)),
    "padding by name": lambda: after(nn.Conv2d(3, 4, (3, 5), padding="same"), nn.GELU(), nn.Conv2d(4, 4, 3, padding="valid")),
    "reflected padding": lambda: after(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.GELU()),
    "batchnorm": lambda: after(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.BatchNorm2d(4, affine=False)),
    "linear layers": lambda: nn.Sequential(nn.Flatten(), nn.Linear(168, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4, False)),
    "any other layer": lambda: after(nn.ConvTranspose2d(3, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.PReLU(4)),
    "a layer called twice": Twice,
    "several vectors per image": Tokens,
    "relu in place": Shortcut,
}  # fmt: skip
X = torch.randn(6, 3, 7, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("chunk", [fisher.CHUNK, 1])
def test_it_is_the_sum_of_squared_gradients_of_single_images(kind, chunk, monkeypatch):
    monkeypatch.setattr(fisher, "CHUNK", chunk)
    model = randomised(NETWORKS[kind]())
    made, expected = at_once(model, X), looped(model, X, model(X).softmax(1).detach())
    assert made.keys() == expected.keys()
    for name in expected:
        assert_close(
            made[name], expected[name], rtol=1e-9, atol=1e-9 * expected[name].max().item(), msg=lambda m, n=name: f"{n}: {m}"
        )
    assert sum(t.sum() for t in expected.values()) > 0.1


def test_it_is_not_the_square_of_the_batchs_gradient():
    model = randomised(NETWORKS["plain convolution"]())
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    grad, = torch.autograd.grad(F.cross_entropy(model(X), y, reduction="sum"), [model[0].weight])  # fmt: skip
    assert (grad.square() - at_once(model, X, "own", y)["0.weight"]).abs().max() > 0.1


def test_own_labels_give_the_empirical_information():
    model, y = randomised(NETWORKS["batchnorm"]()), torch.tensor([0, 1, 2, 3, 0, 1])
    made, expected = at_once(model, X, "own", y), looped(model, X, F.one_hot(y, 4).double())
    for name in expected:
        assert_close(made[name], expected[name], rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(168, 4)), "mixes the images"),
        (nn.MultiheadAttention(4, 2), "parameters beside its layers"),
    ],
)
def test_what_it_cannot_do_is_refused(model, why):
    with pytest.raises(UnlearnError, match=why):
        at_once(randomised(model), X)


def test_a_parameter_that_two_layers_share_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(168, 168), nn.Linear(168, 168))
    model[2].weight = model[1].weight
    with pytest.raises(UnlearnError, match="share a parameter"):
        at_once(randomised(model), X)
