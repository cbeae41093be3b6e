"""Random labels: what is taught in place of the own label, for how long, and beside what."""

import pytest
import torch
from toys import accuracy, listed

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Run

SLOW = {"lr": 1e-7, "batch_size": 40}
"""Nothing is forgotten, and every epoch is run."""


@pytest.fixture
def taught(monkeypatch):
    """(position, label, what was taught instead) of forget images, a tensor per epoch."""
    seen, batches = [], Run.batches

    def watched(self, source, extra=None, **more):
        rows = []
        for b in batches(self, source, extra, **more):
            rows.append(torch.stack([b.index, b.y, b.y if b.extra is None else b.extra], 1))
            yield b
        if extra is not None:
            rows = torch.cat(rows)
            seen.append(rows[rows[:, 0].argsort()])

    monkeypatch.setattr(Run, "batches", watched)
    return seen


def test_no_label_is_one_to_be_forgotten_and_all_others_occur(toy, taught):
    toy.forget("random-label", Request(("3", "8")))
    rows = taught[0]
    assert set(rows[:, 1].tolist()) == {3, 8}
    assert set(rows[:, 2].tolist()) == {0, 1, 2, 4, 5, 6, 7, 9}


def test_listed_images_may_be_given_any_label_but_their_own(toy, taught):
    toy.forget("random-label", listed(toy, 300))
    rows = taught[0]
    assert (rows[:, 1] != rows[:, 2]).all()
    assert set(rows[:, 2].tolist()) == set(range(10))


def test_labels_are_drawn_once_or_anew_for_each_epoch(toy, taught):
    toy.forget("random-label", epochs=3, **SLOW)
    assert len(taught) == 3
    assert torch.equal(taught[0], taught[1]) and torch.equal(taught[1], taught[2])
    taught.clear()
    toy.forget("random-label", epochs=3, resample=True, **SLOW)
    assert not torch.equal(taught[0], taught[1]) and not torch.equal(taught[1], taught[2])


def test_the_seed_decides_the_labels(toy, taught):
    for seed in (1, 1, 2):
        toy.forget("random-label", seed=seed)
    assert torch.equal(taught[0], taught[1])
    assert not torch.equal(taught[0], taught[2])


def test_the_class_is_forgotten_and_the_loop_ends_with_it(toy):
    request = Request(("3",))
    made = toy.forget("random-label", request, short=False, lr=1e-3, batch_size=32)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0, epoch")
    assert accuracy(made, "forget", request) == 0
    slow = toy.forget("random-label", request, **SLOW)
    assert accuracy(slow, "forget", request) > 0.9
    assert slow.run.notes[-1].startswith("the budget of 1 epochs ended with")


def test_it_ends_at_the_accuracy_asked_for(toy):
    request = listed(toy, 40)
    made = toy.forget("random-label", request, short=False, lr=1e-3, stop_accuracy=0.8)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0.8, epoch")
    assert 0 < accuracy(made, "forget", request) <= 0.8
    assert made.run.steps < toy.forget("random-label", request, short=False, lr=1e-3).run.steps


def test_the_retain_set_may_be_learned_beside_them(toy, taught):
    plain, beside = (toy.forget("random-label", epochs=2, with_retain=flag, **SLOW) for flag in (False, True))
    assert "retain" not in plain.run.images_read
    retain = len(split(beside.loaded.folder, Request(("3",)), reads=ALL).retain)
    assert beside.run.images_read["retain"] == 2 * retain
    assert beside.run.steps == plain.run.steps + 2 * -(-retain // 40)


@pytest.mark.parametrize(
    "settings", [{"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.9}, {"lr": 1e-3}, {"batch_size": 32}, {"bn": "train"}],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, settings):
    made, plain = (toy.forget("random-label", **given) for given in (settings | {"epochs": 2}, {"epochs": 2}))
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])
    if "momentum" in settings:
        without = toy.forget("random-label", epochs=2, optimizer="sgd")
        assert not torch.equal(made.tensors["head.weight"], without.tensors["head.weight"])
