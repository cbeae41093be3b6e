"""Attacks climb the loss and stay where they may go."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unlearn_cli.ops.attacks import partial_pgd, pgd
from unlearn_cli.ops.losses import cross_entropy


@pytest.fixture
def setting():
    torch_draw = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 4, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.randn(4, 6, generator=torch_draw, dtype=torch.float64))
        head.bias.copy_(torch.randn(4, generator=torch_draw, dtype=torch.float64))
    x = torch.randn(30, 6, generator=torch_draw, dtype=torch.float64)
    return head, x, head(x).argmax(1)


def by_autograd(head, x, y, step, radius, steps):
    moved = x
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (ascent,) = torch.autograd.grad(cross_entropy(head(moved), y).sum(), moved)
        moved = x + (moved + step * ascent.sign() - x).clamp(-radius, radius)
    return moved.detach()


def test_the_closed_form_is_what_autograd_gives(setting):
    assert_close(partial_pgd(*setting, 0.1, 0.35, 6), by_autograd(*setting, 0.1, 0.35, 6), rtol=0, atol=1e-12)


def test_it_works_without_a_bias(setting):
    head, x, y = setting
    bare = nn.Linear(6, 4, bias=False, dtype=torch.float64)
    bare.weight = head.weight
    assert_close(partial_pgd(bare, x, y, 0.1, 0.35, 6), by_autograd(bare, x, y, 0.1, 0.35, 6), rtol=0, atol=1e-12)


def test_the_loss_rises(setting):
    head, x, y = setting
    assert (cross_entropy(head(partial_pgd(head, x, y, 0.05, 0.2, 10)), y) > cross_entropy(head(x), y)).all()


def test_no_feature_leaves_the_radius_or_falls_below_the_least(setting):
    head, x, y = setting
    moved = partial_pgd(head, x.abs(), y, 0.3, 0.5, 9, low=0.0)
    assert ((moved - x.abs()).abs() <= 0.5 + 1e-12).all()
    assert (moved >= 0).all()


def test_the_features_and_the_head_stay_as_they_are(setting):
    head, x, y = setting
    before = x.clone(), head.weight.detach().clone()
    moved = partial_pgd(head, x, y, 0.1, 0.5, 3)
    assert torch.equal(x, before[0])
    assert torch.equal(head.weight, before[1])
    assert not moved.requires_grad


def test_an_image_stays_a_picture_within_the_radius_and_its_loss_rises():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 4, dtype=torch.float64))
    x, y = torch.rand(8, 3, 5, 5, dtype=torch.float64), torch.arange(8) % 4
    moved = pgd(model, x, y, 2 / 255, 8 / 255, 10)
    assert ((moved - x).abs() <= 8 / 255 + 1e-12).all()
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (cross_entropy(model(moved), y) > cross_entropy(model(x), y)).all()
    assert all(p.grad is None for p in model.parameters())
