"""Retraining: nothing of the original is left but its shape."""

from toys import Toy, same

from tests.splitting import split
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request


def test_the_originals_weights_do_not_matter_and_the_seed_does(toy, tmp_path, shipped):
    found = store.read(str(toy.checkpoint))
    tensors = {name: t + 1 if t.is_floating_point() else t for name, t in found.tensors.items()}
    store.write(str(tmp_path / "shaken.safetensors"), tensors, found.record)
    shaken = Toy(tmp_path / "shaken.safetensors", shipped / "digits")
    made = toy.forget("retrain", seed=3).tensors
    assert same(shaken.forget("retrain", seed=3).tensors, made)
    assert not same(shaken.forget("retrain", seed=4).tensors, made)
    assert not same(shaken.forget("fine-tune").tensors, toy.forget("fine-tune").tensors)  # the control


def test_it_reads_the_retain_set_for_as_many_epochs_as_the_original_was_trained(toy):
    whole = len(split(toy.load().folder, Request(("3",)), reads="retain").retain)
    one, default = toy.forget("retrain", epochs=1).run, toy.forget("retrain", short=False).run
    assert set(one.images_read) == set(default.images_read) == {"retain"}
    assert default.images_read["retain"] - one.images_read["retain"] == (default.recipe.epochs - 1) * whole
    assert default.steps == default.recipe.epochs * one.steps


def test_the_class_keeps_its_output(toy):
    assert {k: t.shape for k, t in toy.forget("retrain").tensors.items()} == {k: t.shape for k, t in toy.weights.items()}
