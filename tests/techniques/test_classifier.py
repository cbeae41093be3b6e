"""A small network that tells two kinds apart."""

import pytest
import torch

from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.techniques.classifier import classifier


@pytest.fixture
def learned():
    """The network that learned from the examples."""

    def learn(x, kind, epochs=100, size=20, balance=False, optimizer="sgd"):
        run = Run(Options(device="cpu", precision="float32"), [0.5], [0.5])
        draw = torch.Generator().manual_seed(0)
        return classifier(run, Features(x, kind, "examples"), 64, optimizer, 0.01, epochs, size, balance, draw)

    return learn


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_learns_what_its_features_say(learned, optimizer):
    x = torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    easy = x[:, 0] < 0.7
    said, unlearned = (learned(x, easy, epochs, optimizer=optimizer)(x).squeeze(1) >= 0 for epochs in (100, 0))
    assert (said == easy).float().mean() > 0.95
    assert (unlearned == easy).float().mean() < 0.9


def test_balance_finds_more_of_the_rare_kind(learned):
    x = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    easy = torch.rand(400, generator=torch.Generator().manual_seed(1)) > 0.3 * x[:, 0]  # at most 30 % hard anywhere
    found = {balance: int((learned(x, easy, size=50, balance=balance)(x) < 0).sum()) for balance in (False, True)}
    assert found[False] < 40 < found[True]
