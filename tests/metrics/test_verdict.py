import math

import pytest

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.report import Measure
from unlearn_cli.metrics.verdict import check_measurable, judge, parse


def verdict(*limits, reference=(), original=None, **values):
    def as_measures(numbers):
        return {
            name: value if isinstance(value, Measure) else Measure(value) for name, value in (numbers or {}).items()
        }

    return judge(
        parse(limits), as_measures(values), [as_measures(one) for one in reference],
        as_measures(original) if original else None,
    )


def test_the_verdict_names_the_number_that_decided():
    found = verdict(
        "forget_test_accuracy<=0.01", "unlearning_score>=0.9", forget_test_accuracy=0.69, unlearning_score=0.9123
    )
    assert found.verdict == (
        "Not forgotten: forget_test_accuracy is 0.6900, the limit is <= 0.01 (1 of 2 limits not met)."
    )
    assert found.exit_code == 1
    assert [limit.outcome for limit in found.limits] == ["fail", "pass"]


def test_when_all_hold_the_closest_is_named():
    found = verdict(
        "forget_test_accuracy<=0.1", "unlearning_score>=0.9", forget_test_accuracy=0.0, unlearning_score=0.9123
    )
    assert found.verdict == "Held: all 2 limits met; the closest was unlearning_score 0.9123 against >= 0.9."
    assert found.exit_code == 0


def test_a_single_limit_that_holds_is_said_plainly():
    assert verdict("forget_accuracy<=0.01", forget_accuracy=0.0).verdict == (
        "Held: forget_accuracy is 0.0000, the limit is <= 0.01."
    )


def test_without_limits_nothing_is_judged():
    assert verdict() == ([], "Not judged: no limit was given; pass --require.", 0)


def test_damage_to_what_should_be_kept_is_not_called_not_forgotten():
    found = verdict("retain_test_accuracy>=0.8", retain_test_accuracy=0.7)
    assert found.verdict == "Not held: retain_test_accuracy is 0.7000, the limit is >= 0.8 (1 of 1 limit not met)."


def test_a_limit_on_forgetting_decides_before_one_on_keeping_and_the_worst_before_the_rest():
    values = {"forget_accuracy": 0.2, "forget_test_accuracy": 0.4, "retain_accuracy": 0.0}
    found = verdict("retain_accuracy>=0.9", "forget_accuracy<=0.1", "forget_test_accuracy<=0.1", **values)
    assert found.verdict.startswith("Not forgotten: forget_test_accuracy is 0.4000")
    assert found.verdict.endswith("(3 of 3 limits not met).")


@pytest.mark.parametrize(
    ("operator", "below", "equal", "above"),
    [("<=", 0, 0, 1), ("<", 0, 1, 1), (">=", 1, 0, 0), (">", 1, 1, 0), ("=", 1, 0, 1), ("==", 1, 0, 1)],
)
def test_every_operator_is_exact(operator, below, equal, above):
    for value, code in ((math.nextafter(0.3, 0), below), (0.3, equal), (math.nextafter(0.3, 1), above)):
        assert verdict(f"forget_accuracy{operator}0.3", forget_accuracy=value).exit_code == code


def test_enough_digits_are_shown_to_see_why_a_limit_failed():
    found = verdict("forget_accuracy<=0.01", forget_accuracy=0.010004)
    assert "is 0.010004, the limit is <= 0.01" in found.verdict
    found = verdict("forget_accuracy<=0.3", forget_accuracy=0.1 + 0.2)
    assert "is 0.30000000000000004, the limit is <= 0.3" in found.verdict


@pytest.mark.parametrize("plus_minus", ["±", "+-", "+/-", " ± "])
def test_a_limit_around_the_reference_has_two_sides(plus_minus):
    limit = f"membership_accuracy=reference{plus_minus}0.05"
    codes = {
        value: verdict(limit, membership_accuracy=value, reference=[{"membership_accuracy": 0.51}]).exit_code
        for value in (0.45, 0.46, 0.51, 0.56, 0.57)
    }
    assert codes == {0.45: 1, 0.46: 0, 0.51: 0, 0.56: 0, 0.57: 1}


def test_the_reference_is_the_mean_of_several_and_is_shown_as_a_number():
    several = [{"membership_auc": 0.5}, {"membership_auc": 0.52}]
    found = verdict("membership_auc=reference±0.05", membership_auc=0.6, reference=several)
    assert found.limits[0].target == 0.51
    assert "membership_auc is 0.6000, the limit is = 0.51±0.05" in found.verdict


def test_a_limit_relative_to_the_original_reckons_as_people_do():
    limit = "retain_test_accuracy>=original-0.01"
    for original in (0.88, 0.91, 0.97, 0.29):       # 0.29 - 0.01 is 0.27999999999999997 in binary
        value = round(original - 0.01, 2)
        found = verdict(limit, retain_test_accuracy=value, original={"retain_test_accuracy": original})
        assert (found.exit_code, found.limits[0].target) == (0, value)
    assert verdict(limit, retain_test_accuracy=0.8, original={"retain_test_accuracy": 0.9}).exit_code == 1
    found = verdict("forget_accuracy<=reference+0.1", forget_accuracy=0.15, reference=[{"forget_accuracy": 0.05}])
    assert found.exit_code == 0


def test_what_cannot_be_measured_is_no_answer_and_a_limit_not_met_outweighs_it():
    found = verdict("forget_accuracy<=0.1", forget_accuracy=Measure(None, "there are no images to forget"))
    assert found.exit_code == 2
    assert found.limits[0].outcome == "not measurable"
    assert found.verdict == (
        "Not shown: forget_accuracy could not be judged: there are no images to forget (1 of 1 limit not met)."
    )


def test_a_reference_that_could_not_be_measured_is_not_met_either():
    found = verdict(
        "membership_auc=reference±0.1", membership_auc=0.5, reference=[{"membership_auc": Measure(None, "too few")}]
    )
    assert (found.limits[0].outcome, found.limits[0].target) == ("not measurable", None)
    assert found.limits[0].reason == "the reference's value is not known: too few"


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        ("relearn_epochs>=50", "pass"), ("relearn_epochs>100", "pass"), ("relearn_epochs<=50", "fail"),
        ("relearn_epochs<=100", "fail"), ("relearn_epochs<=200", "not measurable"),
        ("relearn_epochs>=200", "not measurable"), ("relearn_epochs=50±10", "fail"),
        ("relearn_epochs=100±10", "not measurable"),
    ],
)
def test_a_measurement_that_reached_its_cap_decides_only_what_it_can(limit, outcome):
    found = verdict(limit, relearn_epochs=Measure(100.0, more_than=True))
    assert found.limits[0].outcome == outcome
    assert found.exit_code == {"pass": 0, "fail": 1, "not measurable": 2}[outcome]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_gives_no_verdict(value):
    with pytest.raises(UnlearnError, match="forget_seconds is (nan|inf)"):
        verdict("forget_seconds<=5", forget_seconds=value)


@pytest.mark.parametrize(
    ("limit", "problem", "hint"),
    [
        ("forget_acuracy<=0.1", "no metric called 'forget_acuracy'.", "did you mean 'forget_accuracy'?"),
        ("zzz<=0.1", "no metric called 'zzz'.", "the metrics are forget_accuracy,"),
        ("forget_accuracy", "has a metric but no number", "put the limit in quotes"),
        ("retain_accuracy", "has a metric but no number", "'retain_accuracy>=0.9'"),
        ("forget_accuracy<=", "cannot be read", "for example --require 'forget_test_accuracy<=0.01'"),
        ("forget_accuracy<=0.1 and more", "cannot be read", "for example"),
        ("forget_accuracy<=0.1+0.2", "cannot be read", "for example"),
        ("", "cannot be read", "for example"),
        ("forget_accuracy<=nan", "no finite number", "for example"),
        ("forget_accuracy<=-inf", "no finite number", "for example"),
        ("forget_accuracy<=1e999", "no finite number", "for example"),
        ("membership_auc=reference±inf", "no finite number", "for example"),
        ("test_accuracy>=87", "test_accuracy is at most 1", "for 87 % write 0.87."),
        ("unlearning_score>=90", "unlearning_score is at most 1", "for 90 % write 0.9."),
        ("test_accuracy>=original-5", "test_accuracy is at most 1", "for 5 % write 0.05."),
        ("test_accuracy>=8700", "test_accuracy is at most 1", "for example"),
        ("test_accuracy>=87%", "is in per cent", "write 0.01 for 1 %"),
        ("test_accuracy>=-0.1", "is negative", "for example"),
        ("test_accuracy>=reference±0.1", "has both >= and ±", "± goes with ="),
    ],
)
def test_a_limit_that_can_only_be_a_mistake_is_refused_with_the_way_to_mend_it(limit, problem, hint):
    with pytest.raises(UnlearnError) as caught:
        parse([limit])
    assert problem in caught.value.problem
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "limit", ["forget_seconds<=120", "relearn_epochs>=77", " forget_accuracy <= 1e-2 ", "forget_accuracy<=.5"]
)
def test_a_limit_may_have_spaces_any_notation_and_more_than_one_where_that_makes_sense(limit):
    assert parse([limit])[0].text == limit.strip()


@pytest.mark.parametrize(
    ("limit", "given", "problem", "hint"),
    [
        ("activation_distance<=0.1", (False, True, True), "activation_distance needs a ref", "--reference FILE"),
        ("membership_auc=reference±0.1", (False, True, True), "needs a reference model", "--reference FILE"),
        ("test_accuracy>=original-0.1", (True, False, True), "needs the original model", "--original FILE"),
        ("unlearning_score>=0.9", (True, True, False), "for requests that name classes only", "leave this limit out"),
        ("relearn_epochs>=5", (True, True, True), "relearn_epochs is not measured here", "`unlearn relearn`"),
    ],
)
def test_what_can_never_be_measured_is_a_mistake_said_before_measuring(limit, given, problem, hint):
    with pytest.raises(UnlearnError) as caught:
        check_measurable(parse([limit]), *given)
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    check_measurable(parse([limit]), True, True, True, has_relearn=True)


def test_no_verdict_claims_more_than_evidence():
    lines = [
        verdict("forget_accuracy<=0.1", forget_accuracy=value).verdict for value in (0.0, 0.5, Measure(None, "none"))
    ]
    assert not any(word in line.lower() for line in lines for word in ("certif", "guarant", "proof", "proven"))


def test_several_references_give_a_band_where_a_limit_names_them_alone():
    references = [{"membership_auc": value} for value in (0.49, 0.50, 0.51)]
    inside, outside = (verdict("membership_auc=reference", membership_auc=value, reference=references) for value in (0.61, 0.62))
    assert inside.limits[0].tolerance == pytest.approx(9.924843 * 0.01 * math.sqrt(4 / 3), abs=1e-4)
    assert [found.exit_code for found in (inside, outside)] == [0, 1]


def test_a_distance_that_was_typed_is_not_widened():
    references = [{"membership_auc": value} for value in (0.4, 0.5, 0.6)]
    found = verdict("membership_auc=reference±0.05", membership_auc=0.56, reference=references)
    assert found.limits[0].tolerance == 0.05
    assert found.exit_code == 1


def test_a_band_that_no_value_could_miss_shows_nothing():
    def found(*values):
        reference = [{"membership_auc": value} for value in values]
        return verdict("membership_auc=reference", reference=reference, membership_auc=0.5)

    assert found(0.48, 0.5, 0.52).exit_code == 0
    apart = found(0.1, 0.5, 0.9)
    assert (apart.exit_code, apart.limits[0].outcome) == (2, "not measurable")
    assert "the references lie so far apart" in apart.verdict
    assert verdict("membership_auc<=1", membership_auc=0.5).exit_code == 0  # as typed
