"""The population attack: thresholds against NumPy, the choice against a loop, and what the calibration sets are made of."""

from math import inf

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.ops.population_attack import alike, in_proportion, of_each_class, population_success, thresholds


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def exponential(n, seed, scale=1.0):
    return scale * torch.empty(n, dtype=torch.float64).exponential_(generator=seeded(seed))


def test_thresholds_are_numpys_quantiles_between_two_ends_that_lie_outside():
    losses = exponential(357, 1)
    expected = np.quantile(losses.numpy(), np.minimum(np.logspace(-5, 0, 100), 1), method="linear")
    found = thresholds(losses)
    assert_close(found[1:-1], torch.from_numpy(expected[1:-1]), rtol=1e-12, atol=1e-14)
    assert found[0].item() == pytest.approx(losses.min().item() - 1e-4, abs=1e-15)
    assert found[-1].item() == pytest.approx(losses.max().item() + 1e-4, abs=1e-15)
    assert (found.diff() >= 0).all()


def test_of_equally_good_thresholds_the_strictest_is_taken_and_a_loss_on_it_is_no_members():
    population = 1 + exponential(50, 1)
    strictest = thresholds(population)[0].item()
    forget = torch.tensor([0.5, strictest, strictest + 1e-9, population.max()], dtype=torch.float64)
    found = population_success(forget, exponential(40, 2).clamp(max=0.9), 100 + exponential(30, 3), population)
    assert found == {"called_members": 1, "balanced_accuracy": 1, "false_positive_rate": 0, "threshold": strictest}


def test_the_threshold_chosen_is_the_best_of_all():
    forget, members, others, population = exponential(50, 1, 0.3), exponential(90, 2, 0.2), exponential(70, 3), exponential(80, 4)
    found = population_success(forget, members, others, population)
    tried = [(float((members < c).double().mean() + (others >= c).double().mean()) / 2, float(c)) for c in thresholds(population)]
    best = max(accuracy for accuracy, _ in tried)
    cut = next(c for accuracy, c in tried if accuracy > best - 1e-12)          # ascending: the strictest comes first
    assert found["balanced_accuracy"] == pytest.approx(best, abs=1e-12)
    assert found["threshold"] == cut
    assert found["called_members"] == int((forget < cut).sum())
    assert found["false_positive_rate"] == pytest.approx(float((others < cut).double().mean()), abs=1e-12)


@pytest.mark.parametrize(("scale", "low", "high"), [(0.05, 0.9, 1.0), (1.0, 0.05, 0.5)], ids=["remembered", "never seen"])
def test_remembered_images_are_called_members_and_others_at_the_false_positive_rate(scale, low, high):
    found = population_success(exponential(1000, 1, scale), exponential(800, 2, 0.05), exponential(800, 3), exponential(800, 4))
    share = found["called_members"] / 1000
    assert low <= share <= high
    if scale == 1.0:
        assert share == pytest.approx(found["false_positive_rate"], abs=0.06)


def test_infinite_losses_are_the_largest_and_spoil_no_quantile():
    members, population = 50 * exponential(60, 2), exponential(80, 4)
    population[:50] = inf           # the quantiles that would part members from others lie between a number and infinity
    found = population_success(torch.full((5,), inf), members, torch.full((30,), inf, dtype=torch.float64), population)
    assert found["called_members"] == 0
    assert found["balanced_accuracy"] == 1
    assert members.max() < found["threshold"] <= 1e9
    for parts in ([inf] * 4, [1e30] * 4, [0.0, 0.0, inf, inf]):
        found = population_success(*(torch.full((9,), value, dtype=torch.float64) for value in parts))
        assert found["called_members"] == (9 if parts[0] == 0 else 0)
        assert found["balanced_accuracy"] == (1 if parts[0] == 0 else 0.5)


def test_equal_losses_everywhere_give_no_threshold_that_is_better_than_chance():
    assert population_success(*(torch.ones(n) for n in (5, 6, 7, 8)))["balanced_accuracy"] == 0.5


def test_calibration_sets_have_the_forget_sets_proportions_and_no_image_twice():
    retain, unseen = torch.arange(3).repeat(400), torch.arange(3).repeat(100)
    composition = torch.tensor([0] * 20 + [2] * 10)
    members, others, population = alike(retain, unseen, composition, seeded())
    assert retain[members].bincount(minlength=3).tolist() == [50, 0, 25]
    assert unseen[others].bincount(minlength=3).tolist() == [50, 0, 25]
    assert unseen[population].bincount(minlength=3).tolist() == [50, 0, 25]
    assert len(set(others.tolist()) | set(population.tolist())) == 150
    assert len(set(members.tolist())) == 75


def test_without_a_composition_every_image_that_has_its_match_is_used():
    retain, unseen = torch.tensor([0] * 9 + [1] * 2), torch.tensor([0] * 7 + [1] * 9 + [2] * 5)
    members, others, population = alike(retain, unseen, None, seeded())
    assert retain[members].bincount(minlength=3).tolist() == [3, 2, 0]
    assert unseen[others].bincount(minlength=3).tolist() == [3, 2, 0]
    assert unseen[population].bincount(minlength=3).tolist() == [4, 2, 0]


def test_classes_that_are_nowhere_else_are_left_out():
    members, others, population = alike(torch.zeros(8).long(), torch.zeros(6).long(), torch.tensor([0, 0, 5]), seeded())
    assert (len(members), len(others), len(population)) == (3, 3, 3)
    assert [len(part) for part in alike(torch.zeros(8).long(), torch.zeros(6).long(), torch.tensor([4]), seeded())] == [0, 0, 0]
    assert [len(part) for part in alike(torch.zeros(8).long(), torch.ones(6).long(), None, seeded())] == [0, 0, 0]


def test_images_of_each_class_are_drawn_evenly_and_ranked_from_zero():
    labels = torch.arange(4).repeat_interleave(50)
    times = torch.zeros(200)
    for seed in range(200):
        chosen, rank = of_each_class(labels, torch.tensor([5, 0, 50, 99]), seeded(seed))
        assert labels[chosen].bincount(minlength=4).tolist() == [5, 0, 50, 50]
        assert sorted(rank[labels[chosen] == 0].tolist()) == [0, 1, 2, 3, 4]
        times[chosen] += 1
    assert times[:50].min() > 4 and times[:50].max() < 42           # 20 on average, 4.2 standard deviation


def test_images_are_drawn_in_proportion_as_many_as_the_scarcest_class_allows():
    labels = torch.tensor([0] * 10 + [1] * 7 + [2] * 50 + [3] * 5)
    found = in_proportion(labels, torch.tensor([0] * 4 + [1] * 2 + [2] * 30 + [9]), seeded())
    assert labels[found].bincount().tolist() == [6, 3, 50]           # 50 / 30 of each, rounded down; of class 9 there are none
    assert (found.diff() > 0).all()
    assert not torch.equal(found, in_proportion(labels, torch.tensor([0] * 4 + [1] * 2 + [2] * 30), seeded(1)))
    assert in_proportion(labels, torch.tensor([3]), seeded()).tolist() == list(range(67, 72))
    assert len(in_proportion(labels, torch.tensor([]).long(), seeded())) == len(in_proportion(labels[:0], labels, seeded())) == 0
