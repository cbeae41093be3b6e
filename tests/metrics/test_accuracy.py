import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from said import said
from sklearn.metrics import top_k_accuracy_score

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.accuracy import us
from unlearn_cli.metrics.registry import Evidence, measure

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 2])
SPLITS = {
    "train": torch.arange(6), "test": torch.arange(6, 9), "forget": torch.tensor([0, 1]), "retain": torch.arange(2, 6),
    "forget_test": torch.tensor([6]), "retain_test": torch.tensor([7, 8]),
}


def logits_for(predicted):
    return torch.eye(3)[torch.tensor(predicted)]


def evidence(predicted=(0, 2, 1, 1, 2, 0, 1, 1, 2), **given):
    return Evidence(said(logits_for(list(predicted))), LABELS, SPLITS, **({"forgotten": (0,)} | given))


def test_accuracies_are_counts_over_each_split():
    found = measure(evidence())
    assert {name: found[name].value for name in list(found)[:5]} == {
        "forget_accuracy": 0.5, "forget_test_accuracy": 0.0, "retain_accuracy": 0.75, "retain_test_accuracy": 1.0,
        "test_accuracy": 2 / 3,
    }
    assert found["retain_accuracy"].detail == {"correct": 3, "n": 4}


def test_full_test_accuracy_follows_from_its_two_parts():
    found = measure(evidence())
    kept, forgotten = found["retain_test_accuracy"], found["forget_test_accuracy"]
    assert found["test_accuracy"].value * 3 == kept.value * 2 + forgotten.value * 1


def test_top_two_accuracy_agrees_with_scikit_learn_and_is_at_least_the_accuracy():
    logits = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    labels, test = torch.arange(300) % 5, torch.arange(100, 300)
    found = measure(Evidence(said(logits), labels, {"test": test}), ["test_accuracy", "top_two_accuracy"])
    expected = top_k_accuracy_score(labels[test], logits[test].numpy(), k=2)
    assert found["top_two_accuracy"].value == pytest.approx(expected, abs=1e-15)
    assert found["top_two_accuracy"].detail == {"correct": round(expected * 200), "n": 200}
    assert expected > found["test_accuracy"].value


def test_of_equal_logits_the_first_classes_are_the_choices_as_for_the_accuracy():
    given = Evidence(said(torch.zeros(5, 5)), torch.arange(5), {"test": torch.arange(5)})
    found = measure(given, ["test_accuracy", "top_two_accuracy"])
    assert (found["test_accuracy"].value, found["top_two_accuracy"].value) == (0.2, 0.4)
    masked = torch.full((4, 4), -torch.inf)
    masked[:, 3] = 0
    given = Evidence(said(masked), torch.arange(4), {"test": torch.arange(4)})
    assert measure(given, ["top_two_accuracy"])["top_two_accuracy"].value == 0.5


def test_top_two_of_two_classes_says_nothing_and_is_not_reported():
    given = Evidence(said(torch.randn(4, 2)), torch.arange(4) % 2, {"test": torch.arange(4)})
    assert measure(given, ["top_two_accuracy"])["top_two_accuracy"].reason.startswith("with fewer than three classes")
    three = Evidence(said(torch.randn(4, 3)), torch.arange(4) % 2, {"test": torch.arange(0)})
    assert measure(three, ["top_two_accuracy"])["top_two_accuracy"].reason == "there are no test images"


def test_an_empty_split_gives_no_number_but_a_reason():
    given = evidence(forgotten=())
    given.splits["forget_test"], before = torch.arange(0), given.splits["forget_test"]
    found = measure(given, ["forget_test_accuracy", "unlearning_score"])
    given.splits["forget_test"] = before
    assert found["forget_test_accuracy"].value is None
    assert found["forget_test_accuracy"].reason == "there are no test images of forgotten classes"
    assert found["unlearning_score"].reason == "defined for requests that name classes only"


@pytest.mark.parametrize(
    ("kept", "forgotten", "score"),
    [(93.13, 96.6, 0.457547), (93.53, 0, 0.950443), (90, 10, 0.849455), (50, 50, 0.377541)],
)
def test_unlearning_score_has_the_published_values(kept, forgotten, score):
    assert us(kept / 100, forgotten / 100) == pytest.approx(score, abs=5e-7)


def test_unlearning_score_ends_at_zero_and_one_and_is_half_for_the_untouched_and_the_useless():
    assert us(1, 0) == pytest.approx(1)
    assert us(0, 1) == pytest.approx(0)
    assert us(0, 0) == pytest.approx(0.5) == us(1, 1)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_unlearning_score_rises_with_what_is_kept_and_falls_with_what_is_remembered(a, b, other):
    low, high = sorted((a, b))
    assert us(low, other) <= us(high, other)
    assert us(other, high) <= us(other, low)


def test_gap_is_the_mean_of_distances_not_the_distance_of_means():
    both_right, both_wrong = logits_for([0] * 9), logits_for([1] * 9)
    found = measure(evidence(references=[said(both_right), said(both_wrong)]), ["forget_accuracy_gap"])
    assert found["forget_accuracy_gap"].value == 0.5


def test_gap_to_oneself_is_zero_and_without_a_reference_there_is_none():
    own = evidence()
    assert measure(evidence(references=[own.model]), ["forget_accuracy_gap"])["forget_accuracy_gap"].value == 0
    assert measure(own, ["forget_accuracy_gap"])["forget_accuracy_gap"].reason == "needs a reference model"


def test_outputs_that_are_no_numbers_are_an_error_and_not_a_wrong_answer():
    broken = evidence()
    broken.logits[4, 1] = torch.nan
    with pytest.raises(UnlearnError, match="not finite for 1 of 9 images"):
        measure(broken)


def test_a_class_masked_by_minus_infinity_can_be_measured():
    masked = evidence(references=[said(logits_for([1] * 9))])
    masked.logits[:, 0] = -torch.inf
    found = measure(masked)
    assert found["forget_accuracy"].value == 0
    assert found["membership_auc"].value is None
    assert found["activation_distance"].value > 0
