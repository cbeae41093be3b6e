"""Batches in pairs of one size."""

import pytest
import torch

from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.techniques.pairing import pairs


@pytest.mark.parametrize(("n", "pairing"), [(147, "crop"), (147, "official"), (64, "official"), (9, "crop"), (1, "crop")])
def test_both_batches_of_a_pair_have_one_size(shipped, n, pairing):
    loaded = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    run, parts = loaded.run(Options(device="cpu")), split(loaded.folder, Request(("3",)), reads=("forget", "retain"))
    draw = torch.Generator().manual_seed(0)
    found = list(pairs(run, parts.forget.subset(torch.arange(n)), parts.retain, 64, pairing, draw))
    assert all(len(f.x) == len(r.x) == f.size == r.size for _, f, r in found)
    assert {len(r.x) for _, _, r in found} <= set([64] if pairing == "official" else range(min(n, 64) - 4, min(n, 64) + 1))
    assert (found[0][0], len(found) > 1) == (0, True)
