"""CF-k: what is trained, what is frozen, and that it is training."""

import pytest
import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import get
from unlearn_cli.ops.losses import cross_entropy

LAST_THREE = {
    "head.weight", "head.bias", "group3.conv2.weight", "group3.conv1.weight",
    "group3.norm1.bias", "group3.norm1.running_mean", "group3.norm1.running_var", "group3.norm1.num_batches_tracked",
    "group3.norm2.bias", "group3.norm2.running_mean", "group3.norm2.running_var", "group3.norm2.num_batches_tracked",
}  # fmt: skip
"""Without BatchNorm's weights, which this network's recipe freezes."""


def changed(toy, outcome):
    return {name for name, t in outcome.tensors.items() if not torch.equal(t, toy.weights[name])}


def test_the_last_three_layers_change_and_the_rest_is_the_same_bit_for_bit(toy):
    assert changed(toy, toy.forget("cf-k")) == LAST_THREE


def test_batchnorms_statistics_stay_everywhere_where_asked(toy):
    made = toy.forget("cf-k", bn="eval")
    assert changed(toy, made) == {name for name in LAST_THREE if "running" not in name and "tracked" not in name}


def test_all_layers_are_all_but_what_the_recipe_froze(toy):
    left = set(toy.weights) - changed(toy, toy.forget("cf-k", layers=100))
    assert left == {"whiten.weight", "whiten.bias", *(f"group{g}.norm{n}.weight" for g in (1, 2, 3) for n in (1, 2))}


def test_named_blocks_are_trained_in_place_of_the_last_layers(toy):
    made = toy.forget("cf-k", blocks="group2.conv1, group3.norm2", bn="eval")
    assert changed(toy, made) == {"group2.conv1.weight", "group3.norm2.bias"}


def test_blocks_that_the_recipe_froze_are_refused(toy):
    with pytest.raises(UnlearnError, match="nothing is left to train"):
        toy.forget("cf-k", blocks="whiten")


def test_the_head_alone_learns_from_features_that_are_read_once(toy):
    made = toy.forget("cf-k", layers=1, epochs=3)
    assert changed(toy, made) == {"head.weight", "head.bias"}
    assert made.run.images_read["retain"] == toy.forget("cf-k", layers=2, epochs=1).run.images_read["retain"]


def test_kept_features_and_images_read_anew_train_the_same_head(toy):
    kept = toy.forget("cf-k", layers=1, epochs=2, precision="float64", clip=1e9)
    loaded, method = toy.load(), get("fine-tune")
    run = loaded.run(Options(device="cpu", precision="float64"))
    same = {"epochs": 2, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-5, "batch_size": 64, "bn": "eval"}
    with run.adopted(loaded.model, loaded.head) as model:
        for name, p in model.named_parameters():
            p.requires_grad_(name.startswith("head"))
        method.run(run, model, split(loaded.folder, Request(("3",)), reads="retain"), method.parse(same))
        for name, tensor in model.state_dict().items():
            assert_close(kept.tensors[name], tensor.to(kept.tensors[name].dtype), rtol=0, atol=1e-6)


def test_the_retain_loss_falls(toy):
    def loss(outcome):
        loaded = outcome.loaded
        run = loaded.run(Options(device="cpu", precision="float64"))
        with run.adopted(loaded.model, loaded.head) as model:
            retain = split(loaded.folder, Request(("3",)), reads="retain").retain
            return cross_entropy(run.logits(model, retain), retain.y).mean().item()

    assert loss(toy.forget("cf-k", epochs=2)) < 0.8 * loss(toy.forget("cf-k", lr=1e-12))


@pytest.mark.parametrize(
    "settings",
    [{"schedule": "cosine"}, {"schedule": "restarts"}, {"schedule": "step"}, {"momentum": 0}, {"weight_decay": 0.1}, {"clip": 0.01},
     {"batch_size": 32}],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, settings):
    made, plain = (toy.forget("cf-k", layers=1, epochs=3, **more) for more in (settings, {}))
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])
