"""How alike two networks are, block by block."""

import copy

import pytest
import torch
from torch import nn

from tests.splitting import split
from unlearn_cli import models
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.similarity import linear_cka
from unlearn_cli.techniques.stages import stage_similarity

BLOCKS = ["whiten", "group1", "group2", "group3", "head"]


@pytest.fixture(scope="module")
def opened(shipped):
    loaded = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    retrained = load(str(shipped / "without-3.safetensors"), Plain(), Options(device="cpu"), loaded)
    return loaded, retrained, split(loaded.folder, Request(("3",)), reads=ALL)


def compared(opened, other, part="test", head="head", **given):
    loaded, _, splits = opened
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as one, run.adopted(other, head) as two:
        return stage_similarity(run, one, two, getattr(splits, part), **given)


def test_a_network_is_like_itself_in_every_block(opened):
    found = compared(opened, copy.deepcopy(opened[0].model))
    assert list(found) == BLOCKS
    assert all(value == pytest.approx(1, abs=1e-12) for value in found.values())


def test_another_head_changes_the_head_alone(opened):
    other = copy.deepcopy(opened[0].model)
    with torch.no_grad():
        other.head.weight[3:6] = 0
    found = compared(opened, other)
    assert all(found[name] == pytest.approx(1, abs=1e-12) for name in BLOCKS[:-1])
    assert found["head"] < 0.99


def test_a_change_in_a_block_shows_there_and_above_and_not_below(opened):
    other = copy.deepcopy(opened[0].model)
    with torch.no_grad():
        other.group2.conv1.weight += 0.3 * torch.randn(other.group2.conv1.weight.shape, generator=torch.Generator().manual_seed(0))
    found = compared(opened, other)
    assert all(found[name] == pytest.approx(1, abs=1e-12) for name in BLOCKS[:2])
    assert all(found[name] < 0.99 for name in BLOCKS[2:])


def test_a_retrained_network_is_less_alike_the_higher_the_block(opened):
    found = compared(opened, opened[1].model, "forget")
    assert found["whiten"] > 0.95
    assert found["group3"] < found["group2"] < found["group1"] < 1


def test_the_number_is_the_cka_of_maps_averaged_over_positions(opened):
    loaded, retrained, splits = opened
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, "head") as one, run.adopted(retrained.model, "head") as two, torch.no_grad():
        x = torch.cat([b.x for b in run.batches(splits.test, size=1000, shuffle=False)])
        pooled = []
        for model in (one, two):
            h = torch.nn.functional.gelu(model.whiten(x))
            pooled.append(model.group2(model.group1(h)).mean((2, 3)))
        found = stage_similarity(run, one, two, splits.test)
    assert found["group2"] == pytest.approx(linear_cka(*pooled), rel=1e-4)


def test_at_most_that_many_images_are_read_once(opened):
    loaded, retrained, splits = opened
    run = loaded.run(Options(device="cpu"))
    with run.adopted(loaded.model, "head") as one, run.adopted(retrained.model, "head") as two:
        stage_similarity(run, one, two, splits.train, images=130)
    assert run.images_read == {"train": 130}


def test_networks_of_other_widths_and_kinds_compare_where_they_share_a_name(opened):
    wide = models.build("compact", 10, 1, {"width": 12}).eval()
    assert list(compared(opened, wide)) == BLOCKS
    assert list(compared(opened, models.build("allcnn", 10, 1, {"width": 8}).eval())) == ["head"]


def test_a_block_that_gives_the_same_for_every_image_has_no_similarity(opened):
    other = copy.deepcopy(opened[0].model)
    with torch.no_grad():
        other.head.weight.zero_()
    assert compared(opened, other)["head"] is None


def test_the_other_networks_images_are_normalised_its_own_way(opened):
    loaded, _, splits = opened
    run = loaded.run(Options(device="cpu", precision="float32"))
    theirs = loaded.run(Options(device="cpu", precision="float32"))
    theirs.pixels.mean.fill_(0.5)
    theirs.pixels.std.fill_(0.25)
    seen = []
    other = copy.deepcopy(loaded.model)
    other.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with run.adopted(loaded.model, "head") as one, theirs.adopted(other, "head") as two:
        stage_similarity(run, one, two, splits.test, theirs=theirs, images=20)
        pixels = run.pixels.of(next(iter(run.batches(splits.test, size=1000, shuffle=False))).x)
    assert seen[0].amin() == pytest.approx(-2)
    assert pixels.amax() * 4 - 2 >= seen[0].amax() > 0


def test_the_networks_are_left_as_they_were(opened):
    loaded, retrained, splits = opened
    loaded.model.train()
    try:
        compared(opened, retrained.model)
        assert loaded.model.training
    finally:
        loaded.model.eval()
    assert not any(module._forward_hooks for module in (*loaded.model.modules(), *retrained.model.modules()))


class Repeats(nn.Module):
    """A child that runs twice, one that gives tokens, one that gives a tuple, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.act, self.tokens, self.pair, self.unused = nn.ReLU(), Tokens(), Pair(), nn.ReLU()
        self.head = nn.Linear(1, 10)

    def forward(self, x):
        x = self.act(self.act(x) - 0.1)
        self.pair(x)
        return self.head(self.tokens(x).mean(1))


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_children_that_run_twice_or_never_or_give_no_tensor_are_no_trouble(opened):
    found = compared(opened, Repeats(), head="head")
    assert list(found) == ["head"]
    loaded, _, splits = opened
    run = loaded.run(Options(device="cpu", precision="float32"))
    one = Repeats()
    with run.adopted(one, "head"), run.adopted(two := copy.deepcopy(one), "head"):
        found = stage_similarity(run, one, two, splits.test)
    assert found == pytest.approx({"act": 1, "tokens": 1, "head": 1}, abs=1e-12)
