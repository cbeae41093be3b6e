import math

import pytest

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics import policy
from unlearn_cli.metrics.report import Measure
from unlearn_cli.metrics.requirements import parse
from unlearn_cli.metrics.verdict import judge


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


@pytest.mark.parametrize(("value", "shown"), [
    (0.96, "is 0.9600, the limit is >= 0.9681"),
    (0.968053, "is 0.96805, the limit is >= 0.9681"),          # 0.9681 would not look like a miss
    (0.9681, "is 0.9681, the limit is >= 0.9680563264"),        # rounded, the two would look equal
])  # fmt: skip
def test_a_computed_limit_is_shown_as_short_as_it_stays_true(value, shown):
    reference = [{"retain_test_accuracy": 0.9680563264}]
    found = verdict("retain_test_accuracy>=reference+0", retain_test_accuracy=value, reference=reference)
    assert found.verdict.partition(": retain_test_accuracy ")[2].startswith(shown + (" (" if value < 0.9681 else "."))


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


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        ("anamnesis_index>=0.8", "fail"), ("anamnesis_index>0.2", "fail"), ("anamnesis_index<=0.5", "pass"),
        ("anamnesis_index<=0.2", "pass"), ("anamnesis_index<0.2", "not measurable"), ("anamnesis_index>=0.2", "not measurable"),
        ("anamnesis_index<=0.1", "not measurable"), ("anamnesis_index>=0.1", "not measurable"),
        ("anamnesis_index=1±0.5", "fail"), ("anamnesis_index=0.3±0.1", "not measurable"),
        ("anamnesis_index=0.1±0.05", "not measurable"), ("anamnesis_index=0.2±0.1", "not measurable"),
    ],
)
def test_a_bound_from_above_decides_only_what_it_can(limit, outcome):
    found = verdict(limit, anamnesis_index=Measure(0.2, at_most=True))
    assert found.limits[0].outcome == outcome
    assert found.exit_code == {"pass": 0, "fail": 1, "not measurable": 2}[outcome]


@pytest.mark.parametrize(("bound", "words"), [("more_than", "more than 2"), ("at_most", "at most 2")])
def test_a_reference_that_is_only_a_bound_is_nothing_to_compare_with(bound, words):
    known = {"anamnesis_index": Measure(2.0, **{bound: True})}
    found = verdict("anamnesis_index=reference±5", anamnesis_index=2.0, reference=[known])
    assert found.limits[0].outcome == "not measurable"
    assert f"the reference's value is not known: {words}" in found.limits[0].reason
    assert verdict("anamnesis_index=reference±5", anamnesis_index=2.0, reference=[{"anamnesis_index": 2.0}]).exit_code == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_gives_no_verdict(value):
    with pytest.raises(UnlearnError, match="forget_seconds is (nan|inf)"):
        verdict("forget_seconds<=5", forget_seconds=value)


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


def test_the_spread_of_references_is_that_of_their_ratios_before_they_were_cut_off():
    def tolerance(*ratios):
        references = [{"separation_recovery": Measure(0.0, detail=detail)} for detail in ratios]
        return verdict("separation_recovery=reference", separation_recovery=0.1, reference=references).limits[0].tolerance

    ratios = (-0.02, -0.01, 0.0)
    assert tolerance(*({"ratio": ratio} for ratio in ratios)) == pytest.approx(9.924843 * 0.01 * math.sqrt(4 / 3), abs=1e-4)
    assert tolerance({}, {}, {}) == 0


def test_a_band_that_no_value_could_miss_shows_nothing():
    def found(*values):
        reference = [{"membership_auc": value} for value in values]
        return verdict("membership_auc=reference", reference=reference, membership_auc=0.5)

    assert found(0.48, 0.5, 0.52).exit_code == 0
    apart = found(0.1, 0.5, 0.9)
    assert (apart.exit_code, apart.limits[0].outcome) == (2, "not measurable")
    assert "the references lie so far apart" in apart.verdict


@pytest.mark.parametrize(("limit", "reference"), [
    ("membership_auc=reference±0.5", 0.5), ("forget_accuracy<=reference+0.05", 0.96), ("forget_accuracy<=reference", 1.0),
    ("test_accuracy>=reference-0.5", 0.3), ("forget_accuracy>=reference", 0.0), ("forget_accuracy<reference+0.5", 0.7),
    ("forget_seconds>=reference-10", 5.0),
])  # fmt: skip
def test_a_limit_that_the_references_value_makes_unmissable_shows_nothing(limit, reference):
    name = parse([limit])[0].metric
    found = verdict(limit, reference=[{name: reference}], **{name: 0.5})
    assert (found.exit_code, found.limits[0].outcome) == (2, "not measurable")
    assert f"with reference at {reference:g} any value would keep the limit" in found.verdict


@pytest.mark.parametrize(("limit", "reference", "value", "code"), [
    ("membership_auc=reference±0.5", 0.51, 0.005, 1), ("membership_auc=reference±0.5", 0.51, 0.02, 0),
    ("forget_accuracy<=reference+0.05", 0.94, 1.0, 1), ("forget_accuracy<=reference+0.05", 0.94, 0.99, 0),
    ("test_accuracy>=reference-0.5", 0.51, 0.0, 1), ("forget_accuracy<reference+0.5", 0.5, 1.0, 1),
    ("forget_seconds<=reference+1000", 5.0, 6.0, 0),
])  # fmt: skip
def test_one_that_some_value_would_miss_is_judged(limit, reference, value, code):
    name = parse([limit])[0].metric
    assert verdict(limit, reference=[{name: reference}], **{name: value}).exit_code == code


def built_in(metric, value, *references, kind="classes"):
    """What the built-in limit on a metric comes to with these references."""
    one = next(limit for limit in policy.limits("full", kind, len(references)) if limit.metric == metric)
    return judge([one], {metric: Measure(value)}, [{metric: Measure(number)} for number in references]).limits[0]


@pytest.mark.parametrize(("metric", "kind"), [("retain_test_accuracy", "classes"), ("test_accuracy", "images")])
def test_references_far_apart_do_not_excuse_what_was_lost(metric, kind):
    spread = (0.85, 0.90, 0.95)
    assert built_in(metric, 0.89, *spread, kind=kind).outcome == "pass"
    lost = built_in(metric, 0.88, *spread, kind=kind)
    assert (lost.outcome, lost.target) == ("fail", 0.89)
    assert built_in("membership_auc", 0.70, *spread).tolerance > 0.05        # what is forgotten has their band


def test_a_limit_on_usefulness_that_was_typed_as_a_band_is_one():
    references = [{"test_accuracy": value} for value in (0.89, 0.90, 0.91)]
    assert verdict("test_accuracy=reference", test_accuracy=0.88, reference=references).exit_code == 0
    assert verdict("test_accuracy=reference", test_accuracy=0.70, reference=references).exit_code == 1
