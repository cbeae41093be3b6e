"""What easy and hard are told by, on numbers worked by hand."""

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.ops.difficulty import attack_loss, easiest, nearest_distances, unit_scaled
from unlearn_cli.ops.losses import entropy

DRAW = torch.Generator().manual_seed(0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def close(actual, expected):
    assert_close(actual, tensor(expected), rtol=0, atol=1e-6)


# distances


REFERENCES = tensor([[0.0, 2.0], [1.0, 0.0], [-5.0, 0.0], [1.0, 1e-3]])
LABELS = torch.tensor([0, 0, 0, 1])


def test_distances_are_between_directions_of_one_class_nearest_first():
    x, y = tensor([[3.0, 0.0]]), torch.tensor([0])
    close(nearest_distances(x, y, REFERENCES, LABELS, 3), [[0.0, 2**0.5, 2.0]])
    close(nearest_distances(x, y, REFERENCES, LABELS, 1), [[0.0]])
    close(nearest_distances(x, torch.tensor([1]), REFERENCES, LABELS, 1), [[1e-3]])


def test_the_farthest_stands_in_for_missing_references():
    x = tensor([[0.0, 1.0]])
    close(nearest_distances(x, torch.tensor([0]), REFERENCES, LABELS, 5), [[0.0, 2**0.5, 2**0.5, 2**0.5, 2**0.5]])


def test_a_class_without_references_is_as_far_as_can_be():
    x, y = tensor([[3.0, 0.0], [3.0, 0.0]]), torch.tensor([7, 0])
    close(nearest_distances(x, y, REFERENCES, LABELS, 2), [[2.0, 2.0], [0.0, 2**0.5]])


def test_lengths_of_features_do_not_matter_and_directions_do():
    x, y = torch.randn(9, 4, generator=DRAW, dtype=torch.float64), torch.arange(9) % 2
    far, labels = torch.randn(30, 4, generator=DRAW, dtype=torch.float64), torch.arange(30) % 2
    found = nearest_distances(x, y, far, labels, 3)
    assert_close(nearest_distances(7 * x, y, far / 3, labels, 3), found)
    assert not torch.allclose(nearest_distances(-x, y, far, labels, 3), found)


def test_they_are_what_sorting_every_pair_gives():
    x, y = torch.randn(40, 6, generator=DRAW, dtype=torch.float64), torch.arange(40) % 3
    far, labels = torch.randn(200, 6, generator=DRAW, dtype=torch.float64), torch.arange(200) % 3
    found = nearest_distances(x, y, far, labels, 5)
    for i in range(40):
        own = far[labels == y[i]]
        pairs = (x[i] / x[i].norm() - own / own.norm(dim=1, keepdim=True)).norm(dim=1)
        assert_close(found[i], pairs.sort().values[:5], rtol=0, atol=1e-7)


# attacks


def test_an_attack_that_moved_nothing_leaves_the_entropy():
    logits = torch.randn(8, 5, generator=DRAW, dtype=torch.float64)
    assert_close(attack_loss(logits, logits), entropy(logits))
    assert (attack_loss(logits, logits.flip(1)) > entropy(logits) + 1e-3).all()


def test_the_target_is_the_models_probability_not_its_logit():
    close(attack_loss(tensor([[0.0, 0.0]]), tensor([[1.0, 0.0]])), [0.813262])  # log(1 + e) - 1/2
    close(attack_loss(tensor([[9.0, 9.0]]), tensor([[1.0, 0.0]])), [0.813262])


# scaling


def test_values_beyond_the_fences_are_clipped_before_the_rest_is_stretched():
    x = tensor([[0.0], [1.0], [2.0], [3.0], [100.0]])  # quartiles 1 and 3, fences -2 and 6
    close(unit_scaled(x, x), [[0.0], [1 / 6], [1 / 3], [1 / 2], [1.0]])
    close(unit_scaled(x[:4], x[:4]), [[0.0], [1 / 3], [2 / 3], [1.0]])


def test_another_set_may_be_the_measure():
    close(unit_scaled(tensor([[-9.0], [3.0], [7.0]]), tensor([[0.0], [1.0], [2.0], [3.0], [100.0]])), [[0.0], [0.5], [1.0]])


def test_columns_are_scaled_apart_and_one_that_does_not_vary_says_nothing():
    x = tensor([[0.0, 10.0, 4.0], [1.0, 20.0, 4.0], [2.0, 30.0, 4.0]])
    close(unit_scaled(x, x), [[0.0, 0.0, 0.5], [0.5, 0.5, 0.5], [1.0, 1.0, 0.5]])
    close(unit_scaled(x[:1], x[:1]), [[0.5, 0.5, 0.5]])


def test_two_sets_that_differ_in_scale_alone_become_the_same():
    x = torch.randn(50, 3, generator=DRAW, dtype=torch.float64)
    assert_close(unit_scaled(5 * x + 2, 5 * x + 2), unit_scaled(x, x))
    assert not torch.allclose(unit_scaled(5 * x + 2, x), unit_scaled(x, x))


# telling apart


@pytest.mark.parametrize(("share", "count"), [(0.0, 1), (0.5, 6), (0.9, 10), (1.0, 11)])
def test_the_easiest_are_the_share_with_the_smallest_scores(share, count):
    score = torch.arange(11.0)[torch.randperm(11, generator=DRAW)]
    easy = easiest(score, share)
    assert int(easy.sum()) == count
    assert count == 11 or score[easy].max() < score[~easy].min()
