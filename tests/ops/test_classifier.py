"""A small network that tells two kinds apart."""

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.ops.classifier import classifier, dense, side_weights


@pytest.fixture
def learned():
    """The network that learned from the examples."""

    def learn(x, kind, epochs=100, size=20, balance=False, optimizer="sgd"):
        run = Run(Options(device="cpu", precision="float32"), [0.5], [0.5])
        draw = torch.Generator().manual_seed(0)
        return classifier(run, Features(x, kind, "examples"), 64, optimizer, 0.01, epochs, size, balance, draw)

    return learn


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_learns_what_its_features_say(learned, optimizer):
    x = torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    easy = x[:, 0] < 0.7
    said, unlearned = (learned(x, easy, epochs, optimizer=optimizer)(x).squeeze(1) >= 0 for epochs in (100, 0))
    assert (said == easy).float().mean() > 0.95
    assert (unlearned == easy).float().mean() < 0.9


def test_balance_finds_more_of_the_rare_kind(learned):
    x = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    easy = torch.rand(400, generator=torch.Generator().manual_seed(1)) > 0.3 * x[:, 0]  # at most 30 % hard anywhere
    found = {balance: int((learned(x, easy, size=50, balance=balance)(x) < 0).sum()) for balance in (False, True)}
    assert found[False] < 40 < found[True]


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
