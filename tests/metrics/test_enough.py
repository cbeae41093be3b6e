"""How many images a limit needs: below, there is no answer but the number that would do; above, it decides as ever."""

import pytest

from unlearn_cli.metrics import enough
from unlearn_cli.metrics.report import Measure
from unlearn_cli.metrics.requirements import parse
from unlearn_cli.metrics.verdict import judge
from unlearn_cli.ops.binomial import at_least


def outcome(limit, own, reference=(), original=None):
    name = parse([limit])[0].metric
    beside = [{name: one} for one in reference]
    found = judge(parse([limit]), {name: own}, beside, {name: original} if original else None).limits[0]
    return found.outcome, found.reason


def share(correct, n):
    return Measure(correct / n, detail={"correct": correct, "n": n})


def auc(value, n, m=None):
    return Measure(value, detail={"n": n, "n_unseen": m or n})


# a plain limit


@pytest.mark.parametrize(("n", "expected"), [(1, "not measurable"), (3, "not measurable"), (5, "not measurable"), (6, "pass"),
                                             (20, "pass"), (36, "pass"), (100, "pass")])  # fmt: skip
def test_none_right_of_few_test_images_is_what_half_a_memory_gives_by_luck(n, expected):
    found, reason = outcome("forget_test_accuracy<=0.01", share(0, n))
    assert found == expected
    assert (reason == "") == (expected == "pass")


def test_the_reason_has_how_many_there_are_how_likely_luck_is_and_how_many_would_do():
    _, reason = outcome("forget_test_accuracy<=0.01", share(0, 3))
    assert reason == (
        "too few images: with 3 a model halfway to what the limit excludes would keep it with a chance of 12.1 %; 6 would do"
    )


@pytest.mark.parametrize("n", [1, 3, 6, 100])
def test_a_plain_limit_that_is_missed_is_missed_on_any_number_of_images(n):
    assert outcome("forget_test_accuracy<=0.01", share(n, n))[0] == "fail"


def test_the_number_that_would_do_does_and_one_less_does_not():
    for limit, value in (("forget_accuracy<=0.05", 0.0), ("forget_accuracy<=0.4", 0.1), ("retain_accuracy>=0.9", 1.0)):
        name = limit.partition("<")[0].partition(">")[0]
        _, reason = outcome(limit, Measure(value, detail={"n": 2}))
        needed = int(reason.rpartition("; ")[2].split()[0])
        assert outcome(limit, Measure(value, detail={"n": needed}))[0] == "pass", name
        assert outcome(limit, Measure(value, detail={"n": needed - 1}))[0] == "not measurable", name


def test_of_a_class_that_the_original_hardly_knew_more_images_are_needed():
    found, reason = outcome("forget_test_accuracy<=0.01", share(0, 10), original=share(2, 10))
    assert (found, "even the original would keep it" in reason) == ("not measurable", True)
    assert outcome("forget_test_accuracy<=0.01", share(0, 10), original=share(10, 10))[0] == "pass"
    assert outcome("forget_test_accuracy<=0.01", share(0, 30), original=share(9, 30))[0] == "pass"


def test_a_limit_that_the_original_keeps_itself_shows_nothing_however_many_images_there_are():
    found, reason = outcome("forget_test_accuracy<=0.3", share(100, 1000), original=share(250, 1000))
    assert (found, reason) == (
        "not measurable", "even the original would keep it with a chance of 100 %, and more images than 1,000 do not help",
    )  # fmt: skip
    assert outcome("forget_test_accuracy<=0.3", share(100, 1000), original=share(950, 1000))[0] == "pass"


def test_usefulness_is_not_shown_by_few_images_either():
    assert outcome("retain_test_accuracy>=0.9", share(3, 3))[0] == "not measurable"
    assert outcome("retain_test_accuracy>=original-0.01", share(3, 3), original=share(3, 3))[0] == "not measurable"
    assert outcome("retain_test_accuracy>=original-0.01", share(20, 20), original=share(20, 20))[0] == "pass"


# a limit around the reference


@pytest.mark.parametrize(("n", "expected"), [(12, "not measurable"), (19, "not measurable"), (20, "pass"), (100, "pass")])
def test_one_image_of_a_list_must_not_weigh_more_than_the_distance_that_is_allowed(n, expected):
    found, reason = outcome("forget_accuracy=reference±0.05", share(n * 4 // 5, n), [share(n * 4 // 5, n)])
    assert found == expected
    assert (f"with {n} one alone may decide it; 20 would do" in reason) == (expected != "pass")


@pytest.mark.parametrize(("n", "m", "expected"), [(12, 12, 2), (12, 500, 2), (500, 12, 2), (19, 400, 2), (20, 20, 0), (145, 36, 0),
                                                  (80, 20, 0), (500, 100, 0)])  # fmt: skip
def test_a_verdict_on_twelve_images_a_side_is_none_and_on_twenty_it_is_one(n, m, expected):
    codes = {"pass": 0, "fail": 1, "not measurable": 2}
    limit, reference = "membership_auc=reference±0.05", [auc(0.5, n, m)]
    assert codes[outcome(limit, auc(0.52, n, m), reference)[0]] == expected
    assert codes[outcome(limit, auc(0.9, n, m), reference)[0]] == (expected or 1)


def test_a_miss_by_one_image_of_twelve_is_no_failure_and_by_one_of_a_hundred_too_many_it_is():
    limit = "revived_accuracy<=reference+0.05"
    assert outcome(limit, Measure(1.0, detail={"n": 12}), [Measure(11 / 12, detail={"n": 12})])[0] == "not measurable"
    assert outcome(limit, Measure(0.99, detail={"n": 100}), [Measure(0.92, detail={"n": 100})])[0] == "fail"


def test_a_band_that_references_widened_is_no_excuse_for_few_images():
    references = [share(k, 12) for k in (4, 6, 8)]
    assert outcome("forget_accuracy=reference±0.05", share(6, 12), references)[0] == "not measurable"


def test_two_sided_around_nothing_is_a_plain_limit():
    assert outcome("forget_test_accuracy=0±0.01", share(0, 36))[0] == "pass"
    assert outcome("forget_test_accuracy=0±0.01", share(0, 3))[0] == "not measurable"


# where nothing is known of the images


def test_a_number_that_says_nothing_of_its_images_is_judged_as_it_stands():
    assert outcome("forget_test_accuracy<=0.01", Measure(0.0))[0] == "pass"
    assert outcome("forget_seconds<=5", Measure(1.0))[0] == "pass"


def test_steps_of_relearning_need_twenty_images_for_five_points_to_be_one():
    assert outcome("relearn_steps>=10", Measure(50.0, detail={"n": 12}))[0] == "not measurable"
    assert outcome("relearn_steps>=10", Measure(50.0, detail={"n": 20}))[0] == "pass"


# the numbers themselves


@pytest.mark.parametrize(("n", "m"), [(18, 18), (13, 60), (20, 20)])
def test_two_sides_are_enough_where_chance_moves_an_auc_by_less_than_a_tenth(n, m):
    assert enough.too_few(n, m) is None
    assert enough.too_few(n // 2, m // 2).value is None


def test_luck_is_that_of_a_model_that_knows_half_of_them():
    assert 0.5**6 < enough.LUCK < 0.5**5
    assert 1 - at_least(1, 6, 0.505) < enough.LUCK < 1 - at_least(1, 5, 0.505)
