"""Numbers that are kept are those of the network that is asked: not of the same tensors in other code."""

import json

import pytest

QUICK = ("--precision", "float32", "--device", "cpu", "-q")
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten())
        self.head = nn.Linear(72, num_classes)

    def forward(self, x):
        return self.head(self.body(x))
"""


@pytest.fixture
def trained(unlearn, place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "net.py").write_text(NET)
    assert unlearn("train", "digits", "--arch", "./net.py:Net", "-o", "net.safetensors", "--epochs", "2", *QUICK).code == 0
    return place


def accuracy(unlearn):
    done = unlearn("evaluate", "net.safetensors", "--class", "3", "--arch", "./net.py:Net", "--json", *QUICK)
    assert done.code == 0, done.err
    return json.loads(done.out)["retain_test_accuracy"]


def test_code_that_was_edited_since_is_asked_anew(unlearn, trained):
    before = accuracy(unlearn)
    assert before > 0.5
    (trained / "net.py").write_text(NET.replace("self.head(self.body(x))", "self.head(-self.body(x))"))
    assert accuracy(unlearn) < 0.3
    (trained / "net.py").write_text(NET)
    assert accuracy(unlearn) == before
