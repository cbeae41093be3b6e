"""Where a network runs and in which number format."""

import copy

import pytest
import torch
from torch import nn

from unlearn_cli.engine.precision import LossScale, find_device, find_precision, restore_forward, run_in
from unlearn_cli.errors import UnlearnError

CPU = torch.device("cpu")


def test_the_cpu_is_always_there():
    assert find_device("cpu", None) == CPU
    assert find_device("auto", None).type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "meta", "cuda:99", "cpu:1", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UnlearnError) as raised:
        find_device(name, None)
    assert name in raised.value.problem


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_is_refused_where_there_is_none():
    with pytest.raises(UnlearnError, match="this machine has no device 'cuda'"):
        find_device("cuda", 0)


def test_a_named_precision_is_taken_and_float16_is_not_for_the_cpu():
    assert find_precision("float64", CPU) == torch.float64
    assert find_precision("auto", CPU) in (torch.float32, torch.bfloat16)
    with pytest.raises(UnlearnError, match="float16"):
        find_precision("float16", CPU)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 3))


def test_the_backbone_runs_in_half_precision_and_the_head_in_full():
    model = network()
    plain = model(x := torch.randn(5, 64))
    run_in(model, model[1], torch.bfloat16)
    reached = []
    model[1].register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
    logits = model(x)
    assert reached[0].dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, plain)
    assert torch.allclose(logits, plain, atol=0.1)


def test_a_copy_runs_its_own_weights():
    model = network()
    run_in(model, model[1], torch.bfloat16)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert twin(torch.randn(5, 64)).abs().sum() > 0


def test_full_precision_replaces_nothing_and_half_can_be_undone():
    model = network()
    plain = model(x := torch.randn(5, 64))
    run_in(model, model[1], torch.float32)
    assert "forward" not in vars(model)
    run_in(model, model[1], torch.bfloat16)
    restore_forward(model)
    assert torch.equal(model(x), plain)


def test_the_loss_scale_gives_back_gradients_and_shrinks_when_they_overflow():
    scale = LossScale()
    grads = [torch.tensor([3.0]) * scale.value, torch.tensor([[1e-9]]) * scale.value]
    assert scale.unscale_(grads)
    torch.testing.assert_close(grads, [torch.tensor([3.0]), torch.tensor([[1e-9]])])
    before = scale.value
    assert not scale.unscale_([torch.tensor([float("inf")])])
    assert scale.value == before / 2


def test_the_loss_scale_grows_after_enough_good_steps():
    scale = LossScale()
    before = scale.value
    for _ in range(LossScale.GROW):
        assert scale.unscale_([torch.ones(1)])
    assert scale.value == 2 * before


@pytest.mark.parametrize(
    ("features", "maker", "expected"),
    [
        ({"amx_tile"}, "GenuineIntel", torch.bfloat16),
        ({"avx512_bf16"}, "AuthenticAMD", torch.bfloat16),
        ({"avx512_bf16"}, "GenuineIntel", torch.float32),
        (set(), "AuthenticAMD", torch.float32),
    ],
)
def test_auto_on_a_cpu_goes_by_its_instructions(monkeypatch, features, maker, expected):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in features, raising=False)
    monkeypatch.setattr("unlearn_cli.engine.precision._cpu_maker", lambda: maker)
    assert find_precision("auto", CPU) == expected
