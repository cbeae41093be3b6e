"""Amnesiac unlearning: what is relabelled, how often it is seen, and what becomes of it."""

import pytest
import torch
from toys import accuracy

from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import amnesiac

QUICK = {"epochs": 2, "lr": 1e-3, "batch_size": 64}


@pytest.fixture
def taught(monkeypatch):
    """The rows (label, what was taught instead) of every batch that is made."""
    seen, batches = [], Run.batches

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            if extra is not None:
                seen.append(torch.stack([b.index, b.y, b.extra], 1))
            yield b

    monkeypatch.setattr(Run, "batches", watched)
    return seen


def test_retain_images_keep_their_labels_and_forget_images_get_a_wrong_one_for_good(toy, taught):
    request = Request(("3", "8"))
    made = toy.forget("amnesiac", request, epochs=2, short=False)
    rows = torch.cat(taught)
    forgotten = torch.isin(rows[:, 1], torch.tensor([3, 8]))
    assert torch.equal(rows[~forgotten, 1], rows[~forgotten, 2])
    assert not torch.isin(rows[forgotten, 2], torch.tensor([3, 8])).any()
    assert len(rows[forgotten, 2].unique()) == 8
    first, second = (part[part[:, 0].argsort()] for part in rows.chunk(2))
    assert torch.equal(first, second), "drawn once"
    assert made.run.images_read == {"retain": 2 * int((~forgotten).sum()) // 2, "forget": int(forgotten.sum())}


def test_both_sets_are_shuffled_together(toy, taught):
    toy.forget("amnesiac", batch_size=128)
    assert all(0 < int((rows[:, 1] == 3).sum()) < len(rows) / 2 for rows in taught)


def test_a_listed_image_may_be_given_every_other_label(toy, taught):
    images = toy.load().folder.images
    paths = tuple(path for path, test in zip(images.paths, images.test.tolist(), strict=True) if not test and "/3/" in path)[:100]
    toy.forget("amnesiac", Request(instances=paths))
    rows = torch.cat(taught)
    changed = rows[rows[:, 1] != rows[:, 2]]
    assert len(changed) == 100
    assert set(changed[:, 2].tolist()) == set(range(10)) - {3}


def test_the_class_is_forgotten_and_the_others_are_not(toy):
    request = Request(("3",))
    made, tuned = toy.forget("amnesiac", request, short=False, **QUICK), toy.forget("fine-tune", request, short=False, epochs=1)
    assert accuracy(made, "forget", request) < 0.1
    assert accuracy(made, "retain", request) > 0.9
    assert accuracy(tuned, "forget", request) > 0.5, "epochs without wrong labels do not do it"


def test_it_says_why_a_checkpoint_alone_is_not_enough_for_the_other_form():
    text = " ".join(amnesiac.__doc__.split())
    assert "A checkpoint alone cannot do that" in text
    assert f"{1 - (1 - 1 / 10) ** 64:.1%}" == "99.9%"
    assert "99.9 %" in text
    assert f"{1 - (1 - 100 / 50000) ** 64:.0%}" == "12%"
    assert "12 %" in text
