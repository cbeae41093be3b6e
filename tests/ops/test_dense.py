"""A network of linear layers, and weights for two kinds."""

import torch
from torch.testing import assert_close

from unlearn_cli.ops.dense import dense, side_weights


def test_weights_give_both_sides_the_same_sum_and_have_mean_one():
    easy = torch.tensor([True] * 9 + [False])
    weights = side_weights(easy)
    assert_close(weights[easy].sum(), weights[~easy].sum())
    assert_close(weights.mean(), torch.tensor(1.0))
    assert_close(side_weights(easy[4:]).mean(), torch.tensor(1.0))


def test_a_dense_network_is_drawn_from_its_generator_alone():
    state = torch.get_rng_state()
    a, b, c = (dense([3, 64, 32, 1], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert [tuple(p.shape) for p in a.parameters()] == [(64, 3), (64,), (32, 64), (32,), (1, 32), (1,)]
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))
    assert all(p.abs().max() <= 3**-0.5 for p in a[0].parameters())
    assert a[0].weight.abs().max() > 0.9 * 3**-0.5
    assert a(torch.zeros(5, 3)).shape == (5, 1)
