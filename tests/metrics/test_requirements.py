"""Limits as typed."""

import pytest

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.policy import limits
from unlearn_cli.metrics.requirements import check_measurable, parse


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
        ("activation_distance<=0.1", (False, True, ["classes"]), "activation_distance needs a ref", "--reference FILE"),
        ("membership_auc=reference±0.1", (False, True, ["classes"]), "needs a reference model", "--reference FILE"),
        ("test_accuracy>=original-0.1", (True, False, ["classes"]), "needs the original model", "--original FILE"),
        ("unlearning_score>=0.9", (True, True, ["images"]), "for requests that name classes only", "leave this limit out"),
        ("relearn_epochs>=5", (True, True, ["classes"]), "relearn_epochs is not measured here", "`unlearn relearn`"),
    ],
)
def test_what_can_never_be_measured_is_a_mistake_said_before_measuring(limit, given, problem, hint):
    with pytest.raises(UnlearnError) as caught:
        check_measurable(parse([limit]), *given)
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    check_measurable(parse([limit]), True, True, ["classes"], has_relearn=True)


@pytest.mark.parametrize("limit", [
    "forget_test_accuracy<=1", "forget_test_accuracy<=1.0", "forget_test_accuracy>=0", "forget_accuracy>=0.00",
    "forget_accuracy=0.5±0.5", "forget_accuracy=0.3±0.7", "forget_accuracy=reference±1", "forget_accuracy<=original+1",
    "forget_accuracy>=reference-1", "relearn_epochs>=0", "forget_seconds>=0",
])  # fmt: skip
def test_a_limit_that_no_value_could_miss_is_refused(limit):
    with pytest.raises(UnlearnError, match="can never be missed: .* is at least 0"):
        parse([limit])


@pytest.mark.parametrize("limit", ["forget_accuracy<0", "forget_accuracy>1", "forget_accuracy<reference-1", "forget_seconds<0",
                                   "forget_accuracy>original+1"])  # fmt: skip
def test_a_limit_that_no_value_could_meet_is_refused(limit):
    with pytest.raises(UnlearnError, match="can never be met: .* is at least 0"):
        parse([limit])


@pytest.mark.parametrize("limit", [
    "forget_accuracy<=0.99", "forget_accuracy<1", "forget_accuracy>0", "forget_accuracy>=0.01", "forget_accuracy=0.5±0.49",
    "forget_accuracy=reference±0.99", "forget_accuracy<=original+0.99", "forget_accuracy>=reference-0.99", "forget_accuracy<=0",
    "forget_accuracy>=1", "relearn_epochs>0", "forget_seconds<=1000000", "activation_distance<=1.4", "forget_accuracy=reference",
    "forget_accuracy<reference", "forget_accuracy<original+1", "forget_accuracy>=reference+1",
])  # fmt: skip
def test_a_limit_just_inside_is_judged(limit):
    assert parse([limit])[0].text == limit


@pytest.mark.parametrize(("first", "second"), [
    ("forget_accuracy<=0.1", "forget_accuracy<=0.1"), ("forget_accuracy<=0.1", " forget_accuracy <= 1e-1"),
    ("forget_accuracy=reference±0.1", "forget_accuracy==reference +- 0.10"), ("relearn_epochs>=5", "relearn_epochs>=5.0"),
])  # fmt: skip
def test_the_same_limit_twice_is_refused(first, second):
    with pytest.raises(UnlearnError, match=f"the limit '{first.split('±')[0]}.*is given twice"):
        parse([first, "test_accuracy>=0.5", second])


@pytest.mark.parametrize(("first", "second"), [
    ("forget_accuracy<=0.1", "forget_accuracy<=0.01"), ("forget_accuracy<=0.1", "forget_accuracy<0.1"),
    ("test_accuracy>=reference-0.1", "test_accuracy>=reference-0.01"), ("forget_accuracy=0.2±0.1", "forget_accuracy=0.3"),
    ("forget_accuracy=reference", "forget_accuracy=reference±0.1"),
])  # fmt: skip
def test_a_looser_limit_beside_a_stricter_one_is_refused_and_both_are_named(first, second):
    for one, other in ((first, second), (second, first)):
        with pytest.raises(UnlearnError) as caught:
            parse([one, other])
        assert first in caught.value.problem and second in caught.value.problem


@pytest.mark.parametrize("limits", [
    ("forget_accuracy<=0.3", "forget_accuracy>=0.1"), ("forget_accuracy<=0.1", "forget_accuracy<=reference+0.1"),
    ("test_accuracy>=original-0.1", "test_accuracy>=reference-0.1"), ("forget_accuracy<=0.1", "forget_test_accuracy<=0.1"),
])  # fmt: skip
def test_limits_that_say_different_things_stand_together(limits):
    assert [limit.text for limit in parse(limits)] == list(limits)


def test_the_built_in_limits_can_be_missed_and_met():
    for kind in ("classes", "images"):
        for references in (0, 1, 3):
            assert limits("full", kind, references)


def test_a_limit_of_the_built_in_policy_may_be_typed_as_well():
    built_in = limits("full", "classes", 1)
    assert parse([built_in[0].text])[0].metric == built_in[0].metric
