"""Attacks climb the loss and stay where they may go."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unlearn_cli.ops.attacks import fgsm, partial_pgd, pgd, targeted_pgd
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


@pytest.fixture
def pictures():
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 4, dtype=torch.float64))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw, dtype=torch.float64) / 4)
    x, start = (torch.rand(8, 3, 5, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    return model, x, torch.arange(8) % 4, start


def slope_at(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(x), y).sum(), x)[0]


def test_the_fast_attack_is_one_signed_step_within_the_pixels_range(pictures):
    model, x, y, _ = pictures
    moved = fgsm(model, x, y, 0.1)
    assert_close(moved, (x + 0.1 * slope_at(model, x, y).sign()).clamp(0, 1), rtol=0, atol=1e-12)
    assert ((moved == 0) | (moved == 1)).any(), "the range binds somewhere"
    assert ((moved - x).abs() <= 0.1 + 1e-12).all()


def test_an_attack_without_a_slope_leaves_the_image(pictures):
    _, x, y, start = pictures

    def flat(p):
        return 0 * p.flatten(1)[:, :4]

    assert torch.equal(fgsm(flat, x, y, 0.1), x)
    assert_close(targeted_pgd(flat, x, y, x, 0.1, 1.0, 3), x, rtol=0, atol=1e-12)


def by_hand(model, x, target, start, step, radius, steps):
    """The targeted attack one image at a time."""
    moved = []
    for image, c, first in zip(x, target, start, strict=True):
        delta = first - image
        for t in range(steps + 1):
            if t:
                slope = slope_at(model, (image + delta)[None], c[None])[0]
                delta = delta - step * slope / max(slope.norm().item(), 1e-6)
            delta = (image + delta).clamp(0, 1) - image
            delta = delta * min(1.0, radius / delta.norm().item())
        moved.append(image + delta)
    return torch.stack(moved)


@pytest.mark.parametrize("radius", [0.5, 100.0])
def test_the_targeted_attack_goes_each_images_own_way(pictures, radius):
    for steps in (0, 1, 7):
        wanted = by_hand(*pictures, 0.3, radius, steps)
        assert_close(targeted_pgd(*pictures, 0.3, radius, steps), wanted, rtol=0, atol=1e-10)


def test_targeted_images_stay_pictures_within_the_radius_and_near_the_target(pictures):
    model, x, target, start = pictures
    before, moved = (targeted_pgd(model, x, target, start, 0.2, 1.0, steps) for steps in (0, 20))
    for images in (before, moved):
        assert (torch.linalg.vector_norm(images - x, dim=(1, 2, 3)) <= 1.0 + 1e-5).all()
        assert ((images >= 0) & (images <= 1)).all()
    assert (torch.linalg.vector_norm(start - x, dim=(1, 2, 3)) > 1.0).all(), "the start had to be drawn in"
    assert (cross_entropy(model(moved), target) < cross_entropy(model(before), target)).all()
    assert (model(moved).argmax(1) == target).sum() > (model(x).argmax(1) == target).sum()


def test_attacked_images_carry_no_gradient_and_the_inputs_stay(pictures):
    model, x, y, start = pictures
    kept = x.clone(), start.clone()
    with torch.no_grad():
        made = fgsm(model, x, y, 0.1), targeted_pgd(model, x, y, start, 0.1, 1.0, 2)
    assert not any(images.requires_grad for images in made)
    assert torch.equal(x, kept[0])
    assert torch.equal(start, kept[1])
    assert all(p.grad is None for p in model.parameters())


def test_no_images_make_none(pictures):
    model, x, y, start = pictures
    assert fgsm(model, x[:0], y[:0], 0.1).shape == (0, 3, 5, 5)
    assert targeted_pgd(model, x[:0], y[:0], start[:0], 0.1, 1.0, 2).shape == (0, 3, 5, 5)
