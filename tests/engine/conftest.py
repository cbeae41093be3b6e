"""The shipped model and its splits, and runs on them."""

import pytest

from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options


@pytest.fixture
def loaded(shipped):
    return load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))


@pytest.fixture
def splits(loaded):
    return split(loaded.folder, Request(("3",)), reads=ALL)


@pytest.fixture
def new_run(loaded):
    def make(seed=0, precision="float32", rank=0, world=1):
        run = loaded.run(Options(device="cpu", precision=precision, seed=seed))
        run.ranks.rank, run.ranks.world = rank, world
        return run

    return make
