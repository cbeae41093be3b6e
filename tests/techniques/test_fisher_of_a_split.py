"""The diagonal Fisher information of the shipped model on a split, against a plain loop."""

import pytest
import torch
from torch.testing import assert_close

from tests.looped import looped
from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.techniques.fisher import diagonal


@pytest.fixture
def adopted(shipped):
    loaded = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        yield run, model, split(loaded.folder, Request(("3",)), reads="retain").retain


def test_the_mean_over_a_split_is_that_of_the_loop(adopted):
    run, model, retain = adopted
    few = retain.subset(torch.arange(0, len(retain), 300))
    x = run.over(few, lambda b: b.x, phase="images")
    expected = looped(model, x, run.logits(model, few).softmax(1))
    for size in (2, 64):
        made = diagonal(run, model, few, size=size)
        assert list(made) == [name for name, _ in model.named_parameters()]
        for name, p in model.named_parameters():
            assert made[name].shape == p.shape
            assert_close(made[name], expected[name] / len(few), rtol=1e-9, atol=1e-12)


def test_model_and_hooks_are_left_as_they_were(adopted):
    run, model, retain = adopted
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.train()
    diagonal(run, model, retain.subset(torch.arange(5)))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_each_image_is_read_once_and_drawn_labels_estimate_the_same(adopted):
    run, model, retain = adopted
    retain = retain.subset(torch.arange(0, len(retain), 3))
    exact = diagonal(run, model, retain)["head.bias"]
    assert run.images_read == {"retain": len(retain)}
    drawn = diagonal(run, model, retain, labels="sampled")["head.bias"]
    assert 0.3 < (drawn.sum() / exact.sum()).item() < 3
    assert not torch.equal(drawn, exact)
