"""Methods on networks that have no BatchNorm and draw numbers of their own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from unlearn_cli import methods
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.cases.unlearning import unlearn
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.engine.run import Options


class Dropping(nn.Module):
    """LayerNorm, and dropout in train mode."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.drop, self.head = nn.Conv2d(1, 8, 7, 7), nn.LayerNorm(8), nn.Dropout(0.3), nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.patch(x).flatten(2).mean(2))))


@pytest.fixture
def loaded(shipped):
    """The shipped digits, with another network in the place of theirs."""
    torch.manual_seed(0)
    found = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    model = Dropping().eval()
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    network = replace(found.network, model=model, head="head")
    return replace(found, network=network, checkpoint=replace(found.checkpoint, tensors=tensors))


def forgotten(loaded, name, given=(), request=None, **values):
    method = methods.get(name)
    loaded.model.load_state_dict(loaded.checkpoint.tensors)
    target = resolve(request or Request(("3",)), loaded.folder)
    run, tensors, _ = unlearn(loaded, method, method.parse(values, target.kind), target, Options(device="cpu", precision="float32"),
                              given=given)  # fmt: skip
    return run, {name: t.clone() for name, t in tensors.items()}  # they are the network's own


def of_batchnorm(run):
    return [note for note in run.notes if "BatchNorm" in note]


def test_the_same_seed_drops_the_same(loaded):
    (_, one), (_, two) = (forgotten(loaded, "fine-tune", epochs=1, lr=0.01) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    loaded.model.drop.p = 0.0
    _, plain = forgotten(loaded, "fine-tune", epochs=1, lr=0.01)
    assert not torch.equal(plain["head.weight"], one["head.weight"])


@pytest.mark.parametrize("bn", ["eval", "train", "recalibrate"])
def test_what_is_said_of_batchnorm_changes_nothing_and_is_noted_where_it_was_asked_for(loaded, bn):
    first, plain = forgotten(loaded, "fine-tune", epochs=1, lr=0.01)
    run, tensors = forgotten(loaded, "fine-tune", given=["lr", "bn"], epochs=1, lr=0.01, bn=bn)
    assert all(torch.equal(plain[name], tensors[name]) for name in plain)
    assert of_batchnorm(run) == [f"the network has no BatchNorm: bn={bn} changed nothing"]
    assert run.images_read == first.images_read  # there is nothing to estimate anew
    assert of_batchnorm(forgotten(loaded, "fine-tune", given=["lr"], epochs=1, lr=0.01)[0]) == []


def test_a_network_that_has_it_is_told_nothing(shipped):
    found = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    assert of_batchnorm(forgotten(found, "fine-tune", given=["bn"], epochs=1, bn="eval")[0]) == []
