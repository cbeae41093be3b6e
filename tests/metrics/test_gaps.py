"""Average gap and tug of war: exact on counted images, and at their ends for a model against itself."""

from dataclasses import replace

import pytest
import torch
from said import said

from unlearn_cli.metrics.registry import Evidence, measure

NAMES = ["average_gap", "tug_of_war"]
N = 400
LABELS = torch.arange(N) % 4
TRAIN, TEST = torch.arange(N - 100), torch.arange(N - 100, N)
SPLITS = {
    "train": TRAIN, "test": TEST,
    "forget": TRAIN[LABELS[TRAIN] == 0], "retain": TRAIN[LABELS[TRAIN] != 0],
    "forget_test": TEST[LABELS[TEST] == 0], "retain_test": TEST[LABELS[TEST] != 0],
}  # fmt: skip


def outputs(wrong=(), seed=0):
    """Right on every image but the first so many of each split that `wrong` names; surer of training images."""
    draws = torch.Generator().manual_seed(seed)
    logits = torch.rand(N, 4, generator=draws)
    logits[torch.arange(N), LABELS] += 2
    logits[TRAIN, LABELS[TRAIN]] += 1
    for name, count in dict(wrong).items():
        index = SPLITS[name][:count]
        logits[index, LABELS[index]] = -5
    return said(logits)


def evidence(model, *references, forgotten=(0,)):
    return Evidence(model, LABELS, SPLITS, forgotten, references=list(references))


def found(*given, **more):
    measured = measure(evidence(*given, **more), [*NAMES, "membership_efficacy"])
    return [measured[name] for name in NAMES]


def test_a_model_against_itself_has_no_gap_and_a_tug_of_war_of_one():
    own = outputs({"forget": 10, "retain": 3})
    gap, tug = found(own, own)
    assert (gap.value, tug.value) == (0, 1)
    assert gap.detail["with_all_test_images"] == 0 and tug.detail["with_all_test_images"] == 1
    other, nearer = found(own, outputs())
    assert other.value > 0 and nearer.value < 1


def test_they_are_the_mean_and_the_product_of_counted_distances():
    model, reference = outputs(), outputs({"forget": 75, "retain": 45, "retain_test": 15, "forget_test": 20})
    gap, tug = found(model, reference)
    distances = {"forget_accuracy": 1.0, "retain_accuracy": 0.2, "retain_test_accuracy": 0.2}
    assert {name: gap.detail[name] for name in distances} == pytest.approx(distances)
    efficacy = [measure(evidence(each), ["membership_efficacy"])["membership_efficacy"].value for each in (model, reference)]
    assert gap.detail["membership_efficacy"] == abs(efficacy[0] - efficacy[1])
    assert gap.value == pytest.approx((1.0 + 0.2 + 0.2 + abs(efficacy[0] - efficacy[1])) / 4)
    assert tug.value == 0
    near, _ = found(outputs({"forget": 60}), reference)
    assert near.detail["forget_accuracy"] == pytest.approx(0.2)
    tug = found(outputs({"forget": 60}), reference)[1]
    assert tug.value == pytest.approx(0.8 * 0.8 * 0.8)
    assert tug.detail["with_all_test_images"] == pytest.approx(0.8 * 0.8 * 0.65)      # 35 of 100 test images are missed


def test_of_several_references_the_mean_of_their_values_counts():
    model = outputs({"forget": 30})
    low, high = outputs({"forget": 15}), outputs({"forget": 45})
    gap, tug = found(model, low, high)
    assert gap.detail["references"] == 2
    assert gap.detail["forget_accuracy"] == pytest.approx(0) and tug.value == pytest.approx(1)
    assert found(model, low)[1].value == pytest.approx(0.8)
    assert found(model, low, low)[1].value == pytest.approx(0.8)


def test_a_request_of_images_has_them_too_and_needs_no_test_images_of_a_class():
    splits = SPLITS | {"forget_test": torch.arange(0), "retain_test": TEST}
    given = replace(evidence(outputs({"forget": 15}), outputs(), forgotten=()), splits=splits)
    measured = measure(given, NAMES)
    assert measured["tug_of_war"].value == pytest.approx(0.8)
    assert measured["average_gap"].value is not None


@pytest.mark.parametrize("name", NAMES)
def test_without_a_number_there_is_a_reason(name):
    def reason(given):
        value = measure(given, [name])[name]
        assert value.value is None
        return value.reason

    assert reason(evidence(outputs())) == "needs a reference model"
    assert reason(evidence(outputs(), said(torch.zeros(N, 7)))) == "a reference model has other classes"
    assert reason(evidence(outputs(), said(torch.full((N, 4), torch.nan)))) == "a reference model's outputs are not finite"
    without = replace(evidence(outputs(), outputs()), splits=SPLITS | {"retain_test": torch.arange(0)})
    assert reason(without) == "there are no test images of retained classes"
    assert measure(evidence(outputs(), outputs()), [name])[name].value is not None


def test_an_attack_that_has_no_number_on_a_reference_leaves_none_for_the_gap_alone():
    gap, tug = found(outputs(), said(torch.zeros(N, 4)))
    assert gap.value is None and gap.reason.startswith("not known of a reference: ")
    assert tug.value is not None
