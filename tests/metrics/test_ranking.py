"""The best rows of a table, and their order."""

import pytest

from unlearn_cli.metrics.ranking import best_first, costs, starred
from unlearn_cli.metrics.registry import columns
from unlearn_cli.metrics.report import Measure, Row


def rows(name, *values, original=None, references=()):
    def row(label, role, value):
        return Row(str(label), role, {name: Measure(value, "" if value is not None else "not measured")})

    others = [row("original", "original", original)] + [row(f"r{i}", "reference", value) for i, value in enumerate(references)]
    return others + [row(i, "unlearned", value) for i, value in enumerate(values)]


def order(name, *values, **others):
    (column,) = columns([name])
    return [row.label for row in best_first(column, rows(name, *values, **others)) if row.role == "unlearned"]


@pytest.mark.parametrize(
    ("name", "best"),
    [("unlearning_score", ["1", "2", "0"]), ("forget_accuracy", ["0", "2", "1"]), ("membership_auc", ["2", "1", "0"])],
)
def test_the_best_comes_first_in_the_metrics_own_direction(name, best):
    assert order(name, 0.1, 0.9, 0.5, references=[0.6, 0.7]) == best


def test_nearness_is_measured_from_both_sides_of_the_references_mean():
    assert order("membership_auc", 0.9, 0.48, 0.55, references=[0.4, 0.6]) == ["1", "2", "0"]
    assert order("membership_auc", 0.9, 0.48, 0.55, references=[0.8, 1.0]) == ["0", "2", "1"]


def test_rows_without_a_number_come_last_and_equal_ones_stay_as_they_came():
    assert order("forget_accuracy", None, 0.2, 0.1, None, 0.2) == ["2", "1", "4", "0", "3"]
    assert order("forget_accuracy", 0.2, 0.1) == ["1", "0"]


def test_original_and_references_stay_above_in_their_order_whatever_they_score():
    (column,) = columns(["unlearning_score"])
    found = best_first(column, rows("unlearning_score", 0.1, 0.2, original=0.0, references=[0.9, 1.0]))
    assert [row.label for row in found] == ["original", "r0", "r1", "1", "0"]


def test_without_a_reference_nobody_is_nearest_to_it():
    (column,) = columns(["membership_auc"])
    given = rows("membership_auc", 0.2, 0.5)
    assert costs(column, given) == [None] * 3
    assert not any(starred(column, given))
    assert order("membership_auc", 0.2, 0.5) == ["0", "1"]


def test_numbers_that_a_table_prints_alike_are_equally_good():
    (column,) = columns(["unlearning_score"])
    assert starred(column, rows("unlearning_score", 0.90001, 0.90004, 0.8)) == [False, True, True, False]
    assert starred(column, rows("unlearning_score", 0.9001, 0.9004, 0.8)) == [False, False, True, False]
    assert starred(column, rows("unlearning_score", 0.90001, 0.90004)) == [False] * 3
