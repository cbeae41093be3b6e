from math import inf

import numpy
import pytest
from scipy.stats import beta, binom

from unlearn_cli.ops.binomial import at_least, clopper_pearson, enough, largest_error, would_do


@pytest.mark.parametrize("n", [1, 7, 100, 2500, 60_000, 1_000_000])
@pytest.mark.parametrize("p", [1e-4, 0.01, 0.3, 0.5, 0.98])
def test_binomial_tails_agree_with_scipy(n, p):
    spread = (n * p * (1 - p)) ** 0.5
    for k in {min(max(round(n * p + step * spread), 1), n) for step in (-6, -2, -0.5, 0, 1, 3, 8)}:
        assert at_least(k, n, p) == pytest.approx(binom.sf(k - 1, n, p), abs=1e-8)


def test_a_tail_that_holds_everything_is_one_and_one_beyond_everything_is_zero():
    assert (at_least(0, 5, 0.2), at_least(-1, 5, 0.2), at_least(6, 5, 0.9)) == (1, 1, 0)
    assert (at_least(3, 5, 0.0), at_least(3, 5, 1.0)) == (0, 1)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (3, 17), (1, 1000), (4_999, 5_000), (500, 1000)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_clopper_pearson_limits_are_quantiles_of_beta_variables(k, n, level):
    tail = (1 - level) / 2
    low = beta.ppf(tail, k, n - k + 1) if k else 0
    high = beta.ppf(1 - tail, k + 1, n - k) if k < n else 1
    assert clopper_pearson(k, n, level) == pytest.approx((low, high), abs=1e-10)


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5])
def test_clopper_pearson_covers_at_least_as_often_as_it_says(p):
    n = 60
    held = sum(binom.pmf(k, n, p) for k in range(n + 1) if (limits := clopper_pearson(k, n))[0] <= p <= limits[1])
    assert 0.95 <= held < 1


@pytest.mark.parametrize(("weights", "counts"), [((1,), (10,)), ((3, 1), (4, 9)), ((1, 0, 5), (7, 0, 30))])
def test_no_weighted_accuracy_varies_more_than_its_largest_error(weights, counts):
    used = [(w, n) for w, n in zip(weights, counts, strict=True) if w]
    draws = numpy.random.default_rng(0)
    for chance in (0.5, 0.9):
        found = sum(w * draws.binomial(n, chance, 100_000) / n for w, n in used) / sum(weights)
        assert found.std() <= largest_error(weights, counts) * 1.01
    assert sum(w * draws.binomial(n, 0.5, 100_000) / n for w, n in used).std() / sum(weights) == pytest.approx(
        largest_error(weights, counts), rel=0.02
    )


def test_three_images_are_not_enough_and_the_number_that_would_do_is():
    assert not enough((1,), (3,))
    assert would_do((1,), (3,)) == 25
    assert not enough((1,), (24,)) and enough((1,), (25,))
    assert not enough((2, 1), (3, 3))
    needed = would_do((2, 1), (3, 3))
    assert not enough((2, 1), (needed // 2 - 1,) * 2) and enough((2, 1), (needed // 2 + 1,) * 2)


def test_many_classes_need_few_images_each_and_one_without_images_is_not_known():
    assert enough((1,) * 10, (3,) * 10)
    assert largest_error((1, 1), (50, 0)) == inf and not enough((1, 1), (50, 0))
    assert would_do((1, 1), (50, 0)) == would_do((1, 1), (1, 1)) == 25
    assert enough((1, 0), (50, 0))
