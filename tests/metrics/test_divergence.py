import pytest
import torch
from said import said

from unlearn_cli.metrics.registry import Evidence, measure


def distance(own, *references):
    index = torch.arange(len(own))
    given = Evidence(said(own), torch.zeros_like(index), {"forget": index}, references=[said(logits) for logits in references])
    return measure(given, ["activation_distance"])["activation_distance"]


def test_activation_distance_of_the_worked_example():
    assert distance(torch.tensor([[2.0, 1, 0]]), torch.tensor([[0.0, 1, 2]])).value == pytest.approx(0.813470, abs=5e-7)


def test_activation_distance_to_oneself_is_zero():
    logits = torch.randn(20, 5)
    assert distance(logits, logits).value == 0


def test_activation_distance_ignores_a_shift_of_all_logits_and_reaches_root_two():
    logits = torch.randn(20, 5)
    assert distance(logits, logits + 7).value == pytest.approx(0, abs=1e-6)
    assert distance(1e4 * torch.eye(3), 1e4 * torch.eye(3).roll(1, 0)).value == pytest.approx(2**0.5)


def test_activation_distance_is_averaged_over_references():
    own, near, far = torch.randn(3, 20, 5)
    one, two = distance(own, near).value, distance(own, far).value
    assert distance(own, near, far).value == pytest.approx((one + two) / 2)


def test_without_a_reference_there_is_no_distance():
    assert distance(torch.randn(4, 3)).reason == "needs a reference model"
