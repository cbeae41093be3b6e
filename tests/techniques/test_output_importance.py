"""How much a weight matters to a model's outputs."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.techniques.importance import output_importance


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def run():
    return Run(Options(device="cpu", precision="float64"), [0.5], [0.5])


def linear():
    head = nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(draw(2, 3))
        head.bias.copy_(draw(2, seed=1))
    return head


X = Features(draw(6, 3, seed=2), torch.zeros(6, dtype=torch.int64), "forget")


def test_it_is_the_slope_of_the_mean_length_of_the_logits(run):
    """d‖z‖/dW = z xᵀ / ‖z‖ and d‖z‖/db = z / ‖z‖ for z = W x + b."""
    head = linear()
    z = head(X.x).detach()
    unit = z / z.norm(dim=1, keepdim=True)
    weight, bias = output_importance(run, head, X, 6)
    assert_close(weight, (unit.T @ X.x / 6).abs(), rtol=0, atol=1e-10)
    assert_close(bias, unit.mean(0).abs(), rtol=0, atol=1e-10)


def test_the_absolute_value_is_a_batchs_and_batches_count_by_their_images(run):
    """In batches of one it is the mean of absolute slopes, which no larger batch exceeds."""
    head = linear()
    z = head(X.x).detach()
    unit = z / z.norm(dim=1, keepdim=True)
    single = output_importance(run, head, X, 1)
    assert_close(single[1], unit.abs().mean(0), rtol=0, atol=1e-10)
    whole = output_importance(run, head, X, 6)
    assert (whole[0] <= single[0] + 1e-12).all()
    assert (whole[0] < single[0] - 1e-6).any()


def test_frozen_weights_have_none_and_a_weight_out_of_use_has_zero(run):
    model = linear()
    model.spare = nn.Parameter(torch.ones(4, dtype=torch.float64))
    model.bias.requires_grad_(False)
    weight, spare = output_importance(run, model, X, 3)
    assert weight.shape == (2, 3)
    assert not spare.any()
    assert model.weight.grad is None


def test_it_can_be_had_of_a_network_and_its_images(shipped):
    loaded = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    run = loaded.run(Options(device="cpu", precision="float32"))
    forget = split(loaded.folder, Request(("3",))).forget
    with run.adopted(loaded.model, loaded.head) as model:
        found = output_importance(run, model, forget, 50)
        assert [t.shape for t in found] == [p.shape for p in model.parameters()]
        assert all(t.isfinite().all() and (t >= 0).all() for t in found)
        assert run.images_read == {"forget": 147}
