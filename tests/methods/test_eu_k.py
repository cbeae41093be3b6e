"""EU-k: new weights in the last layers, the old ones below."""

import pytest
import torch

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.methods import eu_k as module

LAST = ("head.weight", "head.bias", "group3.conv2.weight", "group3.conv1.weight", "group3.norm1.bias", "group3.norm2.bias")


def changed(toy, outcome):
    return {name for name, t in outcome.tensors.items() if not torch.equal(t, toy.weights[name])}


def weights(names):
    return {name for name in names if "running" not in name and "tracked" not in name}


def started(toy, **settings):
    """The state that training starts from."""
    return toy.forget("eu-k", lr=1e-25, weight_decay=0, bn="eval", **settings)


def test_below_the_last_three_layers_nothing_changes(toy):
    made = changed(toy, toy.forget("eu-k"))
    assert weights(made) == set(LAST)
    assert all(name.startswith(("head", "group3")) for name in made)


def test_training_starts_from_new_weights_and_leaves_them(toy):
    first, made = started(toy).tensors, toy.forget("eu-k").tensors
    for name in LAST:
        assert not torch.equal(made[name], first[name])
        assert not torch.equal(made[name], toy.weights[name])
    assert first["head.bias"].abs().max() < 1e-20
    for name in ("head.weight", "group3.conv2.weight", "group3.conv1.weight"):
        fan_in = first[name][0].numel()
        assert first[name].std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
        assert torch.equal(first[name], started(toy).tensors[name])
        assert not torch.equal(first[name], started(toy, seed=1).tensors[name])


def test_batchnorm_among_them_begins_anew_unless_asked_not_to(toy):
    fresh, kept = started(toy).tensors, started(toy, reset_bn=False).tensors
    for norm in ("group3.norm1", "group3.norm2"):
        assert not fresh[f"{norm}.running_mean"].any()
        assert fresh[f"{norm}.bias"].abs().max() < 1e-20
        assert (fresh[f"{norm}.running_var"] == 1).all()
        for part in ("running_mean", "running_var", "weight", "bias"):
            assert torch.equal(kept[f"{norm}.{part}"], toy.weights[f"{norm}.{part}"])
            assert torch.equal(fresh[f"group2.norm2.{part}"], toy.weights[f"group2.norm2.{part}"])


def test_named_blocks_are_renewed_and_the_head_with_them(toy):
    assert weights(changed(toy, toy.forget("eu-k", blocks="group3.conv2"))) == {"group3.conv2.weight", "head.weight", "head.bias"}


def test_what_the_recipe_froze_keeps_its_values(toy):
    kept = set(toy.weights) - changed(toy, toy.forget("eu-k", layers=100))
    assert weights(kept) == {"whiten.weight", "whiten.bias", *(f"group{g}.norm{n}.weight" for g in (1, 2, 3) for n in (1, 2))}


def test_it_trains_as_long_as_the_original_did(toy, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "rate", lambda schedule, lr, at, epochs: asked.append(epochs) or lr)
    made = toy.forget("eu-k", short=False, layers=1)
    retain = made.run.images_read["retain"]
    assert set(asked) == {made.run.recipe.epochs}
    assert made.run.steps == made.run.recipe.epochs * -(-retain // 64)


def test_the_head_alone_learns_from_features_that_are_read_once(toy):
    made = toy.forget("eu-k", layers=1, epochs=3)
    assert changed(toy, made) == {"head.weight", "head.bias"}
    assert made.run.images_read["retain"] < 2000


def test_it_knows_the_retained_classes_and_not_the_forgotten_one(toy):
    made = toy.forget("eu-k", layers=2, epochs=6)
    run = made.loaded.run(Options(device="cpu"))
    with run.adopted(made.loaded.model, made.loaded.head) as model:
        splits = split(made.loaded.folder, Request(("3",)), reads=("forget", "retain"))
        assert run.correct(model, splits.forget) == 0
        assert run.correct(model, splits.retain) > 0.8 * len(splits.retain)
