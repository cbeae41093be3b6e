"""Recipes: rates over a training, what a step changes how fast, and settings that would do nothing."""

import math
from dataclasses import replace

import pytest
from torch import nn

from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.recipes import Recipe, adjusted

SGD = Recipe(epochs=1, lr=0.1)
ADAMW = Recipe(epochs=1, lr=1e-3, optimizer="adamw", schedule="cosine", warmup=0.1)


def rates(steps=1000, **more):
    recipe = replace(SGD, **more)
    return [recipe.rate(step, steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
def test_a_warm_up_is_a_straight_line_to_the_highest_rate_and_changes_nothing_after_it(schedule):
    found, cold = rates(schedule=schedule, warmup=0.2), rates(schedule=schedule)
    assert found[:200] == pytest.approx([0.1 * (step + 1) / 200 for step in range(200)])
    assert max(found) == pytest.approx(0.1) == cold[0]
    if schedule != "cosine":  # which has fewer steps left to fall in
        assert found[200:] == cold[200:]


def test_a_cosine_falls_from_the_highest_rate_to_the_end_by_half_of_it_at_half_the_way():
    found = rates(schedule="cosine", warmup=0.2, end=0.1)
    assert found[200] == pytest.approx(0.1)
    assert found[600] == pytest.approx(0.1 * 0.55)
    assert found[-1] == pytest.approx(0.01, rel=1e-3)
    assert found[200:] == sorted(found[200:], reverse=True)


def test_steps_are_tenths_after_each_third():
    found = rates(steps=90, schedule="step")
    assert found == pytest.approx([0.1] * 30 + [0.01] * 30 + [0.001] * 30)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_trainings_have_a_rate(schedule, steps):
    assert all(0 < rate <= 0.1 for rate in rates(steps, schedule=schedule, warmup=0.5))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.token = nn.Parameter(nn.init.zeros_(nn.Linear(4, 1).weight[None]))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def factors(recipe):
    model = Small()
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: (rate, decay) for group, rate, decay in recipe.parts(model, model.head) for p in group}


def test_every_weight_is_in_one_group_and_none_that_needs_no_gradient():
    model = Small()
    model.conv.weight.requires_grad_(False)
    groups = [p for group, _, _ in ADAMW.parts(model, model.head) for p in group]
    assert len(groups) == len({id(p) for p in groups}) == len(list(model.parameters())) - 1


def test_below_the_head_the_rate_is_the_bodys():
    found = factors(replace(SGD, body_lr=0.1))
    assert {name for name, (rate, _) in found.items() if rate == 1} == {"head.weight", "head.bias"}
    assert {rate for name, (rate, _) in found.items() if not name.startswith("head")} == {0.1}
    assert set(factors(SGD).values()) == {(1.0, 1.0)}


def test_the_decay_of_matrices_spares_norms_biases_and_tokens():
    found = factors(replace(ADAMW, decay="matrices"))
    assert {name for name, (_, decay) in found.items() if decay} == {"conv.weight", "head.weight"}
    assert all(decay == 1 for _, decay in factors(ADAMW).values())


def test_batchnorms_biases_are_faster_without_decaying_faster():
    found = factors(replace(SGD, norm_bias_scale=64.0, body_lr=0.5))
    assert found["bn.bias"] == (32, 1 / 64)
    assert found["bn.weight"] == found["norm.bias"] == (0.5, 1)


@pytest.mark.parametrize(("recipe", "given", "idle"), [
    (ADAMW, {"momentum": "0.9"}, "acts with optimizer=sgd only; here optimizer is adamw"),
    (ADAMW, {"peak": "0.5"}, "acts with schedule=triangular only; here schedule is cosine"),
    (SGD, {"warmup": "0.1"}, "acts with schedule=cosine or constant or step only; here schedule is triangular"),
    (SGD, {"schedule": "constant", "end": "0.5"}, "acts with schedule=triangular or cosine only"),
])  # fmt: skip
def test_a_setting_that_does_nothing_beside_the_others_is_refused(recipe, given, idle):
    with pytest.raises(UnlearnError, match=idle):
        adjusted(recipe, given, "x")


def test_settings_that_act_are_taken_and_those_alone_are_told():
    found = adjusted(SGD, {"schedule": "cosine", "warmup": "0.1", "momentum": "0.5"}, "x")
    assert (found.schedule, found.warmup, found.momentum) == ("cosine", 0.1, 0.5)
    assert {"momentum", "warmup", "end"} <= found.acting.keys()
    assert not {"start", "peak"} & found.acting.keys()
    assert "momentum" not in ADAMW.acting and "momentum" in SGD.acting


def test_a_rate_for_one_optimiser_is_not_taken_for_another():
    with pytest.raises(UnlearnError, match="the rate of 0.1 is for sgd, not for adamw"):
        adjusted(SGD, {"optimizer": "adamw"}, "x")
    assert adjusted(SGD, {"optimizer": "adamw", "lr": "0.001"}, "x").lr == 0.001
    assert adjusted(ADAMW, {"optimizer": "adam"}, "x").optimizer == "adam"
    assert math.isclose(adjusted(ADAMW, {"lr": "0.01"}, "x").lr, 0.01)
