"""Densities and divergences, against SciPy and closed forms."""

from math import log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.spatial.distance import jensenshannon
from scipy.stats import gaussian_kde

from unlearn_cli.ops import density
from unlearn_cli.ops.density import jensen_shannon, log_density, sample_distance

DOUBLE = torch.float64


def drawn(n, seed, kind="exponential_"):
    return getattr(torch.empty(n, dtype=DOUBLE), kind)(generator=torch.Generator().manual_seed(seed))


def published(a, b):
    """The procedure of the paper's code, in SciPy; NaN where a density has vanished at every point."""
    a, b = a.numpy(), b.numpy()
    points = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 1000)
    curves = [gaussian_kde(x)(points) for x in (a, b)]
    with np.errstate(invalid="ignore"):
        return jensenshannon(*(curve / trapezoid(curve, points) for curve in curves))


@pytest.mark.parametrize("alpha", [0.01, 1.0, 50.0])
def test_divergence_agrees_with_scipy(alpha):
    p, q = (torch.tensor(np.random.default_rng(seed).dirichlet([alpha] * 7, 200)) for seed in (1, 2))
    theirs = torch.tensor(jensenshannon(p, q, axis=1)) ** 2
    torch.testing.assert_close(jensen_shannon(p, q), theirs, rtol=1e-10, atol=1e-14)


def test_divergence_has_its_closed_forms():
    p, q = torch.tensor([[1.0, 0], [0, 1], [1, 0]], dtype=DOUBLE), torch.tensor([[1.0, 0], [1, 0], [0.5, 0.5]], dtype=DOUBLE)
    expected = torch.tensor([0, log(2), 0.5 * log(4 / 3) + 0.25 * log(2 / 3) + 0.25 * log(2)], dtype=DOUBLE)
    torch.testing.assert_close(jensen_shannon(p, q), expected, rtol=0, atol=1e-15)


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_divergence_is_symmetric_and_in_range_and_zero_for_equals(seed, k):
    p, q = (3 * drawn(2 * 5 * k, seed, "normal_")).view(2, 5, k).softmax(-1)
    apart = jensen_shannon(p, q)
    assert torch.equal(apart, jensen_shannon(q, p))
    assert bool(((apart >= 0) & (apart <= log(2))).all())
    assert torch.equal(jensen_shannon(p, p), torch.zeros(5, dtype=DOUBLE))


@pytest.mark.parametrize("n", [2, 3, 40, 3000])
def test_density_agrees_with_scipy(n):
    sample, points = drawn(n, 1), torch.linspace(-2, 8, 301, dtype=DOUBLE)
    expected = torch.tensor(gaussian_kde(sample.numpy()).logpdf(points.numpy()))
    torch.testing.assert_close(log_density(sample, points), expected, rtol=1e-10, atol=1e-10)


def test_density_is_the_same_in_pieces(monkeypatch):
    sample, points = drawn(50, 1), torch.linspace(-2, 8, 301, dtype=DOUBLE)
    whole = log_density(sample, points)
    for chunk in (1, 333):
        monkeypatch.setattr(density, "CHUNK", chunk)
        torch.testing.assert_close(log_density(sample, points), whole, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("factor", [1.0, 1.3, 20.0])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (1500, 1504), (5000, 30)])
def test_distance_of_samples_agrees_with_the_published_procedure(n, m, factor):
    a, b = drawn(n, 1), factor * drawn(m, 2)
    assert sample_distance(a, b) == pytest.approx(published(a, b), abs=1e-9)


def test_distance_of_samples_is_zero_for_equals_and_largest_for_strangers():
    a, b = drawn(400, 1), drawn(400, 2)
    assert sample_distance(a, a) == 0
    assert sample_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-7)
    assert 0 < sample_distance(a, b) < 0.15
    assert sample_distance(a, b + 1000) == pytest.approx(sqrt(log(2)), abs=1e-12)


def test_distance_of_samples_is_the_same_in_other_units():
    a, b = drawn(100, 1), 1.5 * drawn(100, 2)
    here = sample_distance(a, b)
    assert sample_distance(1e-12 * a, 1e-12 * b) == pytest.approx(here, abs=1e-9)
    assert sample_distance(1e150 * a, 1e150 * b) == pytest.approx(here, abs=1e-9)
    assert sample_distance(7 - a, 7 - b) == pytest.approx(here, abs=1e-9)
    assert sample_distance(b, a) == pytest.approx(here, abs=1e-12)


def test_a_density_that_falls_between_the_points_is_not_lost():
    narrow = 500.5 + 1e-6 * drawn(50, 1)
    wide = torch.tensor([0.0, 1000.0], dtype=DOUBLE)
    assert np.isnan(published(narrow, wide))
    assert 0.7 < sample_distance(narrow, wide) < sqrt(log(2))


def test_single_values_have_no_density_but_can_be_told_apart():
    ones, twos, many = torch.ones(9, dtype=DOUBLE), torch.full((1,), 2.0, dtype=DOUBLE), drawn(9, 1)
    assert sample_distance(ones, ones[:1]) == 0
    assert sample_distance(ones, twos) == sqrt(log(2))
    assert sample_distance(ones, many) is None
    assert sample_distance(many, ones) is None
