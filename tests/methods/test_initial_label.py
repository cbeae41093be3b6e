"""Initial labels: what a random network says, and what is done where it says the truth."""

import pytest
import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options, Run


@pytest.fixture
def taught(monkeypatch):
    """The targets of every image of the first epoch, by position."""
    seen, batches = {}, Run.batches

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            if extra is not None:
                seen.update(zip(b.index.tolist(), b.extra, strict=True))
            yield b

    monkeypatch.setattr(Run, "batches", watched)
    return lambda: torch.stack([seen[i] for i in sorted(seen)])


def said(toy, seed=0):
    """By a network of the toy's architecture with the weights that the seed gives for this purpose."""
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float32", seed=seed))
    with run.adopted(loaded.model, loaded.head) as model:
        return run.logits(run.newborn(model, "initial label"), split(loaded.folder, Request(("3",))).forget)


def test_labels_are_those_of_a_network_with_new_weights_and_no_others(toy, taught):
    toy.forget("initial-label", seed=1)
    assert torch.equal(taught(), said(toy, seed=1).argmax(1))
    assert not torch.equal(said(toy, seed=1), said(toy, seed=2))


def test_soft_targets_are_its_probabilities(toy, taught):
    toy.forget("initial-label", soft=True)
    assert_close(taught(), said(toy).softmax(1))


def test_the_note_counts_the_labels(toy):
    made = toy.forget("initial-label")
    counts = said(toy).argmax(1).bincount(minlength=10)
    assert sum(counts) == 147
    assert f"class {int(counts.argmax())} for {int(counts.max())}" in made.run.notes[0]
    assert made.run.notes[0].endswith(f"of 147 images; {int(counts[3])} keep their own")


@pytest.fixture
def truthful(monkeypatch):
    """The random network says 3 with some confidence for every image, and then 5, and then 8."""
    newborn = Run.newborn

    def certain(self, model, purpose):
        net = newborn(self, model, purpose)
        _, head = self.split(net)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(torch.tensor([0.0, 0, 0, 3, 0, 2, 0, 0, 1, 0]))
        return net

    monkeypatch.setattr(Run, "newborn", certain)


def test_a_label_that_is_the_images_own_is_kept_by_default_and_then_nothing_is_forgotten(toy, taught, truthful):
    made = toy.forget("initial-label")
    assert set(taught().tolist()) == {3}
    assert "147 keep their own" in made.run.notes[0]
    assert "the budget of 1 epochs ended with" in made.run.notes[-1]
    assert made.run.stopped_by == "the end of its schedule"


def test_or_the_next_best_class_takes_its_place(toy, taught, truthful):
    made = toy.forget("initial-label", if_same="runner_up")
    assert set(taught().tolist()) == {5}
    assert "class 5 for 147" in made.run.notes[0]
    assert "0 keep their own" in made.run.notes[0]


def test_which_is_none_of_the_forgotten_ones(toy, taught, truthful):
    toy.forget("initial-label", Request(("3", "5")), if_same="runner_up")
    assert set(taught().tolist()) == {8}


def test_a_listed_image_of_another_class_keeps_what_was_said(toy, taught, truthful):
    images = ("train/3/0003.png", "train/5/0005.png")
    toy.forget("initial-label", Request(instances=images), if_same="runner_up")
    assert taught().tolist() == [5, 3]


def test_soft_targets_lose_the_class_and_keep_the_ratio_of_the_others(toy, taught, truthful):
    toy.forget("initial-label", soft=True, if_same="runner_up")
    target = taught()[0]
    assert target[3] == 0
    assert_close(target.sum(), torch.tensor(1.0))
    assert_close(target[5] / target[8], torch.tensor(1.0).exp())


@pytest.mark.parametrize("soft", [False, True])
def test_the_class_is_forgotten_once_the_rate_suffices(toy, truthful, soft):
    made = toy.forget("initial-label", short=False, lr=1e-3, batch_size=32, if_same="runner_up", soft=soft)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0, epoch")
    slow = toy.forget("initial-label", short=False, lr=1e-7, epochs=1, if_same="runner_up", soft=soft)
    assert "of 147 forget images known" in slow.run.notes[-1]
