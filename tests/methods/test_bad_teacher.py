"""Two teachers: what each teaches, to whom, and what the student becomes."""

import math

import pytest
import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.methods.bad_teacher import distillation
from unlearn_cli.ops.losses import entropy, kl

REQUEST = Request(("3",))
DRAW = torch.Generator().manual_seed(0)


def rows(n=6, classes=4):
    return torch.randn(n, classes, generator=DRAW, dtype=torch.float64)


# the loss


def test_it_is_zero_with_zero_gradient_where_the_student_is_the_teacher():
    student = rows().requires_grad_()
    for t in (1.0, 4.0):
        loss = distillation(student, (student.detach() / t).softmax(1), t, 2.0)
        assert_close(loss, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)
        (slope,) = torch.autograd.grad(loss.sum(), student)
        assert slope.abs().max() < 1e-12


def test_its_only_optimum_is_the_teachers_probability():
    target, student = rows().softmax(1), rows().requires_grad_()
    assert distillation(student, target).sum() > 0.1
    for _ in range(3000):
        (slope,) = torch.autograd.grad(distillation(student, target).sum(), student)
        student = (student - slope).detach().requires_grad_()
    assert_close(student.softmax(1), target, rtol=0, atol=1e-6)


def test_the_mean_over_classes_is_a_fraction_of_the_sum():
    student, target = rows(), rows().softmax(1)
    assert_close(distillation(student, target, reduction="mean"), distillation(student, target) / 4)


def test_the_temperature_counts_only_by_its_exponent():
    student, target = rows(), rows().softmax(1)
    assert_close(distillation(student, target, 4.0), kl(target, student, 4.0))
    assert_close(distillation(student, target, 4.0, 2.0), 16 * kl(target, student, 4.0))


# the teachers


@pytest.fixture
def taught(monkeypatch):
    """(label, target) of every image that was learned from, in the order of the batches, and their sizes."""
    labels, targets, sizes, batches = [], [], [], Run.batches

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            if extra is not None:
                labels.append(b.y)
                targets.append(b.extra)
                sizes.append((int((b.y == 3).sum()), len(b.y)))
            yield b

    monkeypatch.setattr(Run, "batches", watched)
    return lambda: (torch.cat(labels), torch.cat(targets), sizes)


def teachers(toy, temperature=1.0, seed=0):
    """Probabilities on the forget set by the random network, on the retain set by the original."""
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float32", seed=seed))
    parts = split(loaded.folder, REQUEST, reads=ALL)
    with run.adopted(loaded.model, loaded.head) as model:
        bad = run.logits(run.newborn(model, "bad teacher"), parts.forget)
        good = run.logits(model, parts.retain)
    return (bad / temperature).softmax(1), (good / temperature).softmax(1)


def sorted_rows(x):
    return x[x.sum(1).argsort()] if x.dim() == 1 else torch.tensor(sorted(x.tolist()))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_forget_images_learn_from_the_random_network_and_retain_images_from_the_original(toy, taught, temperature):
    toy.forget("bad-teacher", seed=2, temperature=temperature, retain_fraction=1.0)
    labels, targets, _ = taught()
    bad, good = teachers(toy, temperature, seed=2)
    assert_close(sorted_rows(targets[labels == 3]), sorted_rows(bad))
    assert_close(sorted_rows(targets[labels != 3]), sorted_rows(good))


def test_a_share_of_the_retain_set_is_drawn_once_and_mixed_with_the_forget_set(toy, taught):
    made = toy.forget("bad-teacher", epochs=2, batch_size=100)
    labels, _, sizes = taught()
    retained = round(0.3 * len(split(made.loaded.folder, REQUEST, reads=ALL).retain))
    assert int((labels == 3).sum()) == 2 * 147
    assert made.run.images_read == {"forget": 3 * 147, "retain": 3 * retained}, "once for the teacher, and twice to learn"
    assert all(0 < forget < whole for forget, whole in sizes)


def test_in_a_cycle_every_retain_batch_has_its_forget_batch(toy):
    made = toy.forget("bad-teacher", pairing="cycle", retain_fraction=1.0, batch_size=64)
    whole = split(made.loaded.folder, REQUEST, reads=ALL)
    n, pairs = len(whole.retain), -(-len(whole.retain) // 64)
    assert made.run.images_read["retain"] == 2 * n
    assert made.run.steps == pairs
    assert made.run.images_read["forget"] > 147 + 40 * pairs, "started again several times"


def test_a_retain_image_in_a_cycle_is_taught_by_its_own_row(toy, monkeypatch):
    """With every image a retain image's loss at the start, the first step's loss is that of the forget images alone."""
    first, step = [], Run.step

    def watched(self, loss, *arguments, **more):
        first.append(loss.item())
        return step(self, loss, *arguments, **more)

    monkeypatch.setattr(Run, "step", watched)
    monkeypatch.setattr("unlearn_cli.methods.bad_teacher.train_mode", lambda model, bn: model.eval())
    monkeypatch.setattr(Run, "newborn", lambda self, model, purpose: model)  # both teachers are the original
    for pairing in ("mixed", "cycle"):
        first.clear()
        toy.forget("bad-teacher", pairing=pairing, precision="float64")
        assert len(first) > 1
        assert abs(first[0]) < 1e-12, "nothing to learn from oneself"


def test_the_note_says_how_far_from_a_guess_the_random_network_is(toy):
    made = toy.forget("bad-teacher", seed=4)
    bad, _ = teachers(toy, seed=4)
    mean = float(entropy(bad.log()).mean())
    assert made.run.notes == [f"the bad teacher's mean entropy is {mean:.3f} nats, a guess has {math.log(10):.3f}"]


# the student


def probabilities(outcome, name):
    loaded = outcome.loaded
    run = loaded.run(Options(device="cpu", precision="float32"))
    part = getattr(split(loaded.folder, REQUEST, reads=ALL), name)
    with run.adopted(loaded.model, loaded.head) as model:
        return run.logits(model, part).softmax(1), part.y


def test_the_class_is_forgotten_towards_the_bad_teacher_and_the_others_stay(toy):
    made = toy.forget("bad-teacher", short=False, lr=1e-3, epochs=2, batch_size=32)
    start = toy.forget("bad-teacher", short=False, lr=1e-12)
    bad, _ = teachers(toy)
    (now, y), (before, _) = probabilities(made, "forget"), probabilities(start, "forget")
    assert (before.argmax(1) == y).float().mean() > 0.9
    assert (now.argmax(1) == y).float().mean() < 0.3
    assert kl(bad, now.log()).mean() < kl(bad, before.log()).mean() / 3
    kept, y = probabilities(made, "retain")
    assert (kept.argmax(1) == y).float().mean() > 0.9


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 4},
        {"temperature": 4, "exponent": 2, "optimizer": "sgd", "lr": 1e-3},
        {"kl_reduction": "mean", "optimizer": "sgd"},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "optimizer": "sgd"},
        {"retain_fraction": 0.5},
        {"pairing": "cycle"},
        {"bn": "eval"},
    ],
    ids=str,
)
def test_each_setting_matters(toy, settings):
    made = toy.forget("bad-teacher", **settings)
    last = list(settings)[0]
    plain = toy.forget("bad-teacher", **{k: v for k, v in settings.items() if k != last})
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])
