"""The shipped model and its splits, and runs on them."""

import pytest

from unlearn_cli.data.splits import ALL, Request, split
from unlearn_cli.engine.run import Options
from unlearn_cli.jobs.loading import Plain, load


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
