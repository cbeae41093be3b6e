"""The benchmark's forgetting score and final score, from evidence."""

from dataclasses import replace
from math import ceil

import pytest
import torch
from said import said
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit

from unlearn_cli.metrics.registry import Evidence, known, measure
from unlearn_cli.metrics.scores import losses_of_sides


def exponential(n, seed):
    return torch.empty(n, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed)) + 1e-3


def evidence(forget, unseen, forgotten=(0,), **given):
    """Three logits whose cross-entropy for class 0 is the given loss; the last image is a test image of class 2."""
    losses = torch.cat([forget, unseen, torch.tensor([0.7])]).double()
    other = losses + torch.log(-torch.expm1(-losses)) - torch.log(torch.tensor(2.0))
    logits = torch.stack([torch.zeros_like(losses), other, other], 1).float()
    n, m = len(forget), len(unseen)
    labels = torch.zeros(n + m + 1, dtype=torch.int64)
    labels[-1] = 2
    splits = {"forget": torch.arange(n), "forget_test": torch.arange(n, n + m), "test": torch.arange(n, n + m + 1)}
    return Evidence(said(logits), labels, splits, forgotten, **given)


def scores(*given, **more):
    found = measure(evidence(*given, **more), ["forgetting_score", "final_score"])
    return found["forgetting_score"], found["final_score"]


def benchmark(forget, unseen, seed):
    """The benchmark's procedure in scikit-learn, on draws of its own."""
    draws = torch.Generator().manual_seed(seed)
    forget = forget[torch.randperm(len(forget), generator=draws)[: len(unseen)]]
    x = torch.cat([unseen, forget])[:, None].numpy()
    y = (torch.arange(len(x)) >= len(unseen)).numpy()
    right = [
        LogisticRegression().fit(x[learn], y[learn]).score(x[held], y[held])
        for learn, held in StratifiedShuffleSplit(10, random_state=seed).split(x, y)
    ]
    return abs(0.5 - sum(right) / len(right))


@pytest.mark.parametrize("factor", [0.05, 0.5, 1.0, 3.0])
def test_forgetting_score_is_the_benchmarks_but_for_the_draws(factor):
    forget, unseen = factor * exponential(900, 1), exponential(600, 2)
    ours = sum(scores(forget, unseen, seed=seed)[0].value for seed in range(8)) / 8
    theirs = sum(benchmark(forget, unseen, seed) for seed in range(8)) / 8
    assert ours == pytest.approx(theirs, abs=0.015)


def test_alike_losses_score_near_zero_and_those_of_a_model_that_remembers_do_not():
    assert scores(exponential(1500, 1), exponential(1504, 2))[0].value < 0.05
    assert scores(0.01 * exponential(1500, 1), exponential(1504, 2))[0].value > 0.4


def test_score_is_a_multiple_of_one_held_out_image():
    found = scores(exponential(1500, 1), exponential(1504, 2))[0]
    held = ceil(0.1 * 3004)
    share = (0.5 + found.value) * 10 * held
    assert min(abs(share - round(share)), abs((0.5 - found.value) * 10 * held % 1)) < 1e-6
    assert (found.detail["n"], found.detail["n_unseen"]) == (1500, 1504)


def test_unseen_images_are_those_of_the_class_or_all_where_single_images_are_forgotten():
    given = exponential(30, 1), exponential(30, 2)
    assert [len(x) for x in losses_of_sides(evidence(*given))[0]] == [30, 30]
    assert [len(x) for x in losses_of_sides(evidence(*given, forgotten=()))[0]] == [30, 31]


def test_the_unseen_side_is_never_cut_and_the_floor_says_what_guessing_then_scores():
    found = scores(exponential(100, 1), exponential(900, 2))[0]
    assert (found.detail["n"], found.detail["n_unseen"]) == (100, 900)
    assert found.detail["floor"] == pytest.approx(0.4)
    assert found.value == pytest.approx(0.4, abs=0.01)        # the same distribution: nothing to tell, and yet far from 0
    assert found.detail["note"] == "100 forgotten against 900 unseen images, which are never cut: guessing scores 0.40"


def test_the_forget_side_is_cut_to_the_unseen_and_then_no_caution_is_due():
    found = scores(exponential(900, 1), exponential(100, 2))[0]
    assert found.detail == {"n": 100, "n_unseen": 100, "floor": 0}


def test_the_seed_decides_the_draws():
    given = exponential(500, 1), 1.4 * exponential(120, 2)
    first, again, other = (scores(*given, seed=seed)[0] for seed in (3, 3, 4))
    assert first == again
    assert first.value != other.value


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9, 1e30])
def test_exploded_losses_give_the_forget_set_away(size):
    given = evidence(exponential(200, 1), exponential(200, 2))
    given.logits[:200, 0] = -size * exponential(200, 3).float()
    assert measure(given, ["forgetting_score"])["forgetting_score"].value > 0.49


@pytest.mark.parametrize("size", [1e6, 1e7, 1e9])
def test_where_some_losses_exploded_the_score_is_still_scikit_learns(size):
    mixed = torch.where(torch.arange(400) % 2 == 0, exponential(400, 1), size * (1 + exponential(400, 3)))
    given = evidence(exponential(400, 1), exponential(400, 2))
    given.logits[:400, 0] = -mixed.float()
    given.logits[:400, 1:] = 0
    sides = losses_of_sides(given)[0]
    scaled = [x * 1e3 / size for x in sides]
    ours = sum(measure(replace(given, seed=seed), ["forgetting_score"])["forgetting_score"].value for seed in range(8)) / 8
    assert ours == pytest.approx(sum(benchmark(*scaled, seed=seed) for seed in range(8)) / 8, abs=0.02)
    assert 0.2 < ours < 0.3


def test_a_constant_output_tells_nothing_apart():
    score, final = scores(torch.ones(200), torch.ones(200))
    assert score.value < 0.05
    right = measure(evidence(torch.ones(200), torch.ones(200)), ["test_accuracy"])["test_accuracy"].value
    assert final.value == pytest.approx((right + 1) / 2, abs=0.05)


def test_infinite_losses_are_counted_and_not_scored():
    given = evidence(exponential(60, 1), exponential(60, 2))
    given.logits[:3, 0] = -torch.inf
    found = measure(given, ["forgetting_score", "final_score", "loss_divergence"])
    assert {value.reason for value in found.values()} == {"the loss is infinite for 3 of 120 images"}


@pytest.mark.parametrize(("n", "m"), [(0, 90), (90, 0), (1, 90), (90, 1), (12, 12), (17, 17)])
def test_with_few_images_on_a_side_there_is_no_score(n, m):
    for found in scores(exponential(n, 1), exponential(m, 2), forgotten=(0,)):
        assert (found.value, found.reason) == (None, f"needs more images: 18 on each side would do, there are {n} and {m}")
    assert None not in [found.value for found in scores(exponential(18, 1), exponential(18, 2), forgotten=(0,))]


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_final_score_is_made_of_the_test_accuracy_and_the_forgetting_score(forgotten):
    given = evidence(0.3 * exponential(200, 1), exponential(200, 2), forgotten)
    found = measure(given, ["test_accuracy", "forgetting_score", "final_score"])
    right, forgetting, final = (value.value for value in found.values())
    assert 0 < right < 1 and forgetting > 0
    assert final == pytest.approx((right + 1 - 2 * forgetting) / 2, abs=1e-15)


def test_a_final_score_is_a_goal_only_where_remembering_does_not_raise_it():
    assert (known()["final_score"].target("classes"), known()["final_score"].target("images")) == ("reference", 1)
    assert (known()["forgetting_score"].target("classes"), known()["forgetting_score"].target("images")) == (0, "reference")
