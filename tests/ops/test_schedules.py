"""Learning rates as functions of the epoch."""

import pytest

from unlearn_cli.ops.schedules import rate, stepped


def test_a_constant_rate_stays():
    assert [rate("constant", 0.1, at, 4) for at in (0, 1.5, 3.99)] == [0.1] * 3


def test_steps_are_taken_after_each_third():
    assert [rate("step", 1.0, at, 6) for at in (0, 1.9, 2, 3.9, 4, 5.9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rate("step", 1.0, 0.99, 1) == pytest.approx(0.01)


def test_a_cosine_falls_to_zero_once():
    assert [rate("cosine", 2.0, at, 4) for at in (0, 1, 2, 4)] == pytest.approx([2, 1.7071067811865475, 1, 0])


def test_restarts_come_after_one_three_and_seven_epochs_and_end_at_a_twentieth():
    for begin, length in ((0, 1), (1, 2), (3, 4), (7, 8)):
        assert rate("restarts", 0.1, begin, 62) == pytest.approx(0.1)
        assert rate("restarts", 0.1, begin + length / 2, 62) == pytest.approx((0.1 + 0.005) / 2)
        assert rate("restarts", 0.1, begin + length - 1e-9, 62) == pytest.approx(0.005)


def test_a_milestone_bites_in_the_epoch_after_it():
    rates = [stepped(1.0, epoch, [3, 5, 9], 0.1) for epoch in range(1, 11)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001])
    assert stepped(1.0, 6, [5, 5, 9], 0.1) == pytest.approx(0.01)
    assert stepped(1.0, 6, [], 0.1) == 1
