from math import log

import pytest
import torch
from said import said
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from unlearn_cli.metrics.registry import Evidence, measure

NAMES = ["prediction_entropy", "prediction_share", "prediction_divergence", "mean_entropy"]
STREISAND = "Streisand check"


def calling(predicted, k=4, sure=10.0):
    return sure * torch.eye(k)[torch.as_tensor(predicted)]


def found(own, *references, forgotten=(0,), **splits):
    """Every image of `own` is to be forgotten, unless splits are given."""
    splits = {name: torch.as_tensor(index) for name, index in splits.items()} or {"forget": torch.arange(len(own))}
    labels = torch.zeros(len(own), dtype=torch.int64)
    given = Evidence(said(own), labels, splits, forgotten, references=[said(logits) for logits in references])
    return measure(given, NAMES)


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_distribution_of_predictions_is_counted_with_its_entropy_and_its_largest_part():
    measures = found(calling([1, 1, 1, 1, 2, 2, 3, 0]))
    assert measures["prediction_entropy"].detail["distribution"] == [0.125, 0.5, 0.25, 0.125]
    assert measures["prediction_entropy"].value == pytest.approx(entropy([0.5, 0.25, 0.125, 0.125]) / log(3), abs=1e-12)
    assert measures["prediction_share"].value == 0.5
    assert measures["prediction_share"].detail == {"n": 8, "class": 1}


def test_prediction_entropy_is_one_when_spread_over_the_retained_and_zero_in_one_class():
    assert found(calling([1, 2, 3] * 5))["prediction_entropy"].value == pytest.approx(1, abs=1e-12)
    assert found(calling([2] * 5))["prediction_entropy"].value == 0
    assert found(calling([0, 1, 2, 3] * 5))["prediction_entropy"].value == pytest.approx(log(4) / log(3), abs=1e-12)
    assert found(calling([0, 1, 2, 3] * 5), forgotten=())["prediction_entropy"].value == pytest.approx(1, abs=1e-12)


def test_where_one_class_is_left_there_is_no_entropy_to_normalise():
    assert found(calling([0, 1, 1], 2))["prediction_entropy"].reason == "fewer than two classes are retained"
    assert found(calling([0, 1, 1], 2), forgotten=())["prediction_entropy"].value < 1
    single = found(torch.zeros(4, 1), forgotten=())
    assert single["mean_entropy"].reason == "there is one class only"
    assert single["prediction_share"].value == 1


def test_test_images_of_the_class_are_reported_beside_its_training_images():
    measures = found(calling([1, 1, 2, 2, 3, 3, 3, 3]), forget=[0, 1, 2, 3], forget_test=[4, 5, 6, 7])
    assert (measures["prediction_share"].value, measures["prediction_share"].detail["forget_test"]) == (0.5, 1)
    assert measures["prediction_entropy"].value == pytest.approx(log(2) / log(3), abs=1e-12)
    assert measures["prediction_entropy"].detail["forget_test"] == 0


def test_prediction_divergence_agrees_with_scipy_and_is_averaged():
    own, near, far = [1, 1, 2, 3], [1, 1, 2, 2], [0, 0, 0, 0]
    measure_of = found(calling(own), calling(near), calling(far))["prediction_divergence"]
    shares = [[0, 0.5, 0.25, 0.25], [0, 0.5, 0.5, 0], [1, 0, 0, 0]]
    expected = [jensenshannon(shares[0], other) ** 2 for other in shares[1:]]
    assert measure_of.value == pytest.approx(sum(expected) / 2, abs=1e-12)
    assert measure_of.detail == {"n": 4, "references": 2}


def test_prediction_divergence_compares_shares_and_not_single_images():
    assert found(calling([1, 2, 3]), calling([2, 3, 1]))["prediction_divergence"].value == 0
    assert found(calling([1, 1]), calling([2, 2]))["prediction_divergence"].value == pytest.approx(log(2), abs=1e-15)
    assert found(calling([1, 1]))["prediction_divergence"].reason == "needs a reference model"
    assert found(calling([1, 1]), calling([1, 1], 5))["prediction_divergence"].reason == "a reference model has other classes"


def test_mean_entropy_agrees_with_scipy():
    logits = normal(30, 4, scale=2)
    expected = entropy(logits.double().softmax(1).numpy(), axis=1, base=4)
    measured = found(logits, forget=range(10), retain=range(10, 20), test=range(20, 30))["mean_entropy"]
    assert measured.value == pytest.approx(expected[:10].mean(), abs=1e-12)
    assert measured.detail["retain"] == pytest.approx(expected[10:20].mean(), abs=1e-12)
    assert measured.detail["test"] == pytest.approx(expected[20:].mean(), abs=1e-12)
    counts = [sum(int(10 * value) == i for value in expected[:10]) / 10 for i in range(10)]
    assert measured.detail["histogram"] == pytest.approx(counts)
    assert sum(measured.detail["retain_histogram"]) == pytest.approx(1)


def test_mean_entropy_is_zero_for_certain_and_one_for_constant_outputs():
    certain, guessing = found(1e30 * calling([1, 2, 3]))["mean_entropy"], found(torch.zeros(3, 4))["mean_entropy"]
    assert (certain.value, certain.detail["histogram"]) == (0, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert guessing.value == pytest.approx(1, abs=1e-12)
    assert guessing.detail["histogram"][9] == 1


def test_a_masked_class_leaves_entropies_that_are_numbers():
    masked = torch.zeros(5, 4)
    masked[:, 0] = -torch.inf
    assert found(masked)["mean_entropy"].value == pytest.approx(log(3) / log(4), abs=1e-12)


@pytest.mark.parametrize(
    ("own", "references", "flagged"),
    [
        ([2, 2, 2, 1], [[1, 2, 3, 1]], True),
        ([2, 2, 2, 1], [[1, 1, 1, 1]], False),                      # the retrained model does so too
        ([2, 2, 2, 1], [[1, 2, 3, 1], [1, 1, 1, 1]], False),        # or one of them
        ([2, 2, 3, 1], [[1, 2, 3, 1]], False),                      # exactly half
        ([2, 2, 2, 1], [], False),
    ],
)  # fmt: skip
def test_one_class_for_most_of_the_forget_set_is_a_caution_unless_a_reference_has_it_too(own, references, flagged):
    detail = found(calling(own), *map(calling, references))["prediction_share"].detail
    assert (STREISAND in detail.get("note", "")) == flagged


@pytest.mark.parametrize(
    ("own", "references", "flagged"),
    [(0, [9], True), (9, [0], True), (0, [9, 0], False), (0, [0], False), (0, [1], False), (0, [], False)],
)
def test_an_entropy_far_from_every_references_is_a_caution(own, references, flagged):
    detail = found(calling([1, 2, 3], sure=own), *(calling([1, 2, 3], sure=sure) for sure in references))["mean_entropy"].detail
    assert (STREISAND in detail.get("note", "")) == flagged


@pytest.mark.parametrize(("guessed", "flagged"), [(4, False), (6, True)])
def test_entropies_are_far_apart_from_a_quarter_of_the_largest_on(guessed, flagged):
    certain, other = calling([1] * 20, sure=1e4), calling([1] * 20, sure=1e4)
    other[:guessed] = 0                                         # a share of guesses is the mean entropy
    measured = found(certain, other)["mean_entropy"]
    assert measured.value == 0
    assert ("note" in measured.detail) == flagged


def test_a_retrained_model_beside_retrained_ones_gets_no_caution():
    one, two, three = (calling([1, 2, 3] * 20, sure=2) + normal(60, 4, seed=seed) for seed in (1, 2, 3))
    assert not any("note" in value.detail for value in found(one, two, three).values())


def test_a_reference_of_other_classes_is_not_part_of_the_check():
    measures = found(calling([2, 2, 2, 1]), calling([1, 2, 3, 4], 5))
    assert "note" not in measures["prediction_share"].detail
    assert measures["prediction_share"].value == 0.75


def test_nothing_to_forget_is_a_reason():
    assert {value.reason for value in found(torch.zeros(3, 4), torch.zeros(3, 4), test=[0, 1]).values()} == {
        "there are no images to forget"
    }
