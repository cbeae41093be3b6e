"""Boundary Expanding: the shadow class comes and goes, and what it drew away stays away."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from toys import known

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.batches import seeded
from unlearn_cli.engine.run import Options
from unlearn_cli.methods import boundary_expand as method
from unlearn_cli.methods.boundary_expand import prune_, widened
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.modes import train_mode


def forget_logits(loaded):
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as model:
        return run.logits(model, split(loaded.folder, Request(("3",))).forget)


# the head


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_widening_and_pruning_give_the_same_head_to_the_last_bit(bias, dtype):
    head = nn.Linear(7, 4, bias=bias, dtype=dtype)
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    wide = widened(head, seeded(0, "noise"))
    assert wide.weight.shape == (5, 7)
    assert (wide.bias is not None) == bias
    x = torch.randn(3, 7, dtype=dtype)
    assert_close(wide(x)[:, :4], head(x))
    prune_(head, wide)
    after = dict(head.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) and after[name].dtype == dtype for name in before)
    assert head.out_features == 4


def test_the_shadows_row_is_drawn_as_xavier_says_from_the_runs_own_generator():
    head = nn.Linear(20_000, 9)
    a, b, c = (widened(head, seeded(seed, "noise")).weight[-1] for seed in (0, 0, 1))
    assert a.std().item() == pytest.approx((2 / 20_010) ** 0.5, rel=0.03)
    assert abs(a.mean().item()) < 3 * (2 / 20_010 / 20_000) ** 0.5
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert widened(head, seeded(0, "noise")).bias[-1] == 0


def test_drawing_the_row_leaves_the_global_generator_alone():
    head = nn.Linear(7, 4)
    before = torch.get_rng_state()
    widened(head, seeded(0, "noise"))
    assert torch.equal(torch.get_rng_state(), before)


# on the shipped model


def as_in_the_paper(loaded, precision, lr, momentum):
    """One step with torch's own optimiser, on the whole forget set, with the widened head put in the network's place."""
    run = loaded.run(Options(device="cpu", precision=precision))
    with run.adopted(loaded.model, loaded.head) as model:
        forget = split(loaded.folder, Request(("3",))).forget
        b = next(run.batches(forget, size=147, shuffle=False))
        _, head = run.split(model)
        wide = widened(head, run.noise)
        model.head = wide
        opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
        train_mode(model, "eval")
        cross_entropy(model(b.x), torch.full((147,), 10)).mean().backward()
        opt.step()
        prune_(head, wide)
        model.head = head
        return {name: t.clone() for name, t in model.state_dict().items()}


def test_a_step_is_the_papers_on_every_layer(toy):
    made = toy.forget("boundary-expand", precision="float64", batch_size=147, lr=0.01)
    wanted, before = as_in_the_paper(toy.load(), "float64", 0.01, 0.9), toy.weights
    for name, tensor in made.tensors.items():
        assert_close(tensor, wanted[name].to(tensor.dtype), rtol=0, atol=1e-6)
    moved = {name for name in before if not torch.equal(made.tensors[name], before[name])}
    assert moved == {name for name, _ in made.loaded.model.named_parameters()}, "the gradient reaches every layer"


def test_half_precision_reaches_every_layer_as_well(toy):
    made, before = toy.forget("boundary-expand", precision="bfloat16", lr=0.01), toy.weights
    moved = {name for name in before if not torch.equal(made.tensors[name], before[name])}
    assert moved == {name for name, _ in made.loaded.model.named_parameters()}
    wanted = toy.forget("boundary-expand", lr=0.01)
    for name in moved:
        change, other = made.tensors[name] - before[name], wanted.tensors[name] - before[name]
        assert nn.functional.cosine_similarity(change.flatten(), other.flatten(), dim=0) > 0.8, name


def test_no_rate_to_speak_of_changes_nothing(toy):
    """What is left is widening and pruning; only a weight of exactly zero has the resolution to move."""
    made = toy.forget("boundary-expand", lr=1e-30)
    for name, tensor in toy.weights.items():
        assert torch.equal(made.tensors[name][tensor != 0], tensor[tensor != 0])
        assert_close(made.tensors[name], tensor, rtol=0, atol=1e-20)
    for name in ("head.weight", "head.bias"):
        assert torch.equal(made.tensors[name], toy.weights[name])


def test_the_network_keeps_its_shape_and_its_names(toy):
    made = toy.forget("boundary-expand", lr=0.01)
    assert {k: t.shape for k, t in made.tensors.items()} == {k: t.shape for k, t in toy.weights.items()}
    assert made.loaded.model.head.out_features == 10
    assert "forward" not in vars(made.loaded.model.head)


def test_it_forgets_when_the_rate_suits_the_network(toy):
    assert known(toy.forget("boundary-expand", lr=1e-12)) == 139
    assert known(toy.forget("boundary-expand", short=False, lr=1e-2)) == 0


def test_the_stop_looks_at_the_model_without_the_shadow(toy):
    made = toy.forget("boundary-expand", short=False, lr=2e-4, stop_accuracy=0.25)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0.25, epoch")
    assert 1 < made.run.steps / 3 < 10
    assert known(made) / 147 <= 0.25
    sooner = toy.forget("boundary-expand", short=False, lr=2e-4, epochs=made.run.steps // 3 - 1)
    assert known(sooner) / 147 > 0.25, "an epoch earlier it was not yet reached"


def test_a_budget_that_ends_too_soon_is_said(toy):
    made = toy.forget("boundary-expand", lr=1e-12, stop_accuracy=0.0)
    assert made.run.notes == ["the budget of 1 epochs ended with 139 of 147 forget images known"]


def test_a_head_without_a_bias_keeps_having_none(toy):
    loaded = toy.load()
    loaded.model.head.bias = None
    before = loaded.model.head.weight.detach().clone()
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as model:
        method.boundary_expand(run, model, split(loaded.folder, Request(("3",))), epochs=1, lr=0.01)
    assert loaded.model.head.bias is None
    assert not torch.equal(loaded.model.head.weight, before)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_what_is_frozen_in_the_head_stays(toy, frozen):
    loaded = toy.load()
    head = loaded.model.head
    getattr(head, frozen).requires_grad_(False)
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as model:
        method.boundary_expand(run, model, split(loaded.folder, Request(("3",))), epochs=1, lr=0.01)
    assert {name for name, p in head.named_parameters() if torch.equal(p, before[name])} == {frozen}


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_batchnorm_keeps_its_statistics_unless_told_otherwise(toy, bn):
    made = toy.forget("boundary-expand", bn=bn)
    kept = [name for name in toy.weights if "running" in name]
    assert kept
    assert all(torch.equal(made.tensors[name], toy.weights[name]) for name in kept) == (bn == "eval")


@pytest.mark.parametrize("settings", [{"momentum": 0.0}, {"weight_decay": 0.1}, {"batch_size": 32}, {"epochs": 2}], ids=str)
def test_each_setting_matters(toy, settings):
    made, plain = toy.forget("boundary-expand", lr=1e-3, **settings), toy.forget("boundary-expand", lr=1e-3)
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])
