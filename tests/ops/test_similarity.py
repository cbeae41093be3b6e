"""Linear CKA."""

import numpy
import pytest
import torch

from unlearn_cli.ops.similarity import Similarity, linear_cka


def pair(n=60, d=5, e=9):
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64)
    return x, x @ torch.randn(d, e, generator=draw, dtype=torch.float64) + torch.randn(n, e, generator=draw, dtype=torch.float64)


def test_cka_is_the_normalised_hsic_of_the_images_gram_matrices():
    x, y = pair()
    middle = torch.eye(60, dtype=torch.float64) - 1 / 60
    k, m = middle @ x @ x.T @ middle, middle @ y @ y.T @ middle
    assert linear_cka(x, y) == pytest.approx(((k * m).sum() / (k.norm() * m.norm())).item(), rel=1e-10)


def test_cka_of_one_column_is_the_squared_correlation():
    x, y = pair(d=1, e=1)
    assert linear_cka(x, y) == pytest.approx(numpy.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2, rel=1e-10)


def test_cka_of_the_same_features_is_one_and_of_unrelated_ones_is_small():
    x, _ = pair(n=400)
    assert linear_cka(x, x) == 1
    assert linear_cka(x.float(), x.float()) == 1
    assert linear_cka(x, torch.randn(400, 5)) < 0.1


def test_cka_is_blind_to_rotation_scale_and_shift_and_not_to_the_scale_of_one_column():
    x, y = pair()
    turn = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64)).Q
    same = linear_cka(x, y)
    assert linear_cka(x, 4 * y @ turn + 2) == pytest.approx(same, rel=1e-9)
    assert linear_cka(y, x) == pytest.approx(same, rel=1e-12)
    assert abs(linear_cka(x, y * torch.tensor([30.0] + [1.0] * 8)) - same) > 0.01


def test_cka_is_summed_part_by_part():
    x, y = pair()
    sums = Similarity()
    for part in torch.arange(60).split([1, 30, 29]):
        sums.add(x[part], y[part])
    assert sums.value() == pytest.approx(linear_cka(x, y), rel=1e-12)


@pytest.mark.parametrize("size", [1e-12, 1e30])
def test_cka_of_tiny_and_huge_features(size):
    x, y = pair()
    assert linear_cka(size * x, y) == pytest.approx(linear_cka(x, y), rel=1e-9)


def test_there_is_no_cka_with_a_constant_or_of_one_image_or_of_what_is_not_finite():
    x, y = pair()
    assert linear_cka(torch.full_like(x, 0.1), y) is None
    assert linear_cka(x, torch.zeros_like(y)) is None
    assert linear_cka(x[:1], y[:1]) is None
    x[3, 2] = torch.inf
    assert linear_cka(x, y) is None
