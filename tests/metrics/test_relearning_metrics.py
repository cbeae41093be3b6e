"""How soon the forgotten is known again, from curves."""

import pytest
import torch
from said import said

from unlearn_cli.metrics import relearning
from unlearn_cli.metrics.registry import Curves, Evidence, known, measure
from unlearn_cli.metrics.report import Measure

NAMES = ("relearn_steps", "anamnesis_index", "relearn_area", "revived_accuracy")
STEPS = [0, 10, 20, 40]
KNOWN = [[0.9, 0.9, 0.9, 0.9]]


def evidence(curves=None, forgotten=(0,)):
    index = torch.arange(4)
    return Evidence(said(torch.randn(4, 3)), index % 3, {"forget": index}, forgotten, curves=curves or {})


def few(own, *references, original=KNOWN, steps=STEPS):
    return evidence({"few_shot": Curves(steps, own, original, [[r] if isinstance(r[0], float) else r for r in references])})


def found(name, given) -> Measure:
    return measure(given, [name])[name]


def index(own, *references, **given):
    return found("anamnesis_index", few([own], *references, **given))


def test_the_index_is_the_ratio_of_the_first_steps_within_five_points_of_the_original():
    ratio = index([0.0, 0.85, 0.9, 0.9], [0.0, 0.2, 0.849, 0.86])
    assert ratio.value == 10 / 40
    assert (ratio.detail["steps"], ratio.detail["reference_steps"], ratio.detail["goal"]) == (10, 40, pytest.approx(0.85))
    assert index([0.0, 0.2, 0.3, 0.86], [0.0, 0.85, 0.9, 0.9]).value == 4
    assert index([0.0, 0.2, 0.86, 0.3], [0.0, 0.2, 0.86, 0.9]).value == 1


def test_the_originals_own_accuracy_before_any_step_is_what_counts():
    assert index([0.0, 0.5, 0.9, 0.9], [0.0, 0.5, 0.6, 0.9], original=[[0.5, 1.0, 1.0, 1.0]]).value == 1


def test_a_model_that_needs_no_step_has_zero():
    assert index([0.86, 0.9, 0.9, 0.9], [0.0, 0.2, 0.9, 0.9]).value == 0


def test_a_reference_that_needs_no_step_gives_one_or_no_number():
    assert index([0.9, 0.9, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9]).value == 1
    ratio = index([0.0, 0.9, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9])
    assert ratio.value is None
    assert "infinite" in ratio.reason
    ratio = index([0.0, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9])
    assert "infinite" in ratio.reason


def test_a_model_that_never_relearns_gives_a_bound_from_below():
    ratio = index([0.0, 0.1, 0.2, 0.3], [0.0, 0.2, 0.9, 0.9])
    assert (ratio.value, ratio.more_than) == (2, True)
    assert "steps" not in ratio.detail


def test_a_reference_that_never_relearns_gives_a_bound_from_above():
    ratio = index([0.0, 0.9, 0.9, 0.9], [0.0, 0.1, 0.2, 0.3], [0.0, 0.1, 0.9, 0.9])
    assert (ratio.value, ratio.more_than, ratio.at_most) == (10 / 30, False, True)
    assert "at most" in ratio.detail["note"]
    assert ratio.detail["reference_never"] == 1
    assert not index([0.0, 0.9, 0.9, 0.9], [0.0, 0.1, 0.9, 0.9]).at_most


def test_no_step_at_all_is_zero_whatever_the_reference_needs():
    ratio = index([0.9, 0.9, 0.9, 0.9], [0.0, 0.1, 0.2, 0.3])
    assert (ratio.value, ratio.at_most) == (0, False)


def test_an_original_that_never_knew_it_shows_nothing():
    for name in ("anamnesis_index", "relearn_steps"):
        assert "too little" in found(name, few([[0.9] * 4], [0.9] * 4, original=[[0.05] * 4])).reason
        assert found(name, few([[0.9] * 4], [0.9] * 4, original=[[0.06] * 4])).value is not None


def test_steps_are_the_first_look_near_the_original_and_more_than_the_last_where_there_is_none():
    seeds = [[0.0, 0.8, 1.0, 0.5], [0.0, 0.6, 0.8, 0.7]]
    steps = found("relearn_steps", few(seeds))
    assert (steps.value, steps.more_than) == (20, False)
    assert steps.detail["steps"] == STEPS
    assert steps.detail["curve"] == pytest.approx([0, 0.7, 0.9, 0.6])
    assert (steps.detail["curve_1"], steps.detail["curve_2"]) == tuple(seeds)
    assert steps.detail["highest"] == pytest.approx((1.0 + 0.8) / 2)
    assert steps.detail["area"] == pytest.approx((0.35 + 0.8 + 2 * 0.75) / 4)
    never = found("relearn_steps", few([[0.0, 0.1, 0.2, 0.3]]))
    assert (never.value, never.more_than) == (40, True)
    assert "curve_1" not in never.detail


def test_when_neither_relearns_there_is_no_index():
    ratio = index([0.0, 0.1, 0.2, 0.3], [0.0, 0.1, 0.2, 0.3])
    assert ratio.reason == "neither this model nor the reference relearned in 40 steps"


def test_steps_are_averaged_over_references_and_curves_over_seeds():
    assert index([0.0, 0.9, 0.9, 0.9], [0.0, 0.2, 0.9, 0.9], [0.0, 0.2, 0.3, 0.9]).value == 10 / 30
    seeds = [[0.0, 1.0, 1.0, 1.0], [0.0, 0.6, 0.7, 0.7]]      # the mean reaches 0.85 at 20
    assert found("anamnesis_index", few(seeds, [0.0, 0.2, 0.3, 0.9])).value == 20 / 40


def area(own, *references, original=KNOWN):
    return found("relearn_area", few([own], *references, original=original))


def test_the_area_is_zero_for_the_reference_one_for_the_original_and_worked_by_hand_between():
    """Trapezoids over 10, 10 and 20 of 40 steps: (0.2 + 0.5 + 2·0.7) / 4 = 0.525 against 0.225 and 0.9."""
    own, reference = [0.0, 0.4, 0.6, 0.8], [0.0, 0.0, 0.2, 0.6]
    assert area(own, reference).detail["own"] == pytest.approx((0.2 + 0.5 + 2 * 0.7) / 4)
    assert area(own, reference).value == pytest.approx((0.525 - 0.225) / (0.9 - 0.225))
    assert area(reference, reference).value == 0
    assert area(KNOWN[0], reference).value == 1


def test_the_area_is_torchs_trapezoid():
    own = torch.rand(4, dtype=torch.float64)
    mine = area(own.tolist(), [0.0] * 4).detail["own"]
    assert mine == pytest.approx((torch.trapezoid(own, torch.tensor(STEPS, dtype=torch.float64)) / 40).item(), rel=1e-12)


def test_an_original_whose_curve_is_hardly_above_the_references_gives_no_area():
    assert "too close" in area([0.5] * 4, [0.88] * 4).reason
    assert area([0.5] * 4, [0.86] * 4).value is not None


def test_one_look_is_an_area_too():
    assert found("relearn_area", few([[0.45]], [0.0], original=[[0.9]], steps=[0])).value == 0.5


def test_for_listed_images_the_area_is_that_of_training_on_retain_images_alone():
    curves = {"few_shot": Curves(STEPS, [[0.0] * 4], KNOWN, [[[0.0] * 4]]), "retain": Curves(STEPS, KNOWN, KNOWN, [[[0.5] * 4]])}
    assert found("relearn_area", evidence(curves, forgotten=())).value == 1
    assert found("relearn_area", evidence(curves)).value == 0


def test_revived_is_the_highest_accuracy_without_any_forgotten_image_averaged_over_seeds():
    curves = {"retain": Curves(STEPS, [[0.0, 0.9, 0.4, 0.3], [0.0, 0.1, 0.2, 0.5]])}
    revived = found("revived_accuracy", evidence(curves))
    assert revived.value == pytest.approx(0.7)
    assert revived.detail["before"] == 0
    assert revived.detail["curve"] == pytest.approx([0, 0.5, 0.3, 0.4])
    assert found("revived_accuracy", evidence({"retain": Curves(STEPS, [[0.0] * 4])})).value == 0


def test_without_curves_or_models_to_compare_with_there_is_a_reason():
    assert all("`unlearn relearn --attack" in measured.reason for measured in measure(evidence(), NAMES).values())
    for name in NAMES[:3]:
        assert found(name, few(KNOWN, original=None)).reason == "needs the original model"
    for name in NAMES[1:3]:
        assert found(name, few(KNOWN)).reason == "needs a reference model"
    assert found("relearn_steps", few(KNOWN)).value == 0


def test_where_no_curve_can_be_drawn_the_reason_is_passed_on():
    given = evidence({"few_shot": "one image", "retain": "no images"})
    assert [measured.reason for measured in measure(given, NAMES).values()] == ["one image"] * 3 + ["no images"]


def test_the_short_training_counts_as_the_revival_where_both_were_made():
    curves = {"retain": Curves(STEPS, [[0.0, 0.0, 0.0, 0.8]]), "revival": Curves([0, 5], [[0.0, 0.1]])}
    assert found("revived_accuracy", evidence(curves)).value == 0.1


@pytest.mark.parametrize("kind", ["classes", "images"])
def test_every_metric_of_curves_comes_from_an_attack_that_says_so(kind):
    by_arm = {arm: relearning.measured_by(arm, kind) for arm in ("few_shot", "retain")}
    named = [name for names in by_arm.values() for name in names]
    assert sorted(named) == sorted(NAMES)
    forgotten = (0,) if kind == "classes" else ()
    for arm, names in by_arm.items():
        given = evidence({arm: Curves(STEPS, [[0.0] * 4], KNOWN, [[[0.0, 0.5, 0.5, 0.9]]])}, forgotten)
        assert {name for name, measured in measure(given, NAMES).items() if measured.value is not None} == set(names)
    assert set(NAMES) == {name for name, metric in known().items() if {"curves", "revival"} & set(metric.needs)}


def test_a_table_of_curves_has_some_looks_and_the_programs_have_all():
    steps = list(range(0, 501, 10))
    flat = Curves(steps, [[0.5] * 51, [0.7] * 51])
    rising = Curves(steps, [[step / 500 for step in steps]])
    series = relearning.series("few_shot", "accuracy", [flat, rising])
    assert series.shown == ["0", "10", "20", "50", "100", "200", "500", "area", "highest"]
    assert series.places == [*map(str, steps), "area", "highest"]
    assert series.values[0] == pytest.approx([0.6] * 53)
    assert series.values[1] == pytest.approx([step / 500 for step in steps] + [0.5, 1])
    assert relearning.series("retain", "accuracy", [Curves([0, 5], [[0.1, 0.2]])]).shown == ["0", "5", "area", "highest"]


def test_what_was_measured_in_epochs_is_passed_on():
    given = Evidence(said(torch.randn(4, 3)), torch.arange(4) % 3, {}, (0,), relearn=Measure(7.0))
    assert measure(given, ["relearn_epochs"])["relearn_epochs"].value == 7
    assert found("relearn_epochs", evidence()).reason == "`unlearn relearn` measures it"
