"""What features can still tell."""

import numpy
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.testing import assert_close

from unlearn_cli.ops.probes import (
    few_shot_accuracy,
    gather,
    prototype_rows,
    ridge,
    separation,
)


def clusters(seed=0, sizes=(40, 25, 60), d=7, spread=1.0, dtype=torch.float64):
    """Gaussian classes of uneven sizes: (N, d) features and (N,) labels."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    middles = 2 * torch.randn(len(sizes), d, generator=draw, dtype=torch.float64)
    x = middles[y] + spread * torch.randn(len(y), d, generator=draw, dtype=torch.float64)
    mixed = torch.randperm(len(y), generator=draw)
    return x[mixed].to(dtype), y[mixed]


def probe_of(x, y, classes=3):
    return ridge(gather(x, y, classes))


# the ridge probe


def test_the_probe_is_scikit_learns_weighted_ridge_on_standardised_features():
    x, y = clusters()
    share = (1 / (3 * torch.bincount(y).double()))[y]
    mean = share @ x
    scale = (share @ (x - mean) ** 2).sqrt()
    h = ((x - mean) / scale).numpy()
    theirs = Ridge(alpha=1e-3).fit(h, torch.nn.functional.one_hot(y).double().numpy(), sample_weight=share.numpy())
    ours = probe_of(x, y)
    assert_close(ours.weight.T, torch.from_numpy(theirs.coef_), rtol=1e-9, atol=1e-9)
    assert_close(ours.scores(x) + 1 / 3, torch.from_numpy(theirs.predict(h)), rtol=1e-9, atol=1e-9)


def test_the_ridge_is_that_share_of_the_mean_diagonal():
    x, y = clusters()
    x[:, 0] = 5.0       # adds nothing to the diagonal: its mean is 6/7
    share = (1 / (3 * torch.bincount(y).double()))[y]
    mean = share @ x
    h = (x - mean)[:, 1:] / (share @ (x - mean) ** 2).sqrt()[1:]
    theirs = Ridge(alpha=0.25 * 6 / 7).fit(h.numpy(), torch.nn.functional.one_hot(y).double().numpy(), sample_weight=share.numpy())
    ours = ridge(gather(x, y, 3), strength=0.25)
    assert_close(ours.weight[1:].T, torch.from_numpy(theirs.coef_), rtol=1e-9, atol=1e-9)
    assert ours.weight[0].abs().max() == 0


def test_every_class_counts_the_same_whatever_its_number_of_images():
    x, y = clusters()
    more, again = torch.cat([x, x[y == 1], x[y == 1]]), torch.cat([y, y[y == 1], y[y == 1]])
    assert_close(probe_of(more, again).scores(x), probe_of(x, y).scores(x), rtol=1e-9, atol=1e-9)
    uneven = torch.cat([x, x[:9]]), torch.cat([y, y[:9]])       # the control: some images of every class
    assert (probe_of(*uneven).scores(x) - probe_of(x, y).scores(x)).abs().max() > 1e-4


def test_the_scale_and_origin_of_each_feature_do_not_matter():
    x, y = clusters()
    other = x * torch.tensor([1e-3, 1, 10, 1e3, 1, 1, 1e6]) + torch.arange(7) - 3
    assert_close(probe_of(other, y).scores(other), probe_of(x, y).scores(x), rtol=1e-6, atol=1e-6)


def test_moments_of_disjoint_classes_add_up_and_the_centre_is_free():
    x, y = clusters()
    whole = gather(x, y, 3)
    low = y < 2
    parts = gather(x[low], y[low], 3, whole.centre) + gather(x[~low], y[~low], 3, whole.centre)
    elsewhere = gather(x, y, 3, torch.full((7,), 4.0, dtype=torch.float64))
    for moments in (parts, elsewhere):
        assert_close(ridge(moments).scores(x), ridge(whole).scores(x), rtol=1e-9, atol=1e-9)


def test_moments_do_not_depend_on_how_images_are_cut_into_chunks(monkeypatch):
    x, y = clusters()
    whole = gather(x, y, 3)
    monkeypatch.setattr("unlearn_cli.ops.probes.CHUNK", 7)
    parts = gather(x, y, 3)
    assert_close((parts.means, parts.second), (whole.means, whole.second), rtol=1e-12, atol=1e-12)


def test_separable_classes_are_learned_and_mixed_ones_are_not():
    x, y = clusters(sizes=(200, 200, 200), spread=0.5)
    learn, look = slice(0, 300), slice(300, 600)
    assert probe_of(x[learn], y[learn]).accuracy(x[look], y[look]) > 0.98
    noise = torch.randn(600, 7, generator=torch.Generator().manual_seed(1))
    assert probe_of(noise[learn], y[learn]).accuracy(noise[look], y[look]) < 0.45


def test_a_class_without_images_is_never_the_answer():
    x, y = clusters()
    scores = probe_of(x, y, classes=5).scores(x)
    assert scores[:, 3:].isneginf().all()
    assert scores[:, :3].isfinite().all()


def test_nothing_is_learned_of_constant_features_or_of_one_class():
    x, y = clusters()
    assert ridge(gather(torch.full_like(x, 0.1).float(), y, 3)) is None
    assert ridge(gather(x, torch.zeros_like(y), 3)) is None


def test_one_image_of_a_class_is_enough_for_a_probe():
    x, y = clusters(spread=0.1)
    others = gather(x[y < 2], y[y < 2], 3)
    one = (y == 2).nonzero()[0]
    probe = ridge(others + gather(x[one], y[one], 3, others.centre))
    assert probe.accuracy(x[y == 2], y[y == 2]) == 1


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e30])
def test_features_of_any_size_and_far_from_zero_are_learned(size):
    x, y = clusters(spread=0.1, dtype=torch.float32)
    assert probe_of(size * (x + 100), y).accuracy(size * (x + 100), y) == 1


def test_more_features_than_images_are_no_trouble():
    x, y = clusters(sizes=(4, 5, 6), d=40)
    assert probe_of(x, y).accuracy(x, y) == 1


# prototypes


def by_hand(held, y, rivals, shots, shot_y, centre, chosen):
    """The same in plain loops."""
    def cosine(a, b):
        return a @ b / (numpy.linalg.norm(a) * numpy.linalg.norm(b))

    right = 0
    for h, label in zip(held - centre, y):
        near = {("rival", i): cosine(h, r) for i, r in enumerate(rivals - centre)}
        for c in set(y.tolist()):
            near[c] = cosine(h, shots[[i for i in chosen if shot_y[i] == c]].mean(0) - centre)
        right += max(near, key=near.get) == int(label)
    return right / len(y)


@pytest.mark.parametrize("classes", [1, 2])
def test_few_shot_accuracy_agrees_with_plain_loops(classes):
    x, y = clusters(sizes=(30, 30, 30, 30), spread=3.0, d=3)
    forgotten = y < classes
    held, shots = forgotten.nonzero()[::2, 0], forgotten.nonzero()[1::2, 0]
    rivals = torch.stack([x[y == c].mean(0) for c in range(classes, 4)])
    draw = torch.Generator().manual_seed(0)
    mixed = [torch.randperm(len(shots), generator=draw) for _ in range(6)]
    draws = torch.stack([torch.cat([each[y[shots][each] == c][:3] for c in range(classes)]) for each in mixed])
    centre = x[y >= classes].mean(0)
    ours = few_shot_accuracy(x[held], y[held], rivals, x[shots], y[shots], centre, draws)
    arrays = [t.numpy() for t in (x[held], y[held], rivals, x[shots], y[shots], centre)]
    assert ours == [by_hand(*arrays, draw.tolist()) for draw in draws]
    assert len(set(ours)) > 1


def test_images_at_the_centre_are_nobodys():
    held, centre = torch.ones(4, 3), torch.ones(3, dtype=torch.float64)
    rivals = torch.eye(3, dtype=torch.float64)
    assert few_shot_accuracy(held, torch.zeros(4).long(), rivals, torch.randn(5, 3), torch.zeros(5).long(), centre,
                             torch.arange(5)[None]) == [0.0]  # fmt: skip


def test_separation_is_worked_by_hand():
    """From the origin (3, 4) has the cosines 0.6 and 0.8 with the axes and -0.6 with the third mean."""
    means = torch.tensor([[2.0, 0], [0, 5], [-1, 0]])
    held = torch.tensor([[3.0, 4], [3, 4], [0, 1]])
    centre = torch.zeros(2, dtype=torch.float64)
    found = separation(held, torch.tensor([0, 1, 2]), means, centre)
    assert_close(found, torch.tensor([-0.2, 0.2, -1.0], dtype=torch.float64))
    assert_close(separation(held + 7, torch.tensor([0, 1, 2]), means + 7, centre + 7), found)


def head(seed=0, classes=5, d=4):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(classes, d, generator=draw), torch.randn(classes, generator=draw)


def test_new_rows_point_to_the_means_are_as_long_as_the_others_and_no_better_at_the_centre():
    weight, bias = head()
    centre = torch.randn(4, dtype=torch.float64)
    mean, classes = torch.randn(1, 4, dtype=torch.float64), torch.tensor([2])
    new, b = prototype_rows(weight.double(), bias.double(), mean, centre, classes)
    kept = [0, 1, 3, 4]
    assert torch.equal(new[kept], weight[kept].double())
    assert torch.equal(b[kept], bias[kept].double())
    middle = weight[kept].double().mean(0)
    assert_close((new[2] - middle).norm(), (weight[kept].double() - middle).norm(dim=1).mean())
    assert_close(torch.nn.functional.cosine_similarity(new[2] - middle, mean[0] - centre, 0), torch.ones((), dtype=torch.float64))
    scores = new @ centre + b
    assert_close(scores[2], scores[kept].mean())


def test_what_the_forgotten_row_held_is_of_no_account_and_neither_is_what_all_rows_share():
    weight, bias = head()
    centre, mean, classes = torch.randn(4), torch.randn(1, 4), torch.tensor([2])
    x = torch.randn(50, 4)
    hidden, low = weight.clone(), bias.clone()
    hidden[2], low[2] = 0, -1e4
    plain, b = prototype_rows(weight, bias, mean, centre.double(), classes)
    again, b2 = prototype_rows(hidden, low, mean, centre.double(), classes)
    assert torch.equal(again, plain)
    assert torch.equal(b2, b)
    moved, b3 = prototype_rows(weight + 3, bias + 2, mean, centre.double(), classes)
    assert torch.equal((x @ moved.T + b3).argmax(1), (x @ plain.T + b).argmax(1))


def test_rows_seen_from_the_centre_win_where_they_should_and_rows_seen_from_zero_win_everywhere():
    """Features above zero: their means all point the same way."""
    x, y = clusters(sizes=(50, 50, 50), d=12, spread=0.5)
    x = x + 20
    weight = torch.stack([x[y == c].mean(0) - x.mean(0) for c in range(3)])
    bias = -(weight @ x.mean(0))
    mean, centre, classes = x[y == 0].mean(0)[None], x[y > 0].mean(0), torch.tensor([0])
    for origin, wins_all in ((centre, False), (torch.zeros(12), True)):
        new, b = prototype_rows(weight, bias, mean, origin.double(), classes)
        won = (x @ new.T + (b if not wins_all else bias)).argmax(1) == 0
        assert won[y == 0].double().mean() > 0.95
        assert (won[y > 0].double().mean() > 0.95) == wins_all


def test_a_head_without_bias_or_with_one_other_row_gets_its_rows_too():
    weight, _ = head(classes=2)
    new, none = prototype_rows(weight, None, torch.randn(1, 4), torch.zeros(4).double(), torch.tensor([0]))
    assert none is None
    assert torch.equal(new[1], weight[1])
    assert_close((new[0] - weight[1]).norm(), weight[1].norm())
    assert new.dtype == weight.dtype
    weight, _ = head()
    centre = torch.randn(4).double()
    new, _ = prototype_rows(weight.double(), None, torch.randn(2, 4), centre, torch.tensor([4, 0]))
    scores = new @ centre
    assert_close(scores[[0, 4]], scores[1:4].mean().expand(2))
