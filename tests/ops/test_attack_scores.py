"""The scores against their formulas in 80-digit arithmetic, at their limits, and against the two published mistakes."""

from decimal import Decimal, localcontext
from math import inf, log

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.ops import attack_scores
from unlearn_cli.ops.attack_scores import (
    confidence,
    log_confidence,
    margin,
    negative_entropy,
    negative_modified_entropy,
)

NAMES = ("margin", "confidence", "negative_entropy", "negative_modified_entropy")


def random(n=40, k=5, scale=1.0, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, k, generator=draws), torch.randint(k, (n,), generator=draws)


def by_the_book(logits, label):
    z = [Decimal(value) for value in logits.tolist()]
    powers = [value.exp() for value in z]
    p = [power / sum(powers) for power in powers]
    wrong = [1 - value for value in p]
    others = [k for k in range(len(p)) if k != label]
    return {
        "margin": p[label].ln() - wrong[label].ln(),
        "confidence": p[label],
        "negative_entropy": sum(value * value.ln() for value in p),
        "negative_modified_entropy": wrong[label] * p[label].ln() + sum(p[k] * wrong[k].ln() for k in others),
    }


@pytest.mark.parametrize("scale", [0.1, 1, 10, 30])
def test_scores_agree_with_their_formulas_to_twelve_digits(scale):
    logits, labels = random(scale=scale)
    with localcontext(prec=80):
        books = [by_the_book(row, label) for row, label in zip(logits, labels.tolist())]
    for name in books[0]:
        expected = torch.tensor([float(book[name]) for book in books], dtype=torch.float64)
        found = getattr(attack_scores, name)(logits, labels)
        assert found.dtype == torch.float64
        assert_close(found, expected, rtol=1e-12, atol=0)


def test_minus_the_log_of_the_confidence_is_the_loss():
    logits, labels = random(scale=5)
    expected = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    assert_close(-log_confidence(margin(logits, labels)), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["margin", "negative_entropy", "negative_modified_entropy"])
def test_images_keep_their_order_where_every_probability_rounds_to_one(name):
    logits = torch.zeros(6, 3)
    logits[:, 1] = torch.tensor([40.0, 50, 90, 200, 300, 350])
    labels = torch.ones(6, dtype=torch.int64)
    assert (logits.double().softmax(1)[:, 1] == 1).all()
    scores = getattr(attack_scores, name)(logits, labels)
    assert (scores.diff() > 0).all()


def test_a_certain_right_prediction_has_no_modified_entropy_and_a_certain_wrong_one_infinitely_much():
    logits = torch.tensor([[0.0, -inf, -inf], [-inf, 0.0, -inf], [200.0, 0.0, 0.0], [-1e30, 0.0, 0.0]])
    scores = negative_modified_entropy(logits, torch.zeros(4, dtype=torch.int64))
    assert scores[0] == 0
    assert scores[1] == -inf
    assert -1e-80 < scores[2] < 0
    assert scores[3] < -9e29
    assert negative_entropy(logits, None)[:2].tolist() == [0, 0]      # the plain one cannot tell right from wrong


def test_the_modified_entropy_of_two_equal_classes_is_ln_two():
    assert negative_modified_entropy(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(-log(2), abs=1e-15)
    assert negative_entropy(torch.zeros(1, 8), None).item() == pytest.approx(-log(8), abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_same_score_alone_and_in_any_batch(name):
    logits, labels = random(12)
    score = getattr(attack_scores, name)
    alone = torch.cat([score(logits[i : i + 1], labels[i : i + 1]) for i in range(12)])
    assert_close(score(logits, labels), alone, rtol=1e-13, atol=1e-15)


def test_the_modified_entropy_is_not_what_the_copied_code_gives():
    logits, labels = random(12)
    p = logits.double().softmax(1)
    own = p.gather(1, labels[:, None])[:, 0]
    rest = torch.where(torch.nn.functional.one_hot(labels, 5).bool(), 0, p)
    right = (1 - own) * own.log() + (rest * (1 - p).log()).sum(1)
    log_p_for_log_one_minus_p = (1 - own) * own.log() + (rest * p.log()).sum(1)
    whole_batch = p.clone()
    whole_batch[:, labels] = 1 - p[:, labels]
    columns = p.log().clone()
    columns[:, labels] = (1 - p).log()[:, labels]
    all_label_columns = (whole_batch * columns).sum(1)
    found = negative_modified_entropy(logits, labels)
    assert_close(found, right, rtol=1e-12, atol=1e-14)
    for wrong in (log_p_for_log_one_minus_p, all_label_columns):
        assert ((found - wrong).abs() > 1e-3).any()


@pytest.mark.parametrize(
    ("row", "label", "log_odds"),
    [
        ([-inf, 1.0, 0.0], 0, -inf), ([1.0, -inf, -inf], 0, inf), ([1e30, 0.0, 0.0], 0, 1e30), ([1e30, 0.0, 0.0], 1, -1e30),
        ([-1e30, 0.0, -inf], 1, 1e30), ([3e38, 3e38, -3e38], 0, 0.0), ([7.0], 0, inf),
    ],
)  # fmt: skip
def test_extreme_logits_give_scores_that_are_numbers(row, label, log_odds):
    logits, labels = torch.tensor([row]), torch.tensor([label])
    assert margin(logits, labels).item() == pytest.approx(log_odds, rel=1e-6)
    assert 0 <= confidence(logits, labels).item() <= 1
    for name in NAMES:
        assert not getattr(attack_scores, name)(logits, labels).isnan().any()


@pytest.mark.parametrize("name", NAMES)
def test_a_shift_of_all_logits_changes_no_score(name):
    logits, labels = random(scale=2)
    score = getattr(attack_scores, name)
    assert_close(score(logits.double() + 300, labels), score(logits, labels), rtol=1e-9, atol=1e-12)
