"""From what a training script saved to a model that forgets, by the command line alone."""

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from unlearn_cli import jobs
from unlearn_cli.checkpoints import store
from unlearn_cli.jobs.importing import beside

PLAIN = ("--arch", "compact,width=8", "--mean", "0.305", "--std", "0.325", "--precision", "float32", "--data", "digits")


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def trained(here):
    """The classifier of the digits in a training checkpoint, in a wrapper and with an averaged copy that differs."""
    own = load_file("model.safetensors")
    wrapped = {f"module.{key}": tensor for key, tensor in own.items()}
    averaged = {key: tensor + 1 for key, tensor in wrapped.items()}
    rest = {"epoch": 7, "args": argparse.Namespace(lr=0.1), "metric": np.float64(97.1), "optimizer": {"state": {0: torch.ones(2)}}}
    torch.save({"state_dict": wrapped, "state_dict_ema": averaged} | rest, "model_best.pth.tar")
    return own


def test_an_imported_checkpoint_forgets_as_its_own_weights_do(unlearn, trained):
    done = unlearn("import", "model_best.pth.tar")
    assert (done.code, done.out) == (0, "model_best.safetensors\n")
    assert "--key state_dict_ema takes that one" in done.err
    assert "optimizer (1 tensor)" in done.err
    found = load_file("model_best.safetensors")
    assert all(torch.equal(found[f"module.{key}"], tensor) for key, tensor in trained.items())
    with safe_open("model_best.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    for name, more in (("model_best.safetensors", PLAIN), ("model.safetensors", PLAIN[-4:])):
        assert unlearn("forget", name, "-m", "mask", "--class", "3", *more, "-o", f"out-{name}").code == 0
    assert store.read("out-model_best.safetensors").digest == store.read("out-model.safetensors").digest


def test_json_has_what_was_taken_and_what_was_left(unlearn, trained):
    done = unlearn("import", "model_best.pth.tar", "-o", "m.safetensors", "--key", "state_dict_ema", "--json")
    document = json.loads(done.out)
    assert document["written"] == "m.safetensors"
    facts = document["facts"]
    assert (facts["key"], facts["tensors"], facts["dtypes"]) == ("state_dict_ema", len(trained), "float32, int64")
    assert facts["left_behind"] == f"state_dict ({len(trained)} tensors), epoch, args, metric, optimizer (1 tensor)"
    assert facts["parameters"] == sum(t.numel() for t in trained.values() if t.is_floating_point())


def test_the_python_function_gives_the_same_report(trained):
    report = jobs.import_weights("model_best.pth.tar", "m.safetensors")
    assert (report.command, report.written, report.facts["key"]) == ("import", "m.safetensors", "state_dict")


def test_nothing_that_is_there_is_written_over_unless_forced(unlearn, trained, here):
    (here / "m.safetensors").write_bytes(b"what was there")
    done = unlearn("import", "model_best.pth.tar", "-o", "m.safetensors")
    assert done.code == 2
    assert "already exists" in done.err
    assert (here / "m.safetensors").read_bytes() == b"what was there"
    assert "is the input" in unlearn("import", "model_best.pth.tar", "-o", "model_best.pth.tar", "--force").err
    assert unlearn("import", "model_best.pth.tar", "-o", "m.safetensors", "--force").code == 0
    assert "both want standard output" in unlearn("import", "model_best.pth.tar", "-o", "-", "--json").err


def test_what_cannot_be_imported_leaves_no_file(unlearn, trained, here):
    torch.save({"a": {"w": torch.ones(2)}, "b": {"w": torch.zeros(2)}}, "two.pth")
    torch.save(torch.nn.Linear(2, 2), "whole.pth")
    before = sorted(here.iterdir())
    for name, problem in (("two.pth", "a (1 tensor), b (1 tensor)"), ("whole.pth", "torch.nn.modules.linear.Linear")):
        done = unlearn("import", name)
        assert (done.code, done.out) == (2, "")
        assert problem in done.err
    assert sorted(here.iterdir()) == before


def test_a_pickled_checkpoint_names_the_command_that_imports_it(unlearn, trained):
    done = unlearn("inspect", "model_best.pth.tar")
    assert done.code == 2
    assert "`unlearn import model_best.pth.tar`" in done.err


def test_the_output_lies_beside_the_file_by_default():
    for name in ("m.pth", "m.pt", "m.bin", "m.ckpt", "m.pth.tar", "m.tar", "m", "m.PTH"):
        assert beside(f"a.b/{name}") == "a.b/m.safetensors"
    assert beside("epoch=3-acc=0.9.ckpt") == "epoch=3-acc=0.9.safetensors"
    assert beside(".pth") == ".pth.safetensors"
