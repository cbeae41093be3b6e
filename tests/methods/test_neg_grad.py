"""NegGrad: a step of the climb by hand, and where the climb ends."""

import math

import pytest
import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.losses import cross_entropy

WHOLE = {"batch_size": 5000, "precision": "float64"}
"""One step per epoch, so that the order of the images does not matter."""
FREE = {"clip": 1e9, "stop_loss": 1e9}


def on(loaded, look):
    """look(run, model, forget set) in float64, on a model as it is."""
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        return look(run, model, split(loaded.folder, Request(("3",))).forget)


def loss(outcome):
    return on(outcome.loaded, lambda run, model, forget: cross_entropy(run.logits(model, forget), forget.y).mean().item())


def by_hand(toy, lr, clip):
    """The weights after one step up the mean loss, the gradient no longer than `clip`."""

    def climb(run, model, forget):
        b = next(run.batches(forget, size=5000, shuffle=False))
        parameters = list(model.eval().parameters())
        grads = torch.autograd.grad(cross_entropy(model(b.x), b.y).mean(), parameters)
        length = torch.sqrt(sum(g.square().sum() for g in grads))
        scale = min(1.0, clip / length.item())
        return {name: (p + lr * scale * g).detach() for (name, p), g in zip(model.named_parameters(), grads, strict=True)}

    return on(toy.load(), climb)


@pytest.mark.parametrize("clip", [1e9, 0.1])
def test_a_step_climbs_the_loss_with_a_gradient_of_bounded_length(toy, clip):
    made = toy.forget("neg-grad", lr=0.05, **WHOLE | FREE | {"clip": clip}).tensors
    for name, weight in by_hand(toy, 0.05, clip).items():
        assert_close(made[name].double(), weight, rtol=0, atol=1e-6)
    other = by_hand(toy, 0.05, 0.1 if clip > 1 else 1e9)
    assert max((made[name].double() - t).abs().max() for name, t in other.items()) > 1e-4


def test_a_small_step_raises_the_loss_on_the_images_it_was_taken_on(toy):
    before, after, further = (loss(toy.forget("neg-grad", lr=lr, **WHOLE | FREE)) for lr in (1e-12, 1e-3, 1e-2))
    assert before < after < further


def test_it_ends_once_the_forget_loss_is_that_of_a_guess(toy):
    made = toy.forget("neg-grad", short=False, lr=0.02, epochs=50, stop_accuracy=0)
    assert made.run.stopped_by.startswith(f"the forget loss passed {math.log(10):.3f} nats, epoch")
    assert loss(made) > math.log(10)
    epochs = int(made.run.stopped_by.rpartition(" ")[2])
    assert 1 < epochs < 50
    assert loss(toy.forget("neg-grad", lr=0.02, epochs=epochs - 1)) <= math.log(10)


def test_it_ends_at_the_loss_or_the_accuracy_asked_for(toy):
    long = {"short": False, "lr": 0.02, "epochs": 50}
    made = toy.forget("neg-grad", stop_loss=0.7, **long)
    assert made.run.stopped_by.startswith("the forget loss passed 0.700")
    assert 0.7 < loss(made) < math.log(10)
    made = toy.forget("neg-grad", stop_accuracy=0.7, stop_loss=1e9, **long)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0.7, epoch")
    assert on(made.loaded, lambda run, model, forget: run.correct(model, forget)) <= 0.7 * 147


def test_a_budget_that_ends_too_soon_is_said(toy):
    made = toy.forget("neg-grad", short=False, lr=1e-9)
    assert made.run.notes == [f"the budget of 2 epochs ended before the forget loss passed {math.log(10):.3f} nats"]
    assert made.run.steps == 2 * 3


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_batchnorm_keeps_its_statistics_unless_told_otherwise(toy, bn):
    made = toy.forget("neg-grad", bn=bn)
    kept = [name for name in toy.weights if "running" in name]
    assert kept
    assert all(torch.equal(made.tensors[name], toy.weights[name]) for name in kept) == (bn == "eval")
