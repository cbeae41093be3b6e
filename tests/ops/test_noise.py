"""Images made by descent on the input, while the network rests."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unlearn_cli.engine.optim import Adam
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.noise import at_rest, descend, error_maximising


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(6 * 36, 4))
    net[0].weight.requires_grad_(False)
    return net.double().train()


def state(model):
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    return tensors, {name: m.training for name, m in model.named_modules()}, [p.requires_grad for p in model.parameters()]


def same(a, b):
    return all(torch.equal(a[0][name], b[0][name]) for name in a[0]) and a[1:] == b[1:]


def learned(model, steps, lam=0.1, n=8, size=None, seed=0):
    """(noise at the start, noise at the end, its class)"""
    noise, y = drawn(n, 3, 8, 8, seed=seed), torch.full((n,), 2)
    moved = noise.clone().requires_grad_()
    opt = Adam([([moved], 1.0, 1.0)], 0.1)
    end = descend(moved, lambda x: error_maximising(cross_entropy(model(x), y), x, lam), opt, steps, size)
    return noise, end, y


# the objective


def test_the_penalty_of_normal_noise_is_lambda_for_each_number():
    noise = drawn(256, 3, 32, 32)
    penalty = error_maximising(torch.zeros(256, dtype=torch.float64), noise, 0.1)
    assert_close((penalty + torch.tensor(5.0).log()).mean().item(), 0.1 * 3 * 32 * 32, rtol=0.02, atol=0)
    assert_close(error_maximising(torch.tensor([5.0]).log(), noise[:1], 0.0).item(), -torch.tensor(5.0).log().item())


def test_the_error_enters_with_minus_and_the_squared_norm_with_plus():
    logits, noise = torch.tensor([[0.0, 3.0]], dtype=torch.float64), torch.full((1, 1, 2, 2), 2.0, dtype=torch.float64)
    wrong, right = (error_maximising(cross_entropy(logits, torch.tensor([y])), noise, 0.5).item() for y in (0, 1))
    assert wrong == pytest.approx(0.5 * 16 - 3.048587, abs=1e-6)
    assert right == pytest.approx(0.5 * 16 - 0.048587, abs=1e-6)


# the descent


def test_the_objective_falls_and_the_error_rises(model):
    with at_rest(model, batch_statistics=True):
        before, after, y = learned(model, 40)
        def error(x):
            return cross_entropy(model(x), y)

        for sign, value in ((1, error), (-1, lambda x: error_maximising(error(x), x, 0.1))):
            assert (sign * (value(after) - value(before)).mean() > 1).all()


def test_the_steps_are_those_of_adam_on_the_mean_objective(model):
    with at_rest(model, batch_statistics=True):
        start, ours, y = learned(model, 7)
        theirs = start.clone().requires_grad_()
        opt = torch.optim.Adam([theirs], lr=0.1)
        for _ in range(7):
            opt.zero_grad()
            (-nn.functional.cross_entropy(model(theirs), y) + 0.1 * theirs.square().sum((1, 2, 3)).mean()).backward()
            opt.step()
    assert_close(ours, theirs.detach(), rtol=0, atol=1e-10)
    assert not ours.requires_grad


def test_two_shares_of_a_batch_are_the_batch(model):
    start = drawn(8, 3, 8, 8)
    y = torch.full((8,), 2)

    def moved(rows):
        noise = start[rows].clone().requires_grad_()
        opt = Adam([([noise], 1.0, 1.0)], 0.1)
        return descend(noise, lambda x: error_maximising(cross_entropy(model(x), y[rows]), x, 0.1), opt, 5, 8)

    with at_rest(model):
        assert_close(torch.cat([moved(slice(0, 3)), moved(slice(3, 8))]), moved(slice(0, 8)), rtol=0, atol=1e-10)


# the network at rest


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_learning_noise_leaves_the_network_as_it_was(model, batch_statistics):
    before = state(model)
    with at_rest(model, batch_statistics):
        learned(model, 3)
        assert not any(p.requires_grad for p in model.parameters())
    assert same(state(model), before)
    assert all(p.grad is None for p in model.parameters())
    learned(model, 3)  # the control: at work it takes note of the noise
    assert not same(state(model), before)


def test_it_comes_back_from_an_error_as_well(model):
    before = state(model)
    with pytest.raises(ZeroDivisionError), at_rest(model, batch_statistics=True):
        _ = 1 / 0
    assert same(state(model), before)
    assert model[1].track_running_stats


def test_batchnorm_normalises_by_the_batch_or_by_its_statistics(model):
    x = drawn(9, 3, 8, 8)
    conv, bn = model[0], model[1]
    with torch.no_grad():
        by_batch = bn(conv(x)) if bn.train() else None
        by_statistics = bn.eval()(conv(x))
        for flag, expected in ((True, by_batch), (False, by_statistics)):
            with at_rest(model, flag):
                assert_close(bn(conv(x)), expected)
    assert not torch.allclose(by_batch, by_statistics)


def test_dropout_rests_too(model):
    x = drawn(4, 3, 8, 8)
    with at_rest(model, batch_statistics=True):
        assert torch.equal(model(x), model(x))
    assert not torch.equal(model(x), model(x))
