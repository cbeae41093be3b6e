"""How alike two networks are, block by block."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli import models
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.similarity import linear_cka
from unlearn_cli.techniques.stages import _pooled, head_stage, stage_similarity, stages

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
    """A child that runs twice, one that gives tokens, two that give several tensors, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.act, self.tokens, self.pair, self.said, self.unused = nn.ReLU(), Tokens(), Pair(), Said(), nn.ReLU()
        self.head = nn.Linear(1, 10)

    def forward(self, x):
        x = self.act(self.act(x) - 0.1)
        self.pair(x)
        self.said(x)
        return self.head(self.tokens(x).mean(1))


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Pair(nn.Module):
    def forward(self, x):
        return None, (x, x)


class Said(nn.Module):
    def forward(self, x):
        return {"indices": x.argmax(1), "state": x}


def test_children_that_run_twice_or_never_or_give_several_tensors_are_no_trouble(opened):
    found = compared(opened, Repeats(), head="head")
    assert list(found) == ["head"]
    loaded, _, splits = opened
    run = loaded.run(Options(device="cpu", precision="float32"))
    one = Repeats()
    with run.adopted(one, "head"), run.adopted(two := copy.deepcopy(one), "head"):
        found = stage_similarity(run, one, two, splits.test)
    assert found == pytest.approx({"act": 1, "tokens": 1, "pair": 1, "said": 1, "head": 1}, abs=1e-12)


# which blocks


def blocks_of(name, head, make=None):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None, num_classes=10) if make is None else make()
    return list(stages(model, model.get_submodule(head))), head_stage(model, model.get_submodule(head))


@pytest.mark.parametrize("width", [4, 32])
def test_children_that_share_the_work_are_the_blocks(width):
    model = models.build("resnet18", 10, 3, {"width": width})
    assert list(stages(model, model.fc)) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert head_stage(model, model.fc) == "fc"
    model = models.build("compact", 10, 1, {"width": width})
    assert list(stages(model, model.head)) == BLOCKS


def test_a_child_that_is_most_of_the_network_is_replaced_by_its_own():
    assert blocks_of("", "head", lambda: models.build("allcnn", 10, 3, {"width": 4})) == (
        [*(f"features.{i}" for i in range(8)), "head"], "head")  # fmt: skip
    assert blocks_of("vit_b_16", "heads.head") == (
        ["conv_proj", "encoder.dropout", *(f"encoder.layers.encoder_layer_{i}" for i in range(12)), "encoder.ln", "heads"], "heads")
    assert blocks_of("mobilenet_v2", "classifier.1") == ([*(f"features.{i}" for i in range(19)), "classifier"], "classifier")
    assert blocks_of("vgg16", "classifier.6") == (
        ["features", "avgpool", *(f"classifier.{i}" for i in range(7))], "classifier.6")  # fmt: skip


def test_timm_and_lists_have_their_blocks():
    timm = pytest.importorskip("timm")
    names, head = blocks_of("", "head.fc", lambda: timm.models.SwinTransformer(embed_dim=8, depths=(1, 1), num_heads=(1, 2)))
    assert (names, head) == (["patch_embed", "layers.0", "layers.1", "norm", "head"], "head")
    names, head = blocks_of("", "head", lambda: timm.models.VisionTransformer(16, 8, embed_dim=32, depth=4, num_heads=2))
    assert {"blocks.0", "blocks.3", "head"} < set(names)
    listed = nn.ModuleDict({"body": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), "head": nn.Linear(2, 2)})
    assert list(stages(listed, listed["head"])) == ["body.0", "body.1", "head"]


def test_channels_are_found_at_either_end():
    conv, norm = nn.Conv2d(3, 6, 1), nn.LayerNorm(6)
    x = torch.randn(2, 6, 4, 4)
    for block in (conv, norm, nn.ReLU()):
        assert_close(_pooled(x, block), x.mean((2, 3)))
        assert_close(_pooled(x.permute(0, 2, 3, 1), block), x.mean((2, 3)))
    oblong = torch.randn(2, 6, 6, 5)  # as high as it has channels
    assert_close(_pooled(oblong.permute(0, 3, 2, 1), nn.Linear(2, 6)), oblong.mean((2, 3)))
    assert_close(_pooled(oblong, conv), oblong.mean((2, 3)))


def tiny_swin():
    torch.manual_seed(0)
    return torchvision.models.SwinTransformer([2, 2], 8, [1, 1], [1, 2], [4, 4], num_classes=10)


def test_a_change_shows_in_its_block_and_above_in_a_network_with_channels_last(opened):
    loaded, _, splits = opened
    run = loaded.run(Options(device="cpu", precision="float32"))
    one = InColour(tiny_swin())
    other = copy.deepcopy(one)
    with torch.no_grad():
        other.inner.features[3][0].mlp[0].weight.mul_(-1)
    with run.adopted(one, "inner.head"), run.adopted(other, "inner.head"):
        found = stage_similarity(run, one, other, splits.test, images=40)
    names = list(found)
    first = names.index("inner.features.3")
    assert all(found[name] == pytest.approx(1, abs=1e-9) for name in names[:first])
    assert all(found[name] < 1 - 1e-6 for name in names[first:])
    assert names[-1] == "inner.head"


class InColour(nn.Module):
    """A network for colour images, as it reads grey ones."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(nn.functional.interpolate(x, 16).expand(-1, 3, -1, -1))
