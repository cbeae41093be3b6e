"""Networks of any make, taken in by a run and given back."""

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from unlearn_cli.engine import ranks


class Odd(nn.Module):
    """Kernels of one, two and three dimensions, two layers with one weight, whole numbers, and a synchronised BatchNorm."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv1d(28, 8, 3), nn.SyncBatchNorm(8)
        self.two, self.three = nn.Conv2d(1, 2, 3, padding=1), nn.Conv3d(1, 2, 3, padding=1)
        self.tied, self.again, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        self.again.weight = self.tied.weight
        self.register_buffer("order", torch.arange(16).flip(0))

    def forward(self, x):
        x = self.norm(self.one(self.two(x).mean(1)))
        x = self.three(x[:, None, :, :, None]).mean((3, 4)).flatten(1)
        return self.head(self.again(self.tied(x[:, self.order])))


class Grey(nn.Module):
    """A network for colour images, as it reads grey ones."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(nn.functional.interpolate(x, 16).expand(-1, 3, -1, -1))


def swin():
    blocks = torchvision.models.swin_transformer
    return Grey(blocks.SwinTransformer([2, 2], 8, [1, 1], [1, 2], [4, 4], num_classes=10, block=blocks.SwinTransformerBlockV2,
                                       downsample_layer=blocks.PatchMergingV2))  # fmt: skip


def timm_vit():
    timm = pytest.importorskip("timm")
    return Grey(timm.models.VisionTransformer(16, 8, embed_dim=8, depth=1, num_heads=2, num_classes=10))


NETWORKS = {
    "odd": (Odd, "head"),
    "vit": (lambda: Grey(torchvision.models.VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=10)), "inner.heads.head"),
    "swin": (swin, "inner.head"),
    "timm": (timm_vit, "inner.head"),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_features_and_head_give_the_networks_own_outputs_and_it_comes_back_as_it_was(new_run, splits, kind, precision):
    torch.manual_seed(0)
    make, head = NETWORKS[kind]
    model, run = make(), new_run(precision=precision)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    few = splits.test.subset(torch.arange(5))
    x = torch.cat([b.x for b in run.batches(few, size=5, shuffle=False)])
    with torch.no_grad():
        plain = model.eval()(x)
    with run.adopted(model, head) as adopted:
        backbone, layer = run.split(adopted)
        logits = layer(run.features(backbone, few).x)
    near = {"float32": 1e-5, "bfloat16": 0.05}[precision]
    assert_close(logits.detach(), plain, rtol=near, atol=near)
    after = model.state_dict()
    assert all(torch.equal(t, before[name]) and t.dtype == before[name].dtype for name, t in after.items())
    if kind == "odd":
        assert model.again.weight is model.tied.weight


def test_a_batchnorm_with_more_in_it_does_all_of_it_over_ranks(monkeypatch):
    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return torch.tanh(super().forward(x))

    monkeypatch.setattr(ranks._SumOverRanks, "apply", lambda x: x)  # of one process
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    for make in (Activated, nn.BatchNorm2d):
        norm, alone = make(3).double(), make(3).double()
        with torch.no_grad():
            for layer in (norm, alone):
                layer.weight.copy_(torch.tensor([0.5, 1, 2]))
        ours, theirs = (x.clone().requires_grad_() for _ in range(2))
        made, expected = ranks._batch_norm_over_ranks(norm, ours), alone(theirs)
        assert_close(made, expected)
        for grads in zip(*(torch.autograd.grad(out.square().sum(), [put, layer.weight, layer.bias])
                           for out, put, layer in ((made, ours, norm), (expected, theirs, alone))), strict=True):  # fmt: skip
            assert_close(*grads)
        assert all(torch.allclose(a, b) for a, b in zip(norm.buffers(), alone.buffers(), strict=True))
        assert norm.training
