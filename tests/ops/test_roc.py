"""AUC, TPR, their intervals and their noise: against scikit-learn, SciPy, full enumeration, closed forms and simulations."""

from itertools import combinations, pairwise
from math import inf, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import betabinom, norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from unlearn_cli.ops import roc


def normal(n, seed, shift=0.0):
    return shift + torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def zeros_and_ones(n, ones):
    return (torch.arange(n) < ones).double()


SIDES = {
    "apart": (normal(60, 1, 2), normal(90, 2)),
    "alike": (normal(60, 3), normal(40, 4)),
    "tied": (normal(70, 5, 0.5).round(), normal(30, 6).round()),
    "binary": (zeros_and_ones(50, 45), zeros_and_ones(80, 20)),
    "infinite": (torch.tensor([inf, inf, 0, -inf, 3.0]), torch.tensor([inf, -inf, -inf, 1.0])),
    "constant": (torch.ones(9), torch.ones(4)),
}


@pytest.fixture(params=SIDES, name="sides")
def _sides(request):
    return SIDES[request.param]


def stacked(positive, negative):
    scores = torch.cat([positive, negative]).clamp(-1e6, 1e6).numpy()
    return np.r_[np.ones(len(positive)), np.zeros(len(negative))], scores


def test_auc_agrees_with_scikit_learn(sides):
    assert roc.auc(*sides) == pytest.approx(roc_auc_score(*stacked(*sides)), abs=1e-14)


def test_auc_of_swapped_sides_is_the_exact_complement(sides):
    positive, negative = sides
    assert roc.auc(positive, negative) + roc.auc(negative, positive) == 1


def test_delongs_variance_is_that_of_the_pairwise_definition(sides):
    positive, negative = sides
    pairs = (positive[:, None] > negative).double() + (positive[:, None] == negative).double() / 2
    expected = pairs.mean(1).var() / len(positive) + pairs.mean(0).var() / len(negative)
    assert roc.auc_variance(positive, negative) == pytest.approx(expected.item(), abs=1e-15)


def test_the_variance_of_a_binary_score_is_that_of_a_difference_of_two_shares():
    positive, negative = SIDES["binary"]
    expected = (0.9 * 0.1 / 49 + 0.25 * 0.75 / 79) / 4           # AUC = (1 + p - q) / 2
    assert roc.auc_variance(positive, negative) == pytest.approx(expected, rel=1e-12)


def test_the_interval_holds_the_auc_and_lies_in_zero_to_one(sides):
    low, high = roc.auc_interval(*sides)
    assert 0 <= low <= roc.auc(*sides) <= high <= 1
    wider = roc.auc_interval(*sides, level=0.99)
    assert wider[0] <= low and high <= wider[1]


def gaussian(shift):
    return lambda n, draws: shift + torch.randn(n, generator=draws)


def coin(chance):
    return lambda n, draws: (torch.rand(n, generator=draws) < chance).double()


def skewed(scale):
    return lambda n, draws: -scale * torch.empty(n).exponential_(generator=draws)


CASES = {
    "alike": (gaussian(0), gaussian(0), 0.5),
    "near": (gaussian(1), gaussian(0), norm.cdf(sqrt(0.5))),
    "apart": (gaussian(3), gaussian(0), norm.cdf(sqrt(4.5))),
    "tied": (coin(0.99), coin(0.9), 0.545),
    "skewed": (skewed(1), skewed(5), 5 / 6),
}


@pytest.mark.parametrize("sizes", [(8, 8), (10, 60), (200, 150)], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_interval_of_the_auc_covers_the_truth_in_nineteen_of_twenty_draws(case, sizes):
    draw_positive, draw_negative, truth = CASES[case]
    draws, runs = torch.Generator().manual_seed(11), 400
    held = 0
    for _ in range(runs):
        low, high = roc.auc_interval(draw_positive(sizes[0], draws).double(), draw_negative(sizes[1], draws).double())
        held += low <= truth <= high
    assert held / runs >= 0.95 - 3 * sqrt(0.05 * 0.95 / runs)


def test_without_the_added_scores_the_interval_of_separated_sides_would_have_no_width():
    positive, negative = normal(12, 1, 100), normal(12, 2)
    assert roc.auc_variance(positive, negative) == 0
    low, high = roc.auc_interval(positive, negative)
    assert 0.5 < low < 0.75 and high == 1


def test_with_many_images_the_interval_is_delongs():
    positive, negative = normal(4000, 1, 0.7), normal(5000, 2)
    reach = 1.959964 * sqrt(roc.auc_variance(positive, negative))
    middle = roc.auc(positive, negative)
    assert roc.auc_interval(positive, negative) == pytest.approx((middle - reach, middle + reach), abs=3e-4)


@pytest.mark.parametrize("scores", [[1, 2, 3, 4, 5, 6, 7], [1, 1, 2, 2, 2, 3, 9], [0, 0, 0, 0, 1, 1, 1], [5] * 7], ids=str)
def test_the_aucs_noise_is_its_spread_over_every_way_to_deal_the_scores(scores):
    scores = torch.tensor(scores, dtype=torch.float64)
    found = []
    for chosen in combinations(range(7), 3):
        member = torch.zeros(7, dtype=torch.bool)
        member[list(chosen)] = True
        found.append(roc.auc(scores[member], scores[~member]))
    assert np.mean(found) == pytest.approx(0.5)
    assert roc.auc_noise(scores[:3], scores[3:]) == pytest.approx(np.std(found), abs=1e-14)


def test_without_ties_the_noise_depends_on_the_sizes_alone():
    assert roc.auc_noise(normal(100, 1), normal(400, 2, 9)) == pytest.approx(sqrt(501 / (12 * 100 * 400)), rel=1e-12)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.29, 0.5])
def test_tpr_is_the_best_on_scikit_learns_curve(sides, rate):
    false, true, _ = roc_curve(*stacked(*sides), drop_intermediate=False)
    assert roc.tpr_at(*sides, rate) == pytest.approx(true[false <= rate + 1e-12].max(), abs=1e-14)


def test_a_rate_that_floats_cannot_hold_still_lets_its_whole_number_through():
    assert 0.29 * 100 < 29
    assert [roc.false_positives(m, rate) for m, rate in ((100, 0.29), (1000, 0.001), (999, 0.001), (300, 0.01))] == [29, 1, 0, 3]


@pytest.mark.parametrize(("n", "m", "rate"), [(100, 100, 0.01), (500, 1000, 0.001), (37, 250, 0.1)])
def test_a_tprs_noise_is_beta_binomial(n, m, rate):
    k = roc.false_positives(m, rate)
    theirs = betabinom(n, k + 1, m - k)
    assert roc.tpr_noise(n, m, rate) == pytest.approx((theirs.mean() / n, theirs.std() / n), rel=1e-9)


def test_a_tprs_noise_is_what_a_simulation_shows():
    draws = torch.Generator().manual_seed(3)
    found = [roc.tpr_at(*(torch.rand(n, generator=draws) for n in (80, 200)), 0.05) for _ in range(2000)]
    mean, std = roc.tpr_noise(80, 200, 0.05)
    assert np.mean(found) == pytest.approx(mean, abs=4 * std / sqrt(2000))
    assert np.std(found) == pytest.approx(std, rel=0.08)


@pytest.mark.parametrize(("n", "m", "rate"), [(60, 100, 0.01), (300, 1000, 0.01), (1000, 300, 0.1)])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_the_interval_of_the_tpr_covers_the_truth_in_nineteen_of_twenty_draws(n, m, rate, shift):
    truth = 1 - norm.cdf(norm.ppf(1 - rate) - shift)
    draws, runs, held = torch.Generator().manual_seed(5), 200, 0
    for _ in range(runs):
        positive, negative = shift + torch.randn(n, generator=draws), torch.randn(m, generator=draws)
        low, high = roc.tpr_interval(positive, negative, rate)
        assert low <= roc.tpr_at(positive, negative, rate) <= high
        held += low <= truth <= high
    assert held / runs >= 0.95 - 3 * sqrt(0.05 * 0.95 / runs)


def test_an_interval_of_the_share_alone_would_take_the_threshold_for_known():
    from unlearn_cli.ops.binomial import clopper_pearson

    truth = 1 - norm.cdf(norm.ppf(0.99) - 1)
    draws, runs, held = torch.Generator().manual_seed(5), 200, 0
    for _ in range(runs):
        positive, negative = 1 + torch.randn(2000, generator=draws), torch.randn(1000, generator=draws)
        low, high = clopper_pearson(round(2000 * roc.tpr_at(positive, negative, 0.01)), 2000)
        held += low <= truth <= high
    assert held / runs < 0.8


def test_a_hundred_negatives_cannot_show_that_any_positive_is_found_at_one_per_cent():
    positive, negative = normal(500, 1, 50), normal(100, 2)
    assert roc.tpr_at(positive, negative, 0.01) == 1
    assert roc.tpr_interval(positive, negative, 0.01)[0] == 0
    assert roc.tpr_interval(positive, torch.cat([negative] * 4), 0.01)[0] > 0.98


def test_a_score_that_never_varies_finds_nobody():
    assert roc.tpr_at(torch.ones(50), torch.ones(200), 0.01) == 0


def test_the_best_threshold_is_as_good_as_any(sides):
    positive, negative = sides
    truth, scores = stacked(positive, negative)
    cut, accuracy = roc.best_threshold(positive.clamp(-1e6, 1e6), negative.clamp(-1e6, 1e6))
    edges = np.unique(scores)
    tried = [*edges, *(sum(pair) / 2 for pair in pairwise(edges)), edges[-1] + 1]
    assert accuracy == pytest.approx(max(balanced_accuracy_score(truth, scores >= edge) for edge in tried), abs=1e-14)
    assert balanced_accuracy_score(truth, scores >= cut) == pytest.approx(accuracy, abs=1e-14)


def test_of_equally_good_thresholds_the_largest_is_taken():
    assert roc.best_threshold(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0])) == (3, 0.75)
    assert roc.best_threshold(torch.zeros(3), torch.ones(4))[1] == 0.5
