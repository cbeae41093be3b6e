"""The forgetting score and the final score, against published numbers and scikit-learn."""

from math import ceil

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit

from unlearn_cli.ops.scores import attack_accuracy, final_score, forgetting_score, stratified


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def exponential(n, seed):
    return torch.empty(n, dtype=torch.float64).exponential_(generator=seeded(seed))


@pytest.mark.parametrize(
    ("accuracy", "forgetting", "published"),
    [
        (0.5685, 0.0305, 0.7538), (0.5445, 0.00066, 0.7716), (0.9108, 0.0032, 0.9522), (0.9115, 0.0032, 0.9525),
        (0.8722, 0.0040, 0.9321), (0.9065, 0.0355, 0.9177), (0.5763, 0.1328, 0.6553), (0.5724, 0.0654, 0.7208),
        (0.8921, 0.0084, 0.9377), (0.9096, 0.0107, 0.9441), (0.5971, 0.2140, 0.5846), (0.4795, 0.0382, 0.7016),
        (0.9073, 0.0319, 0.9218), (0.8877, 0.0135, 0.9304), (0.5925, 0.1990, 0.5972), (0.5893, 0.2089, 0.5857),
        (0.9218, 0.0164, 0.9445), (0.9220, 0.0705, 0.8905),
        (0.5951, 0.2621, 0.5354), (0.1890, 0.0162, 0.5783), (0.5984, 0.1415, 0.6577), (0.9078, 0.0266, 0.9273),
        (0.5900, 0.2126, 0.5824), (0.5874, 0.2076, 0.5861), (0.9228, 0.0226, 0.9388), (0.886, 0.0448, 0.8982),
        (0.4048, 0.0485, 0.6539), (0.7351, 0.0152, 0.8523), (0.4193, 0.0356, 0.6740), (0.5633, 0.0953, 0.6863),
        (0.7607, 0.0152, 0.8651), (0.6049, 0.1953, 0.6071), (0.8066, 0.0127, 0.8906), (0.5477, 0.1033, 0.6705),
    ],
)  # fmt: skip
def test_the_final_score_is_the_published_one(accuracy, forgetting, published):
    assert final_score(accuracy, forgetting) == pytest.approx(published, abs=1.01e-4)


def test_two_published_rows_have_each_others_forgetting_score():
    """The bad teacher's final score was printed beside 0.1714, and fits 0.1033, which stands in the next method's row."""
    assert final_score(0.5477, 0.1714) == pytest.approx(0.6024, abs=1e-4)
    assert final_score(0.5737, 0.1033) == pytest.approx(0.6836, abs=1e-4)
    assert final_score(0.5737, 0.2014) == pytest.approx(0.5855, abs=1e-4)


def test_the_final_score_spans_zero_to_one():
    assert (final_score(0, 0.5), final_score(1, 0)) == (0, 1)


@pytest.mark.parametrize("spread", [1.0, 1.7, 30.0])
def test_the_attack_agrees_with_scikit_learn_on_its_own_splits(spread):
    losses = torch.cat([exponential(151, 1), spread * exponential(149, 2)])
    member = torch.arange(300) >= 151
    parts = list(StratifiedShuffleSplit(10, random_state=0).split(losses[:, None], member))
    held_out = torch.zeros(10, 300, dtype=torch.bool)
    theirs = []
    for row, (learn, held) in zip(held_out, parts, strict=True):
        row[torch.from_numpy(held)] = True
        model = LogisticRegression(tol=1e-12, max_iter=10_000).fit(losses[learn, None].numpy(), member[learn].numpy())
        theirs.append(model.score(losses[held, None].numpy(), member[held].numpy()))
    assert attack_accuracy(losses, member, held_out) == pytest.approx(sum(theirs) / 10, abs=1e-12)


@pytest.mark.parametrize("sizes", [(1500, 1504), (2002, 2002), (40, 7), (33, 32), (11, 30), (100, 20)])
def test_the_splits_hold_out_as_many_of_each_kind_as_scikit_learns(sizes):
    y = torch.arange(sum(sizes)) < sizes[0]
    ours = {(int((row & y).sum()), int((row & ~y).sum())) for row in stratified(y, seeded())}
    parts = StratifiedShuffleSplit(50, random_state=0).split(y[:, None], y)
    theirs = {(int(y[held].sum()), int((~y[held]).sum())) for _, held in parts}
    assert ours <= theirs
    assert all(sum(counts) == ceil(0.1 * len(y)) for counts in ours)


def test_every_split_is_another_one_and_all_points_have_their_turn():
    held_out = stratified(torch.arange(60) < 30, seeded(), splits=200)
    assert len({tuple(row.tolist()) for row in held_out}) == 200
    assert held_out.any(0).all()
    assert held_out.float().mean(0).max() < 0.25  # none is held out much more often than a tenth of the time


def test_a_few_points_still_leave_both_kinds_to_learn_from():
    for a in range(2, 8):
        for b in range(2, 8):
            y = torch.arange(a + b) < a
            learned = ~stratified(y, seeded())
            assert (learned & y).any(1).all() and (learned & ~y).any(1).all()


def test_the_same_losses_on_both_sides_score_near_zero():
    losses = exponential(1500, 1)
    assert forgetting_score(losses, losses, seeded()) < 0.05
    assert forgetting_score(losses, losses + 1, seeded()) > 0.2  # the control


def test_losses_of_one_distribution_score_near_zero_and_separate_ones_a_half():
    assert forgetting_score(exponential(1500, 1), exponential(1504, 2), seeded()) < 0.05
    assert forgetting_score(exponential(300, 1) + 50, exponential(300, 2), seeded()) == pytest.approx(0.5)
    assert forgetting_score(exponential(300, 1), exponential(300, 2) + 50, seeded()) == pytest.approx(0.5)


@pytest.mark.parametrize(("forget", "unseen", "held"), [(1500, 1504, 301), (5000, 2002, 401), (30, 200, 23), (200, 30, 6)])
def test_the_score_is_counted_in_held_out_images_and_only_forget_losses_are_cut(forget, unseen, held):
    score = forgetting_score(exponential(forget, 1), 1.2 * exponential(unseen, 2), seeded())
    steps = (0.5 - score) * 10 * held, (0.5 + score) * 10 * held
    assert min(abs(step - round(step)) for step in steps) < 1e-9


def test_the_generator_decides_which_forget_losses_stay_and_how_they_are_split():
    forget, unseen = exponential(400, 1), 1.5 * exponential(90, 2)
    first, again, other = (forgetting_score(forget, unseen, seeded(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_with_fewer_than_two_images_on_a_side_there_is_no_score():
    for n, m in ((0, 9), (1, 9), (9, 0), (9, 1)):
        assert forgetting_score(exponential(n, 1), exponential(m, 2), seeded()) is None
    assert forgetting_score(exponential(2, 1), exponential(2, 2), seeded()) is not None
