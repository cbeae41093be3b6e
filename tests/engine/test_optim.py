"""The optimisers take the same steps as torch.optim's."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unlearn_cli.engine import optim

SETTINGS = {
    "sgd": ("sgd", {}, torch.optim.SGD, {}),
    "sgd with decay": ("sgd", {"weight_decay": 0.1}, torch.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (
        "sgd",
        {"momentum": 0.9, "weight_decay": 0.01},
        torch.optim.SGD,
        {"momentum": 0.9, "weight_decay": 0.01},
    ),
    "nesterov": (
        "sgd",
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": ("adam", {}, torch.optim.Adam, {}),
    "adam with decay": (
        "adam",
        {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4},
        torch.optim.Adam,
        {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4},
    ),
    "adamw": ("adamw", {"weight_decay": 0.1}, torch.optim.AdamW, {"weight_decay": 0.1}),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def batches(count=25):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count, 8, 4, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("name, ours, theirs, settings", SETTINGS.values(), ids=SETTINGS)
def test_every_step_is_torchs(name, ours, theirs, settings):
    a, b = network(), network()
    mine, reference = optim.make(name, a.parameters(), lr=0.05, **ours), theirs(b.parameters(), lr=0.05, **settings)
    for x in batches():
        for model, opt in ((a, mine), (b, reference)):
            opt.zero_grad()
            model(x).square().sum().backward()
            opt.step()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert_close(p, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "schedule, at",
    [("constant", lambda t: 1), ("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2), ("linear", lambda t: 1 - t)],
)
def test_a_schedule_falls_as_its_name_says(schedule, at):
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = optim.make("sgd", [p], lr=0.3, schedule=schedule, steps=10)
    for step in range(10):
        before = p.item()
        p.grad = torch.ones_like(p)
        opt.step()
        assert before - p.item() == pytest.approx(0.3 * at(step / 10))
    assert opt.rate() == pytest.approx(0.3 * at(1))


def test_a_given_rate_wins_over_the_schedule():
    p = nn.Parameter(torch.zeros(1))
    opt = optim.make("sgd", [p], lr=1.0)
    p.grad = torch.ones(1)
    opt.step(lr=0.25)
    assert p.item() == -0.25


def test_groups_have_their_own_rate_and_decay():
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    opt = optim.SGD([([a], 1.0, 1.0), ([b], 2.0, 0.5)], lr=0.1, weight_decay=0.1)
    a.grad, b.grad = torch.ones(1), torch.ones(1)
    opt.step()
    assert a.item() == pytest.approx(1 - 0.1 * (1 + 0.1))
    assert b.item() == pytest.approx(1 - 0.2 * (1 + 0.05))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_what_has_no_gradient_stays_as_it_is(name):
    used, idle, frozen = (nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    opt = optim.make(name, [used, idle, frozen], lr=0.1, weight_decay=0.5)
    used.sum().backward()
    opt.step()
    assert used.tolist() != [1, 1]
    assert idle.tolist() == frozen.tolist() == [1, 1]
    assert frozen not in set(opt.params)


def test_zero_grad_forgets_the_gradients():
    p = nn.Parameter(torch.ones(1))
    opt = optim.make("sgd", [p], lr=0.1)
    p.sum().backward()
    opt.zero_grad()
    assert p.grad is None
