import pytest
import torch
from said import said
from torch import nn

from unlearn_cli.metrics.registry import Evidence, measure

LOGITS = torch.zeros(2, 3)


def found(own, original=None, *references):
    given = Evidence(
        said(LOGITS, weights=own), torch.zeros(2, dtype=torch.int64), {},
        original=None if original is None else said(LOGITS, weights=original),
        references=[said(LOGITS, weights=weights) for weights in references],
    )  # fmt: skip
    measures = measure(given, ["weight_distance", "weights_to_reference"])
    return measures["weight_distance"], measures["weights_to_reference"]


def network(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 3))
    return {name: weight.detach() for name, weight in model.named_parameters()}


@pytest.fixture(autouse=True)
def same_randomness():
    with torch.random.fork_rng():
        yield


def test_distance_is_that_of_all_parameters_as_one_vector():
    own, original = network(1), network(2)
    u, v = (torch.cat([weight.flatten() for weight in weights.values()]).double() for weights in (own, original))
    measured = found(own, original)[0]
    assert measured.value == pytest.approx(torch.dist(u, v).item(), rel=1e-12)
    assert measured.detail["normalised"] == pytest.approx((torch.dist(u, v) / u.norm()).item(), rel=1e-12)


def test_layers_are_modules_and_the_largest_is_named():
    own = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(1), "b.c.weight": torch.zeros(1), "scale": torch.ones(1)}
    moved = {"a.weight": torch.tensor([1.0, 2.0]), "a.bias": torch.tensor([2.0]), "b.c.weight": torch.ones(1)}
    original = own | moved
    measured = found(own, original)[0]
    assert measured.value == pytest.approx(10**0.5, rel=1e-15)
    assert measured.detail == {
        "largest": "a", "largest_distance": 3.0, "layer_names": "a, b.c, scale", "layers": [3.0, 1.0, 0.0],
        "normalised": pytest.approx(10**0.5),
    }  # fmt: skip


def test_an_untouched_model_is_at_zero_and_a_head_only_edit_moves_the_head_alone():
    original = network(1)
    assert found(original, dict(original))[0].value == 0
    edited = dict(original) | {"3.weight": original["3.weight"] + 1}
    measured = found(edited, original)[0]
    assert measured.value == pytest.approx(24**0.5, rel=1e-6)
    assert measured.detail["largest"] == "3"
    assert measured.detail["layers"][:2] == [0, 0]


def test_distance_to_references_is_averaged():
    own, one, two = network(1), network(2), network(3)
    first, second, both = found(own, None, one)[1].value, found(own, None, two)[1].value, found(own, None, one, two)[1]
    assert first != second
    assert both.value == pytest.approx((first + second) / 2)
    assert both.detail == {"references": 2}
    assert first == found(own, one)[0].value


def test_without_the_other_model_there_is_no_distance():
    moved, apart = found(network(1))
    assert moved.reason == "needs the original model"
    assert apart.reason == "needs a reference model"


def test_parameters_that_are_not_in_both_are_left_out_with_a_caution():
    own, other = network(1), network(2)
    other["3.weight"], other["3.bias"] = torch.zeros(5, 8), torch.zeros(5)
    del other["1.bias"]
    for measured in found(own, other, other):
        assert measured.detail["note"] == "3 of 6 parameters differ in name or shape and are left out"
    expected = sum((own[name].double() - other[name]).square().sum() for name in ("0.weight", "0.bias", "1.weight")) ** 0.5
    assert found(own, other)[0].value == pytest.approx(expected.item(), rel=1e-12)


def test_models_that_share_less_than_half_of_their_parameters_cannot_be_compared():
    """Two architectures may well both have a head of as many biases as there are classes."""
    own = network(1)
    other = {name: weight if name == "3.bias" else weight.flatten()[:1] for name, weight in network(2).items()}
    for measured in found(own, other, other):
        assert measured.value is None
        assert measured.reason == "the models share only 1 of 6 parameters: their architectures differ"


def test_models_without_a_common_parameter_cannot_be_compared():
    for measured in found(network(1), {"other": torch.ones(1)}, {"other": torch.ones(1)}):
        assert measured.reason == "the models share no parameter: their architectures differ"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_a_reason(value):
    broken = network(1)
    broken["1.weight"] = torch.full((4,), value)
    for own, other in ((broken, network(2)), (network(2), broken), (broken, broken)):
        for measured in found(own, other, other):
            assert measured.reason == "1.weight holds values that are not finite"


def test_weights_of_another_precision_are_compared_as_they_are():
    full = torch.tensor([0.1, 1e4])
    half = full.bfloat16()
    measured = found({"a.weight": half}, {"a.weight": full})[0]
    assert measured.value == pytest.approx((half.double() - full.double()).norm().item(), rel=1e-12)
    assert 0 < measured.value < 40


def test_a_model_of_zeros_has_a_distance_but_no_normalised_one():
    measured = found({"a.weight": torch.zeros(4)}, {"a.weight": torch.ones(4)})[0]
    assert measured.value == 2
    assert "normalised" not in measured.detail
