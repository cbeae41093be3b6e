"""RMIA and U-LiRA: against slow formulas and SciPy, and in simulations where the truth is known."""

from math import inf, log, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.testing import assert_close

from unlearn_cli.ops import roc
from unlearn_cli.ops.ratio_attacks import LARGEST, likelihood_ratio, log_ratio, rmia_scores


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("a", [0, 0.3, 0.9])
@pytest.mark.parametrize("gamma", [0.5, 1, 2])
def test_rmia_scores_are_those_of_a_loop_over_pairs(a, gamma):
    own, outside, z_own, z_outside = normal(30), normal(3, 30, seed=1), normal(25, seed=2), normal(3, 25, seed=3)

    def ratio(mine, theirs):
        return mine.sigmoid() / (((1 + a) * theirs.sigmoid().mean(0) + 1 - a) / 2)

    expected = [sum(float(x / z) > gamma for z in ratio(z_own, z_outside)) / 25 for x in ratio(own, outside)]
    found = rmia_scores(log_ratio(own, outside, a), log_ratio(z_own, z_outside, a), gamma)
    assert found.tolist() == expected


def test_the_ratio_of_an_image_that_both_sides_are_sure_of_is_one_and_none_is_above_its_bound():
    margins = torch.tensor([inf, 500.0, 40.0], dtype=torch.float64)
    assert_close(log_ratio(margins, margins.expand(2, 3)), torch.zeros_like(margins), rtol=0, atol=1e-15)
    assert log_ratio(torch.tensor([inf]), torch.tensor([[-inf]])).item() == pytest.approx(log(2 / 0.7))
    assert log_ratio(torch.tensor([-inf]), torch.tensor([[0.0]])).item() == -inf


def test_equal_ratios_outdo_nobody():
    masked = torch.full((5,), -inf)
    assert rmia_scores(masked, masked).tolist() == [0] * 5
    assert rmia_scores(torch.zeros(3), torch.zeros(4)).tolist() == [0] * 3


def simulated(seed, remembered=0.0, moved=0.0, n=400, shadows=8, references=8):
    """Margins of 2n images, members first: every image has a difficulty of its own, models differ by noise.

    Shadow models and the attacked one are `remembered` nats surer of each member, and of every image by `moved`.
    """
    draws = torch.Generator().manual_seed(seed)
    hard = 3 * torch.randn(2 * n, generator=draws, dtype=torch.float64)
    member = (torch.arange(2 * n) < n).double()
    forgot = hard + moved + remembered * member + torch.randn(shadows + 1, 2 * n, generator=draws, dtype=torch.float64)
    never = hard + torch.randn(references, 2 * n, generator=draws, dtype=torch.float64)
    return forgot[0], forgot[1:], never, member.bool()


def auc_with_interval(scores, member):
    return roc.auc(scores[member], scores[~member]), roc.auc_interval(scores[member], scores[~member])


@pytest.mark.parametrize(("shadows", "references", "pooled"), [(4, 3, True), (70, 64, False), (80, 5, True)])
def test_likelihood_ratios_are_scipys(shadows, references, pooled):
    own, inside, outside = normal(20), normal(shadows, 20, seed=1), 2 + normal(references, 20, seed=2, scale=3)

    def log_pdf(seen):
        seen = seen.numpy()
        std = np.sqrt(seen.var(0, ddof=1).mean()) if pooled else seen.std(0, ddof=1)
        return norm.logpdf(own.numpy(), seen.mean(0), std)

    expected = torch.from_numpy(log_pdf(inside) - log_pdf(outside))
    assert_close(likelihood_ratio(own, inside, outside), expected, rtol=1e-10, atol=1e-10)


def test_residual_memory_is_found_image_by_image_where_one_threshold_for_all_sees_little():
    own, inside, outside, member = simulated(1, remembered=2.0)
    by_ratio, interval = auc_with_interval(likelihood_ratio(own, inside, outside), member)
    by_loss, _ = auc_with_interval(own, member)
    assert interval[0] > 0.75
    assert by_ratio > by_loss + 0.1


@pytest.mark.parametrize("moved", [0.0, -4.0], ids=["nothing done", "every image moved"])
def test_what_a_method_does_to_every_image_alike_is_not_taken_for_memory(moved):
    held, runs = 0, 150
    for seed in range(runs):
        own, inside, outside, member = simulated(seed, moved=moved, n=200, shadows=2 + seed % 4, references=2 + seed % 3)
        _, (low, high) = auc_with_interval(likelihood_ratio(own, inside, outside), member)
        held += low <= 0.5 <= high
    assert held / runs >= 0.95 - 3 * sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("attack", ["rmia", "likelihood ratio"])
def test_shuffled_membership_gives_a_half(attack):
    own, inside, outside, member = simulated(3, remembered=2.0)
    ratios = log_ratio(own, outside)
    scores = rmia_scores(ratios, ratios[~member][:200]) if attack == "rmia" else likelihood_ratio(own, inside, outside)
    assert roc.auc(scores[member], scores[~member]) > 0.6
    shuffled = member[torch.randperm(800, generator=torch.Generator().manual_seed(0))]
    _, (low, high) = auc_with_interval(scores, shuffled)
    assert low <= 0.5 <= high


def test_rmia_finds_members_better_than_their_confidence_does():
    own, _, outside, member = simulated(5, remembered=2.0, n=1000)
    ratios = log_ratio(own, outside)
    scores = rmia_scores(ratios, ratios[~member][:500])
    attacked = member | (torch.arange(2000) >= 1500)
    ours, _ = auc_with_interval(scores[attacked], member[attacked])
    plain, _ = auc_with_interval(own[attacked], member[attacked])
    assert ours > plain + 0.05


def test_models_that_agree_on_every_image_leave_no_spread_to_judge_by():
    own, inside, outside, _ = simulated(0)
    assert likelihood_ratio(own, inside[:1].expand(3, -1), outside) is None
    assert likelihood_ratio(own, inside, torch.full_like(outside, -inf)) is None
    assert likelihood_ratio(own, inside, outside) is not None


def test_infinite_margins_are_cut_and_one_image_without_spread_spoils_nothing():
    own, inside, outside, _ = simulated(0, shadows=64, references=64, n=10)
    own[0], inside[:, 1], outside[:, 2] = -inf, inf, -inf
    scores = likelihood_ratio(own, inside, outside)
    assert scores.isfinite().all()
    assert_close(scores[0], likelihood_ratio(own.clamp(-LARGEST, LARGEST), inside, outside)[0])
