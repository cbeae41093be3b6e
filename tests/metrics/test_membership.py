from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest
import torch
from said import said
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from unlearn_cli.metrics.registry import Evidence, known, measure
from unlearn_cli.ops import logistic, roc

AUCS = ["membership_auc", *(f"{score}_auc" for score in ("confidence", "entropy", "modified_entropy", "correctness"))]
TPRS = ["tpr_at_1_percent", "tpr_at_0_1_percent"]


def logits_with(losses):
    """Two logits whose cross-entropy for class 0 is the given loss."""
    losses = torch.as_tensor(losses, dtype=torch.float64)
    return torch.stack([torch.zeros_like(losses), losses + torch.log(-torch.expm1(-losses))], 1).float()


def evidence(members, others, seed=0, forgotten=(0,)):
    n, m = len(members), len(others)
    splits = {"forget": torch.arange(n), "forget_test": torch.arange(n, n + m), "test": torch.arange(n, n + m)}
    labels = torch.zeros(n + m, dtype=torch.int64)
    return Evidence(said(logits_with(torch.cat([members, others]))), labels, splits, forgotten, seed=seed)


def attack(members, others, **given):
    found = measure(evidence(members, others, **given), ["membership_accuracy", "membership_auc"])
    return found["membership_accuracy"], found["membership_auc"]


def exponential(n, seed):
    return torch.empty(n, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed)) + 1e-3


def test_fit_has_the_published_weights():
    x = torch.tensor([0.1, 0.2, 0.3, 0.4, 1, 1.5, 0.2, 2, 0.8, 3], dtype=torch.float64)
    w, b = logistic.fit(x, torch.arange(10) < 5, torch.ones(1, 10, dtype=torch.bool))
    assert (w.item(), b.item()) == pytest.approx((-1.011764, 0.905939), abs=5e-7)


@pytest.mark.parametrize(
    "x",
    [
        exponential(400, 1), exponential(400, 2) ** 4, torch.where(torch.arange(400) < 200, 0.0, 100.0),
        torch.where(torch.arange(400) < 200, 100.0, exponential(400, 3)), torch.linspace(-100, 100, 400),
        torch.where(torch.arange(400) == 7, -100.0, 1e-9), torch.full((400,), 100.0),
    ],
    ids=["noise", "skewed", "separated", "exploded", "ordered", "outlier", "constant"],
)
def test_fit_agrees_with_scikit_learn(x):
    y = torch.arange(400) < 200
    w, b = logistic.fit(x, y, torch.ones(1, 400, dtype=torch.bool))
    theirs = LogisticRegression(tol=1e-12, max_iter=100_000).fit(x[:, None].double().numpy(), y.numpy())
    assert w.item() == pytest.approx(theirs.coef_.item(), rel=1e-6, abs=1e-6)
    assert b.item() == pytest.approx(theirs.intercept_.item(), rel=1e-6, abs=1e-6)


def test_held_out_accuracies_agree_with_scikit_learn_on_the_same_folds():
    x = torch.cat([exponential(150, 1), 1.6 * exponential(150, 2)])
    y = torch.arange(300) < 150
    fold = torch.empty(300, dtype=torch.int64)
    ours_and_theirs = []
    parts = list(StratifiedKFold(10, shuffle=True, random_state=0).split(x, y))
    for i, (_, held) in enumerate(parts):
        fold[torch.from_numpy(held)] = i
    for learn, held in parts:
        model = LogisticRegression(tol=1e-12, max_iter=10_000).fit(x[learn, None].numpy(), y[learn].numpy())
        ours_and_theirs.append(model.score(x[held, None].numpy(), y[held].numpy()))
    assert np.allclose(logistic.cross_validate(x, y, fold), ours_and_theirs, atol=1e-12)


def test_a_fit_that_had_too_few_steps_says_so():
    x, y = exponential(40, 0), torch.arange(40) < 20
    assert logistic.fit(x, y, torch.ones(1, 40, dtype=torch.bool), steps=1) is None
    assert logistic.cross_validate(x, y, torch.arange(40) % 4) is not None


@pytest.mark.parametrize("factor", [1e2, 1e10, 1e40, 1e300])
def test_a_factor_on_the_feature_is_a_factor_on_the_slope_however_large_it_is(factor):
    """In the limit, where the penalty no longer counts; a slope of 0 would tell nobody apart."""
    y = torch.arange(400) < 200
    x = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + y
    everything = torch.ones(1, 400, dtype=torch.bool)
    (w, b), (much, shift) = logistic.fit(1e3 * x, y, everything), logistic.fit(factor * x, y, everything)
    assert (factor * much).item() == pytest.approx(1e3 * w.item(), rel=1e-4)
    assert shift.item() == pytest.approx(b.item(), rel=1e-4)
    assert w.item() > 0


def test_a_feature_that_is_no_number_has_no_fit():
    x, y = torch.arange(10.0), torch.arange(10) < 5
    for value in (torch.nan, torch.inf):
        spoiled = x.index_fill(0, torch.tensor(3), value)
        assert logistic.fit(spoiled, y, torch.ones(1, 10, dtype=torch.bool)) is None
    assert logistic.fit(x, y, torch.ones(1, 10, dtype=torch.bool)) is not None


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_losses_of_one_distribution_cannot_be_told_apart(forgotten):
    accuracy, auc = attack(exponential(1000, 1), exponential(1000, 2), forgotten=forgotten)
    assert accuracy.value == pytest.approx(0.5, abs=0.05)       # three standard deviations at this size
    assert auc.value == pytest.approx(0.5, abs=0.04)
    assert accuracy.detail["n"] == 1000
    assert accuracy.detail["note"] == "1000 images on each side"


@pytest.mark.parametrize("factor", [1e-3, 1e3], ids=["remembered", "streisand"])
def test_separated_losses_give_the_forget_set_away_in_either_direction(factor):
    accuracy, auc = attack(0.05 * factor * (1 + exponential(1000, 1)), 1 + exponential(1000, 2))
    assert accuracy.value > 0.97
    assert auc.value > 0.99 if factor < 1 else auc.value < 0.01


def test_equal_losses_everywhere_are_a_coin_toss():
    accuracy, auc = attack(torch.ones(50), torch.ones(50))
    assert (accuracy.value, accuracy.detail["std"], auc.value) == (0.5, 0, 0.5)


def test_infinite_losses_are_clipped_and_separate_the_two_sides():
    given = evidence(torch.ones(60), exponential(60, 1))
    given.logits[:60, 0] = -torch.inf
    found = measure(given, ["membership_accuracy", "membership_auc"])
    assert found["membership_accuracy"].value == 1
    assert found["membership_auc"].value == 0


def test_the_larger_side_is_cut_and_the_seed_decides_how():
    members, others = exponential(500, 1), 1.3 * exponential(120, 2)
    first, again, other = (attack(members, others, seed=seed)[0] for seed in (3, 3, 4))
    assert first == again
    assert first.value != other.value
    assert first.detail["n"] == 120


def test_auc_uses_every_image_and_counts_ties_half():
    members = torch.tensor([0.5, 1.0, 1.0, 2.0] * 6)
    others = torch.tensor([1.0, 1.0, 3.0] * 7)
    _, auc = attack(members, others)
    expected = roc_auc_score([1] * 24 + [0] * 21, -torch.cat([members, others]).numpy())
    assert auc.value == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("n", [0, 1, 12, 17])
def test_where_chance_alone_would_move_it_by_a_tenth_there_is_no_number_but_the_one_that_would_do(n):
    for found in attack(exponential(n, 1), exponential(n, 2)):
        assert found.value is None
        assert found.reason == f"needs more images: 18 on each side would do, there are {n} and {n}"
    assert None not in [found.value for found in attack(exponential(18, 1), exponential(18, 2))]


def test_losses_keep_their_order_where_float32_would_tie_them_at_zero():
    given = Evidence(said(torch.tensor([[20.0, 0], [25.0, 0]])), torch.zeros(2, dtype=torch.int64), {})
    losses = given.losses(torch.arange(2))
    assert losses[0] > losses[1] > 0
    assert torch.equal(given.logits.log_softmax(1)[:, 0], torch.zeros(2))


def classifier(members, others, seed=0, forgotten=(0,), classes=5):
    """A model with noisy logits for as many labels of each class on either side, whose true class has the given margins."""
    draws = torch.Generator().manual_seed(seed)
    margins = torch.cat([members, others]).double()
    total = len(margins)
    labels = torch.cat([torch.arange(len(side)) % classes for side in (members, others)])
    logits = torch.randn(total, classes, generator=draws, dtype=torch.float64)
    rest = logits.scatter(1, labels[:, None], -inf).logsumexp(1)
    logits = logits.scatter(1, labels[:, None], (margins + rest)[:, None])
    n = len(members)
    splits = {"forget": torch.arange(n), "forget_test": torch.arange(n, total), "test": torch.arange(n, total)}
    return Evidence(said(logits), labels, splits, forgotten, seed=seed)


def normal(n, seed, mean=0.0):
    return mean + 1.5 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_there_is_one_auc_per_score_of_the_literature():
    assert set(AUCS) <= set(known())
    assert all(known()[name].direction(kind) == "reference" for name in AUCS + TPRS for kind in ("classes", "images"))


@pytest.mark.parametrize("name", AUCS)
def test_an_overfitted_set_is_told_from_unseen_images_by_every_score(name):
    found = measure(classifier(normal(800, 1, 4), normal(900, 2, 0)), [name])[name]
    assert found.value > 0.6
    assert found.detail["low"] > 0.5 + 2 * found.detail["noise_std"]
    assert (found.detail["n"], found.detail["n_unseen"]) == (800, 900)


@pytest.mark.parametrize("name", AUCS)
def test_two_halves_of_one_distribution_and_shuffled_membership_are_not_told_apart(name):
    alike = classifier(normal(800, 1, 2), normal(900, 2, 2))
    both, covered = torch.cat([normal(800, 1, 4), normal(900, 2, 1)]), 0
    for seed in range(10):
        shuffled = both[torch.randperm(1700, generator=torch.Generator().manual_seed(seed))]
        found = measure(classifier(shuffled[:800], shuffled[800:]), [name])[name]
        assert abs(found.value - 0.5) < 3.5 * found.detail["noise_std"]
        covered += found.detail["low"] <= 0.5 <= found.detail["high"]
    assert covered >= 7                             # of ten 95 % intervals, fewer hold the truth once in a thousand cases
    found = measure(alike, [name])[name]
    assert abs(found.value - 0.5) < 3.5 * found.detail["noise_std"]


@pytest.mark.parametrize("name", ["membership_accuracy", "membership_auc"])
def test_a_listed_set_is_told_from_images_of_its_own_classes_which_are_as_difficult(name):
    easy, hard = 0.05 * exponential(900, 2), exponential(300, 3)
    given = evidence(0.05 * exponential(200, 1), torch.cat([hard, easy]), forgotten=())
    labels = torch.cat([torch.ones(200), torch.zeros(300), torch.ones(900)]).long()
    given.logits[labels == 1] = given.logits[labels == 1].flip(1)
    of_two_classes = measure(replace(given, labels=labels), [name])[name]
    as_if_of_one = measure(evidence(0.05 * exponential(200, 1), torch.cat([hard, easy[:100]]), forgotten=()), [name])[name]
    assert of_two_classes.value == pytest.approx(0.5, abs=0.07)
    assert as_if_of_one.value > 0.7


def test_the_confidence_attack_is_the_loss_attack_and_sees_further_where_losses_round_to_zero():
    found = measure(classifier(normal(300, 1, 2), normal(200, 2, 1)), AUCS[:2])
    assert found["confidence_auc"] == found["membership_auc"]
    sure = measure(classifier(torch.linspace(60, 90, 40), torch.linspace(40, 55, 40)), AUCS[:2])
    assert sure["confidence_auc"].value == 1
    assert sure["membership_auc"].value < 1


def test_each_scores_auc_is_scikit_learns_on_plain_formulas():
    given = classifier(normal(300, 1, 2), normal(200, 2, 1))
    p = given.logits.softmax(1)
    own = p.gather(1, given.labels[:, None])[:, 0]
    other = torch.where(torch.nn.functional.one_hot(given.labels, 5).bool(), 0, p)
    scores = {
        "confidence": own,
        "entropy": (p * p.log()).sum(1),
        "modified_entropy": (1 - own) * own.log() + (other * (1 - other).log()).sum(1),
        "correctness": (p.argmax(1) == given.labels).double(),
    }
    for score, values in scores.items():
        expected = roc_auc_score(torch.arange(500) < 300, values)
        assert measure(given, [f"{score}_auc"])[f"{score}_auc"].value == pytest.approx(expected, abs=1e-12)


def test_the_entropy_attack_reads_no_label_and_the_modified_one_does():
    given = classifier(normal(100, 1, 2), normal(100, 2, 1))
    moved = Evidence(given.model, (given.labels + 1) % 5, given.splits, (0,))
    ours, theirs = measure(given, AUCS), measure(moved, AUCS)
    assert ours["entropy_auc"] == theirs["entropy_auc"]
    assert ours["modified_entropy_auc"].value != theirs["modified_entropy_auc"].value


def test_correctness_is_half_the_difference_of_two_accuracies_above_a_half():
    given = classifier(normal(200, 1, 2), normal(300, 2, 1))
    right = given.correct.double()
    found = measure(given, ["correctness_auc"])["correctness_auc"]
    assert found.value == pytest.approx(0.5 + (right[:200].mean() - right[200:].mean()).item() / 2, abs=1e-14)
    assert found.detail["noise_std"] < sqrt(501 / (12 * 200 * 300))          # ties leave less to chance


def test_the_tpr_is_the_share_of_forget_losses_below_the_hundredth_smallest_of_the_unseen():
    members, others = exponential(400, 1), exponential(1000, 2)
    found = measure(evidence(members, others), TPRS)
    for name, allowed in zip(TPRS, (10, 1)):
        cut = others.sort().values[allowed]
        assert found[name].value == pytest.approx((members < cut).double().mean().item(), abs=1e-12)
        assert found[name].detail["low"] <= found[name].value <= found[name].detail["high"]
        assert found[name].detail["chance"] == pytest.approx((allowed + 1) / 1001)
        assert abs(found[name].value - found[name].detail["chance"]) < 3 * found[name].detail["noise_std"]


def test_remembered_images_are_found_at_one_per_cent_beyond_doubt_and_exploded_losses_are_not():
    found = measure(evidence(1e-3 * exponential(400, 1), 1 + exponential(1000, 2)), TPRS)
    assert found[TPRS[0]].value == found[TPRS[1]].value == 1
    assert found[TPRS[0]].detail["low"] > 0.98
    assert measure(evidence(1e3 * (1 + exponential(400, 1)), exponential(1000, 2)), TPRS)[TPRS[0]].value == 0


@pytest.mark.parametrize(("unseen", "measurable"), [(99, 0), (100, 1), (999, 1), (1000, 2)])
def test_a_false_positive_rate_needs_one_unseen_image_to_let_through(unseen, measurable):
    found = measure(evidence(exponential(50, 1), exponential(unseen, 2)), TPRS)
    assert [found[name].value is not None for name in TPRS] == [measurable > 0, measurable > 1]
    if measurable < 2:
        assert found[TPRS[1]].reason == f"needs 1,000 unseen images for a false-positive rate of 0.1 %, there are {unseen}"


@pytest.mark.parametrize("name", AUCS + TPRS)
def test_a_model_that_always_says_the_same_gives_nothing_away(name):
    logits = torch.tensor([[1.0, 2.0, -inf, 1e30]]).expand(1300, 4)
    splits = {"forget": torch.arange(300), "forget_test": torch.arange(300, 1300)}
    found = measure(Evidence(said(logits), torch.full((1300,), 1), splits, (1,)), [name])[name]
    assert found.value == (0.5 if name in AUCS else 0)
    if name in AUCS:
        assert found.detail["noise_std"] == 0
        assert found.detail["low"] < 0.5 < found.detail["high"]


def test_a_masked_class_leaves_the_attacks_that_read_the_label_nothing():
    given = classifier(normal(200, 1, 3), normal(200, 2, 1))
    given.logits.scatter_(1, given.labels[:, None], -inf)
    found = measure(given, AUCS)
    for name in AUCS:
        if name != "entropy_auc":
            assert found[name].value == 0.5


@pytest.mark.parametrize("name", AUCS + TPRS)
def test_where_a_side_is_missing_there_is_no_number(name):
    alone = Evidence(said(torch.randn(5, 3)), torch.zeros(5, dtype=torch.int64), {"forget": torch.arange(5)}, (0,))
    assert measure(alone, [name])[name].reason == "needs more images: 18 on each side would do, there are 5 and 0"


def test_the_intervals_stand_beside_every_number():
    found = measure(evidence(exponential(40, 1), exponential(200, 2)), ["membership_auc", "tpr_at_1_percent"])
    assert set(found["membership_auc"].detail) == {"n", "n_unseen", "low", "high", "noise_std"}
    assert set(found["tpr_at_1_percent"].detail) == {"n", "n_unseen", "low", "high", "noise_std", "chance"}
    own, others = (-exponential(n, seed) for n, seed in ((40, 1), (200, 2)))
    low, high = roc.auc_interval(own, others)
    assert (found["membership_auc"].detail["low"], found["membership_auc"].detail["high"]) == pytest.approx((low, high), abs=1e-6)
