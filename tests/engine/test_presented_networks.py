"""A run takes in networks that were presented: in every precision, and gives them back as they were."""

import copy

import pytest
import torch
from torch import nn

from unlearn_cli.engine.run import Options, Run
from unlearn_cli.ops.presenting import present


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.head_dist = nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x):
        x = self.body(x)
        return (self.head(x) + self.head_dist(x)) / 2


def convolutional():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Conv2d(16, 5, 1), nn.Flatten())


def with_softmax():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5), nn.Softmax(1))


@pytest.mark.parametrize("build", [Pair, convolutional, with_softmax])
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_the_logits_are_those_of_the_head_on_the_features_and_the_network_comes_back_as_it_was(build, precision):
    torch.manual_seed(0)
    model = build().eval()
    found = present(model, torch.randn(2, 3, 8, 8), "net")
    x = torch.randn(6, 3, 8, 8)
    before, tensors = model(x), copy.deepcopy(model.state_dict())
    run = Run(Options(device="cpu", precision=precision), [0.5] * 3, [0.5] * 3)
    with run.adopted(model, found.head) as adopted:
        backbone, head = run.split(adopted)
        inputs = x.to(run.dtype)
        features, logits = backbone(inputs), adopted(inputs)
        assert logits.dtype == head.weight.dtype == run.dtype
        assert torch.equal(head(features), logits)
        teacher = run.teacher(adopted)
        assert torch.equal(teacher(inputs), logits)
    torch.testing.assert_close(logits.float(), before, rtol=0, atol=0.05 if precision == "bfloat16" else 1e-6)
    assert precision != "bfloat16" or not torch.equal(logits.float(), before), "the body ran in half precision"
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-6)  # in its kernels' order in memory, which stays
    assert not any("forward" in vars(module) for module in model.modules())
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in model.state_dict().items())


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.deep, self.head = nn.Conv2d(3, 4, 3), nn.Conv3d(1, 2, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.deep(self.flat(x)[:, None]).mean((3, 4)).flatten(1))


def test_a_network_with_kernels_of_three_dimensions_is_taken_in():
    model = Deep().eval()
    found = present(model, torch.randn(2, 3, 8, 8), "net")
    x = torch.randn(4, 3, 8, 8)
    run = Run(Options(device="cpu", precision="float32"), [0.5] * 3, [0.5] * 3)
    before = model(x)
    with run.adopted(model, found.head) as adopted:
        torch.testing.assert_close(adopted(x), before)
