"""What the built-in policy says of a row: from judged limits, and of several seeds together."""

from unlearn_cli.metrics.policy import limits
from unlearn_cli.metrics.report import Measure, Row, Standing
from unlearn_cli.metrics.standing import said, standings, together, word
from unlearn_cli.metrics.verdict import judge

GOOD = {"forget_accuracy": 0.0, "forget_test_accuracy": 0.0, "retain_test_accuracy": 0.9, "membership_auc": 0.5,
        "separation_recovery": 0.1, "revived_accuracy": 0.0}  # fmt: skip


def judged(**changed):
    values = GOOD | changed
    own = {name: Measure(value, "" if value is not None else "no images") for name, value in values.items()}
    reference = {name: Measure(value) for name, value in GOOD.items()}
    return standings(judge(limits("full", "classes", 1), own, [reference]).limits)


def test_a_level_is_held_when_every_limit_of_it_is():
    assert judged() == {"output": Standing("held", 1, 1), "feature": Standing("held", 1, 1)}


def test_a_level_fails_by_its_first_missed_limit_and_the_other_level_does_not():
    found = judged(separation_recovery=0.9, revived_accuracy=0.8)
    assert found["output"] == Standing("held", 1, 1)
    assert found["feature"].outcome == "failed"
    assert found["feature"].reason == "separation_recovery is 0.9000, the limit is <= 0.5 (2 of 2 limits not met)"
    assert judged(revived_accuracy=0.8)["feature"].reason.startswith("revived_accuracy is 0.8000, the limit is <= 0.05 (1 of 2")


def test_a_missed_limit_counts_before_one_that_could_not_be_judged():
    assert judged(separation_recovery=None)["feature"].outcome == "not shown"
    assert "separation_recovery could not be judged: no images" in judged(separation_recovery=None)["feature"].reason
    both = judged(separation_recovery=None, revived_accuracy=0.8)["feature"]
    assert both.outcome == "failed"
    assert both.reason.startswith("revived_accuracy is 0.8000") and "2 of 2" in both.reason


def test_seeds_are_counted_and_one_that_fails_is_enough():
    good, bad, unknown = judged(), judged(revived_accuracy=0.8), judged(separation_recovery=None)
    assert together([good, good])["feature"] == Standing("held", 2, 2)
    assert together([good, bad, good])["feature"] == Standing("failed", 2, 3, bad["feature"].reason)
    assert together([good, unknown])["feature"].outcome == "not shown"
    assert together([unknown, bad])["feature"].reason == bad["feature"].reason
    assert together([good, bad])["output"] == Standing("held", 2, 2)
    assert together([bad]) == bad


def test_a_cell_has_the_outcome_or_the_share_of_seeds():
    assert word(Standing("not shown", 0, 1, "no images")) == "not shown"
    assert word(Standing("failed", 2, 3, "x")) == "2/3"
    assert word(Standing("held", 3, 3)) == "3/3"


def test_the_line_names_the_row_its_levels_and_the_number():
    row = Row("lau", "unlearned", {}, {"output": Standing("held", 3, 3), "feature": Standing("failed", 0, 3, "x is 1")})
    assert said(row) == "lau: output held (3/3); feature failed (0/3): x is 1"
    row = Row("a.safetensors", "reference", {}, {"output": Standing("held", 1, 1)})
    assert said(row) == "a.safetensors: output held"
