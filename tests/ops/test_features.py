"""Backbone and head are found in any network, and a wrong head is refused."""

import pytest
import torch
from torch import nn

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.features import Backbone, find_head


class Strange(nn.Module):
    """The head is declared first, under an odd name, and a linear layer with as many outputs sits in the middle."""

    def __init__(self):
        super().__init__()
        self.verdict = nn.Linear(6, 5)
        self.middle = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 5), nn.ReLU(), nn.Linear(5, 6))

    def forward(self, x):
        return self.verdict(self.middle(x).tanh())


class Scaled(Strange):
    def forward(self, x):
        return super().forward(x) * 2


def images(channels=3):
    return torch.randn(4, channels, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", models.names())
@pytest.mark.parametrize("channels", [1, 3])
def test_the_head_of_every_architecture_is_found_and_gives_the_networks_output(arch, channels):
    width = {name: max(4, value // 8) for name, value in models.defaults(arch).items() if name == "width"}
    torch.manual_seed(0)
    model = models.build(arch, 7, channels, width, size=28).eval()
    head = model.get_submodule(find_head(model, 7))
    x = images(channels)
    features = Backbone(model, head)(x)
    assert features.shape == (4, head.in_features)
    assert torch.equal(head(features), model(x))


def test_the_last_linear_layer_with_an_output_per_class_is_the_head():
    assert find_head(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)), 5) == "1"


def test_the_user_may_name_the_head_of_a_strange_network():
    model = Strange().eval()
    assert find_head(model, 5) == "middle.1", "declared last, so the guess is wrong"
    name = find_head(model, 5, "verdict")
    x = images()
    assert torch.equal(model.verdict(Backbone(model, model.get_submodule(name))(x)), model(x))


def test_a_wrong_guess_is_refused_at_the_first_batch():
    model = Strange().eval()
    with pytest.raises(UnlearnError) as raised:
        Backbone(model, model.middle[1])(images())
    assert "--head" in raised.value.hint


def test_a_head_whose_output_is_changed_later_is_refused():
    model = Scaled().eval()
    with pytest.raises(UnlearnError, match="the head's output is not the network's"):
        Backbone(model, model.verdict)(images())


def test_a_head_that_is_never_reached_is_refused():
    model = Strange().eval()
    with pytest.raises(UnlearnError, match="not the last step"):
        Backbone(model, nn.Linear(6, 5))(images())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("verdikt", "no linear layer called 'verdikt'"),
        ("middle", "no linear layer called 'middle'"),
        ("middle.3", "has 6 outputs for 5 classes"),
    ],
)
def test_a_name_that_is_no_head_is_refused(name, problem):
    with pytest.raises(UnlearnError, match=problem):
        find_head(Strange(), 5, name)


def test_a_network_without_a_fitting_layer_is_refused():
    with pytest.raises(UnlearnError, match="no linear layer of the network has 9 outputs"):
        find_head(Strange(), 9)


def test_no_hook_is_left_even_when_the_network_fails():
    model = Strange().eval()
    with pytest.raises(RuntimeError):
        Backbone(model, model.verdict)(images(channels=1))
    assert not model.verdict._forward_pre_hooks
