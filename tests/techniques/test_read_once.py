"""What is read where only a part of a network learns."""

import pytest
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.freezing import freeze_but, last_layers
from unlearn_cli.techniques.freezing import read_once


@pytest.fixture
def adopted(shipped):
    loaded = load(str(shipped / "model.safetensors"), Plain(), Options(device="cpu"))
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        yield run, model, split(loaded.folder, Request(("3",))).forget


def test_where_the_head_alone_learns_it_reads_kept_features(adopted):
    run, model, images = adopted
    freeze_but(model, last_layers(model, 1))
    network, kept = read_once(run, model, images)
    assert network is model.head
    assert isinstance(kept, Features)
    assert_close(network(kept.x), run.logits(model, images))


def test_where_more_learns_the_whole_model_reads_images(adopted):
    run, model, images = adopted
    freeze_but(model, last_layers(model, 2))
    assert read_once(run, model, images) == (model, images)
