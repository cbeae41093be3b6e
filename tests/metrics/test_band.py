"""The band of what another retrained model may show."""

import random
from statistics import mean

import pytest
from scipy.stats import t

from unlearn_cli.metrics.noise import band, student


@pytest.mark.parametrize("freedom", [2, 3, 4, 9, 30, 200])
def test_the_quantiles_are_students(freedom):
    assert student(freedom) == pytest.approx(t.ppf(0.995, freedom), rel=1e-9)


@pytest.mark.parametrize("count", [3, 5, 20])
def test_the_next_value_lies_in_the_band_as_often_as_it_says(count):
    draw, inside, turns = random.Random(0), 0, 4000
    for _ in range(turns):
        *known, new = (draw.gauss(2.0, 0.3) for _ in range(count + 1))
        inside += abs(new - mean(known)) <= band(known)
    assert abs(inside / turns - 0.99) < 3 * (0.99 * 0.01 / turns) ** 0.5


def test_two_references_tell_nothing_of_their_spread_and_equal_ones_have_none():
    assert band([]) == band([0.4]) == band([0.1, 0.9]) == 0
    assert band([0.3] * 5) == 0
    assert band([0.1, 0.2, 0.3]) > 0
