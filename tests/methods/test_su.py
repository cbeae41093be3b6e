"""Self-Unlearning: the steps it takes, what it learns from, and when it ends."""

import pytest
import torch
from torch.testing import assert_close
from toys import furthest, known, listed, on

from unlearn_cli import methods
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.losses import kl

WHOLE = 1000
"""A batch of all forget images, whose order does not matter."""


def by_hand(toy, request, lr, temperature, labels, epochs, moving=False):
    """The weights after whole-batch steps of torch's own Adam, labels(own labels, logits) taken out of the target."""

    def learn(run, model, splits):
        b = next(run.batches(splits.forget, size=WHOLE, shuffle=False))
        opt = torch.optim.Adam(model.eval().parameters(), lr=lr)
        for epoch in range(epochs):
            logits = model(b.x)
            if epoch == 0 or moving:
                p = (logits.detach() / temperature).softmax(1)
                p[torch.arange(len(p)), labels(b.y, logits)] = 0
                target = p / p.sum(1, keepdim=True)
            opt.zero_grad()
            kl(target, logits, temperature).mean().backward()
            opt.step()
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    return on(toy.load(), request, learn)


@pytest.mark.parametrize(("kind", "lr", "temperature"), [("class", 1e-4, 4.0), ("listed", 6e-5, 1.0)])
def test_at_its_defaults_it_takes_adams_steps_towards_the_original_without_the_label(toy, kind, lr, temperature):
    request = Request(("3",)) if kind == "class" else listed(toy, 40)
    made = toy.forget("su", request, precision="float64", epochs=3, batch_size=WHOLE, stop_accuracy=0).tensors
    assert furthest(made, by_hand(toy, request, lr, temperature, lambda y, _: y, 3)) < 1e-6
    assert furthest(made, by_hand(toy, request, lr, temperature, lambda y, _: y, 3, moving=True)) > 1e-5
    assert furthest(made, by_hand(toy, request, lr, 2.0, lambda y, _: y, 3)) > 1e-5


def test_the_authors_label_is_the_prediction(toy):
    request = listed(toy, 40)
    toy.checkpoint = toy.checkpoint.with_name("without-3.safetensors")  # which gets the threes wrong
    settings = {"precision": "float64", "epochs": 1, "batch_size": WHOLE}
    made = toy.forget("su", request, spa_label="argmax", **settings).tensors
    assert furthest(made, by_hand(toy, request, 6e-5, 1.0, lambda _, logits: logits.argmax(1), 1)) < 1e-6
    assert furthest(toy.forget("su", request, **settings).tensors, made) > 1e-5


def test_which_label_is_lost_is_asked_of_listed_images_alone(toy):
    with pytest.raises(UnlearnError, match="spa_label acts for listed images only"):
        toy.forget("su", spa_label="argmax")


@pytest.mark.parametrize("settings", [{"epsilon": 0.3}, {"temperature": 1}, {"lr": 1e-3}, {"weight_decay": 1.0},
                                      {"batch_size": 32}], ids=str)  # fmt: skip
def test_each_setting_matters(toy, settings):
    assert furthest(toy.forget("su", **settings).tensors, toy.forget("su").tensors) > 1e-5


# the end


def test_it_stops_at_the_first_epoch_after_which_no_image_is_given_the_class(toy):
    made = toy.forget("su", short=False, lr=1e-3)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0, epoch")
    epochs = int(made.run.stopped_by.rpartition(" ")[2])
    assert made.run.steps == epochs
    assert known(made) == 0
    assert known(toy.forget("su", lr=1e-3, epochs=epochs - 1)) > 0


def test_of_several_classes_no_image_is_given_any(toy):
    request = Request(("3", "8"))
    made = toy.forget("su", request, short=False, lr=1e-3, epochs=60)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0")
    assert known(made, (3, 8)) == 0


def test_a_budget_that_ends_too_soon_is_said(toy):
    made = toy.forget("su", lr=1e-6)
    assert made.run.notes[-1].startswith("the budget of 1 epochs ended with")
    assert made.run.stopped_by == "the end of its schedule"


def test_listed_images_end_at_the_originals_accuracy_on_the_selection_set(toy):
    request = listed(toy, 40)
    reference = on(toy.load(), request, lambda run, model, s: run.correct(model, s.selection) / len(s.selection), 0.2)
    made = toy.forget("su", request, short=False, lr=1e-3)
    assert 0 < reference < 1
    assert made.run.stopped_by.startswith(f"the forget accuracy reached {reference:.4g}, epoch ")
    reached = on(made.loaded, request, lambda run, model, s: run.correct(model, s.forget) / len(s.forget))
    assert reached <= reference < 1
    assert made.run.images_read["selection"] > 0


def test_the_selection_set_is_read_only_for_the_accuracy_that_is_not_given(toy):
    assert "selection" not in toy.forget("su", listed(toy, 40), stop_accuracy=0.5).run.images_read
    assert "selection" not in toy.forget("su").run.images_read


def test_a_class_needs_no_selection_set():
    su = methods.get("su")
    assert su.reads_with(su.parse({})) == ("forget",)
    assert su.reads_with(su.parse({}), "images") == ("forget", "selection")


# BatchNorm


def test_batchnorms_statistics_stay_unless_asked(toy):
    before = toy.weights
    statistics = [name for name in before if "running" in name or "tracked" in name]
    kept, moved = toy.forget("su").tensors, toy.forget("su", bn="train").tensors
    assert statistics
    assert all(torch.equal(kept[name], before[name]) for name in statistics)
    assert not any(torch.equal(moved[name], before[name]) for name in statistics)


def test_the_originals_answers_are_read_once(toy, monkeypatch):
    read = []
    logits = Run.logits
    monkeypatch.setattr(Run, "logits", lambda self, *a: read.append(a[-1]) or logits(self, *a))
    toy.forget("su", short=False, epochs=3, lr=1e-6)
    assert read == ["the original's answers", "checking", "checking", "checking"]


def test_the_loss_of_the_first_step_has_no_factor_of_the_temperature(toy, monkeypatch):
    seen = []
    step = Run.step
    monkeypatch.setattr(Run, "step", lambda self, loss, *a, **k: seen.append(loss.item()) or step(self, loss, *a, **k))
    toy.forget("su", precision="float64", batch_size=WHOLE, temperature=4)

    def closed(run, model, splits):
        p = (run.logits(model, splits.forget) / 4).softmax(1)[:, 3]
        return -torch.log1p(-p).mean()

    assert_close(torch.tensor(seen[0], dtype=torch.float64), on(toy.load(), Request(("3",)), closed))
