import numpy as np
import pytest
import torch
from said import said
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from unlearn_cli.metrics.registry import Evidence, measure
from unlearn_cli.ops import logistic


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
    members = torch.tensor([0.5, 1.0, 1.0, 2.0])
    others = torch.tensor([1.0, 1.0, 3.0])
    _, auc = attack(members, others)
    expected = roc_auc_score([1] * 4 + [0] * 3, -torch.cat([members, others]).numpy())
    assert auc.value == pytest.approx(expected, abs=1e-15)


def test_few_images_mean_fewer_folds_and_a_caution():
    accuracy, _ = attack(exponential(7, 1), exponential(30, 2))
    assert accuracy.detail["folds"] == 7
    assert accuracy.detail["note"] == "only 7 images on each side, in 7 folds: says little"


@pytest.mark.parametrize(("n", "verb"), [(0, "are"), (1, "is")])
def test_with_fewer_than_two_images_there_is_no_number(n, verb):
    for found in attack(exponential(n, 1), exponential(30, 2)):
        assert found.value is None
        assert found.reason == f"needs at least 2 images on each side, there {verb} {n}"


def test_losses_keep_their_order_where_float32_would_tie_them_at_zero():
    given = Evidence(said(torch.tensor([[20.0, 0], [25.0, 0]])), torch.zeros(2, dtype=torch.int64), {})
    losses = given.losses(torch.arange(2))
    assert losses[0] > losses[1] > 0
    assert torch.equal(given.logits.log_softmax(1)[:, 0], torch.zeros(2))
