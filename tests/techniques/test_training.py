"""Training from a recipe: every optimiser moves the weights, and a broken training ends as an unbroken one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from unlearn_cli.engine.run import deterministic
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.techniques.training import fit

SGD = Recipe(epochs=3, lr=0.05, batch_size=100)
ADAMW = Recipe(epochs=3, lr=2e-3, batch_size=100, optimizer="adamw", weight_decay=0.05, schedule="cosine", warmup=0.2, clip=1.0)


class Dropped(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(28 * 28, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10))


@pytest.fixture
def trained(splits, new_run):
    few = splits.retain.subset(torch.arange(0, len(splits.retain), 4))

    def call(recipe, seed=0, **more):
        run = new_run(seed=seed)
        with deterministic(run):
            model = Dropped()
            with run.adopted(model, "4"):
                fit(run, model, few, recipe, **more)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    return call


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("recipe", [SGD, ADAMW, replace(ADAMW, optimizer="adam"), replace(SGD, schedule="step", lookahead_every=1)])
def test_a_training_that_goes_on_ends_with_the_tensors_of_one_that_was_never_broken_dropout_and_all(trained, recipe):
    states = []
    whole = trained(recipe, keep=lambda progress: states.append(replace(
        progress, tensors={name: tensor.clone() for name, tensor in progress.tensors.items()})))  # fmt: skip
    assert [state.epoch for state in states] == [1, 2]
    for state in states:
        assert same(trained(recipe, resume=state), whole)
        forgetful = {k: torch.zeros_like(t) if k.startswith(("velocity.", "first.")) else t for k, t in state.tensors.items()}
        assert not same(trained(recipe, resume=replace(state, tensors=forgetful)), whole)  # the moments matter
    assert not same(trained(recipe, seed=1), whole)


def test_a_body_that_hardly_moves_leaves_the_learning_to_the_head(trained):
    start, found = trained(replace(SGD, lr=1e-12)), trained(replace(SGD, body_lr=1e-9))

    def moved(name):
        return (found[name] - start[name]).abs().max()

    assert moved("1.weight") < 1e-6 < 1e-3 < moved("4.weight")


def test_a_gradient_is_scaled_down_to_the_clip(trained):
    """One step of plain SGD is as long as the rate times the gradient's norm."""
    one = replace(SGD, epochs=1, batch_size=10_000, momentum=0.0, schedule="constant", lr=1.0, flip="none", crop_padding=0)
    start = trained(replace(one, lr=1e-12))

    def length(found):
        return sum((found[name] - start[name]).square().sum() for name in start).sqrt().item()

    free, clipped = length(trained(one)), length(trained(replace(one, clip=0.01)))
    assert free > 0.1
    assert clipped == pytest.approx(0.01, rel=1e-3)
