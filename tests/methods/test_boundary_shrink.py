"""Boundary Shrink: where the nearest classes come from, and what is learned of them."""

import pytest
import torch
from torch.testing import assert_close
from toys import known

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import boundary_shrink as method
from unlearn_cli.methods.boundary_shrink import candidates, caution
from unlearn_cli.ops.attacks import fgsm
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.modes import batchnorms


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def forget_logits(outcome):
    loaded = outcome.loaded
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as model:
        return run.logits(model, split(loaded.folder, Request(("3",))).forget)


# worked by hand


def test_the_weight_of_an_image_is_the_one_worked_by_hand():
    logits, near = tensor([[3, 1, 0]]), torch.tensor([0])
    p = logits.softmax(1)
    assert_close(p[:, 1] - p[:, 0], tensor([-0.729600]), rtol=0, atol=1e-6)
    assert_close(caution(logits, near), tensor([0.0063996]), rtol=0, atol=1e-6)


def test_weights_of_the_nearest_class_lie_between_those_of_certainty_and_of_a_tie():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 10, generator=draw, dtype=torch.float64) * torch.linspace(0, 20, 200)[:, None]
    weights = caution(logits, logits.argmax(1))
    assert weights.min() > 0.0016
    assert weights.max() < 0.228
    sigmoid = torch.sigmoid
    assert_close(caution(tensor([[1, 1, -99]]), torch.tensor([0])), 3 * sigmoid(tensor([-2.5])), rtol=0, atol=1e-9)
    assert_close(caution(tensor([[99, 0, 0]]), torch.tensor([0])), 3 * sigmoid(tensor([-7.5])), rtol=0, atol=1e-9)
    assert_close(caution(tensor([[0, 99, 0]]), torch.tensor([0])), 3 * sigmoid(tensor([2.5])), rtol=0, atol=1e-9)


def test_where_the_attack_fails_the_label_is_kept_or_the_next_class_taken():
    logits = tensor([[3, 2, 1], [1, 2, 3]])
    own = torch.tensor([[True, False, False]] * 2)
    assert candidates(logits, own, "keep").argmax(1).tolist() == [0, 2]
    assert candidates(logits, own, "runner_up").argmax(1).tolist() == [1, 2]
    assert candidates(logits, torch.tensor([[True, True, False]] * 2), "runner_up").argmax(1).tolist() == [2, 2]


def test_the_default_radius_is_what_the_published_attack_comes_to_in_true_pixels():
    """It is 0.1 in the pixels of one normalisation, for a model of another one, and hardly ever leaves their range."""
    mean, std = (tensor(v).view(1, 3, 1, 1) for v in ([0.4914, 0.4822, 0.2265], [0.2023, 0.1994, 0.2010]))
    x = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.randn(108, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(8) % 4

    def model(normalised):
        return normalised.flatten(1) @ weight

    beyond = 2 * x - 1  # what the model is given: mean and deviation 0.5
    theirs = fgsm(lambda false: model((false - mean) / std), (beyond * std + mean).clamp(0, 1), y, 0.1)
    moved = ((theirs - mean) / std - beyond).abs()
    assert_close(moved.median(), tensor(0.1 / 0.2010), rtol=0, atol=1e-6)
    assert_close(moved.median(), tensor(0.4975), rtol=0, atol=1e-4)
    ours = fgsm(lambda pixels: model(2 * pixels - 1), x, y, method.boundary_shrink.method.settings["beta"].default)
    inside = (ours > 0) & (ours < 1)
    ratio = (2 * (ours - x)).abs()[inside].mean() / moved.median()
    assert abs(ratio - 1) < 0.01


# on the shipped model


@pytest.fixture
def goals(monkeypatch):
    """What each step was taught, by image, and the logits of its attack."""
    seen = {"extra": [], "attacked": []}
    batches, attacked = Run.batches, Run.attacked

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            if b.extra is not None:
                seen["extra"].append((b.index, b.extra))
            yield b

    def kept(self, *arguments, **more):
        seen["attacked"].append(attacked(self, *arguments, **more))
        return seen["attacked"][-1]

    monkeypatch.setattr(Run, "batches", watched)
    monkeypatch.setattr(Run, "attacked", kept)
    return seen


def test_the_nearest_classes_are_found_once_and_stay(toy, goals):
    toy.forget("boundary-shrink", epochs=3, lr=1e-2)
    assert len(goals["attacked"]) == 1
    near = goals["attacked"][0].argmax(1)
    assert len(goals["extra"]) == 3 * 3
    for index, taught in goals["extra"]:
        assert torch.equal(taught, near[index])
    assert (near != 3).all()
    assert len(near.unique()) > 1


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_is_sgds_on_the_image_itself_with_the_nearest_class(toy, goals, weighted):
    lr = {False: 0.01, True: 1.0}[weighted]
    made = toy.forget("boundary-shrink", precision="float64", batch_size=147, lr=lr, weight_assign=weighted).tensors
    attacked = goals["attacked"][0]
    near = attacked.argmax(1)
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        b = next(run.batches(split(loaded.folder, Request(("3",))).forget, size=147, shuffle=False))
        loss = cross_entropy(model.eval()(b.x), near) * (caution(attacked, near) if weighted else 1)
        slopes = torch.autograd.grad(loss.mean(), list(model.parameters()))
        for (name, p), slope in zip(model.named_parameters(), slopes, strict=True):
            assert_close(made[name].double(), (p - lr * slope).detach(), rtol=0, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert (made["head.weight"] - toy.weights["head.weight"]).abs().max() > 1e-4


@pytest.mark.parametrize("settings", [{"attack": "fgsm"}, {"attack": "pgd", "attack_step": 0.08}], ids=str)
def test_the_attack_stays_in_zero_to_one_and_within_beta(toy, monkeypatch, settings):
    seen = []
    for name in ("fgsm", "pgd"):
        plain = getattr(method, name)

        def watched(f, x, *rest, plain=plain):
            seen.append((x, plain(f, x, *rest)))
            return seen[-1][1]

        monkeypatch.setattr(method, name, watched)
    toy.forget("boundary-shrink", beta=0.1, **settings)
    x, moved = (torch.cat(part) for part in zip(*seen, strict=True))
    assert len(x) == 147
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (moved - x).abs().max() <= 0.1 + 1e-6
    assert (moved - x).abs().max() > 0.09


def test_a_tiny_attack_fails_and_says_so_and_its_images_are_learned_better(toy, goals):
    before = toy.forget("boundary-shrink", beta=1e-6, lr=1e-12)
    assert before.run.notes[0] == "the attack moved 5% of the images to another class", "those not known before"
    kept = toy.forget("boundary-shrink", beta=1e-6, lr=1e-3, epochs=3)
    assert known(kept) >= known(before)
    y = torch.full((147,), 3)
    assert cross_entropy(forget_logits(kept), y)[goals["attacked"][0].argmax(1) == 3].mean() < 0.5
    assert known(toy.forget("boundary-shrink", beta=1e-6, lr=1e-3, epochs=3, on_fail="runner_up")) < known(before)


def test_it_forgets_when_the_rate_suits_the_network(toy):
    plain, quicker = (toy.forget("boundary-shrink", short=False, lr=lr) for lr in (1e-12, 1e-4))
    assert known(plain) == 139
    assert known(quicker) == 0
    assert "moved 100%" in plain.run.notes[0]


def test_it_goes_through_all_epochs_unless_told_when_to_end(toy):
    to_the_end = toy.forget("boundary-shrink", short=False, lr=1e-3)
    assert to_the_end.run.steps == 10 * 3
    ended = toy.forget("boundary-shrink", short=False, lr=1e-3, stop_accuracy=0.0)
    assert ended.run.steps < 30
    assert ended.run.stopped_by.startswith("the forget accuracy reached 0, epoch")
    assert known(ended) == 0


def test_a_budget_that_ends_too_soon_is_said(toy):
    made = toy.forget("boundary-shrink", lr=1e-12, stop_accuracy=0.5)
    assert made.run.notes[-1] == "the budget of 1 epochs ended with 139 of 147 forget images known"
    assert toy.forget("boundary-shrink", lr=1e-12, stop_accuracy=0.95).run.stopped_by == "the forget accuracy reached 0.95, epoch 1"


def test_listed_images_lose_their_own_labels(toy, goals):
    listed = ("train/3/0003.png", "train/5/0005.png", "train/0/0000.png")
    toy.forget("boundary-shrink", Request(instances=listed), on_fail="runner_up", beta=1e-6)
    labels = split(toy.load().folder, Request(instances=listed)).forget.y
    for index, taught in goals["extra"]:
        assert (taught != labels[index]).all()


def test_the_runner_up_of_several_classes_is_none_of_them(toy, goals):
    toy.forget("boundary-shrink", Request(("3", "8")), on_fail="runner_up")
    taught = torch.cat([extra for _, extra in goals["extra"]])
    assert not torch.isin(taught, torch.tensor([3, 8])).any()


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_batchnorm_keeps_its_statistics_unless_told_otherwise(toy, bn):
    made = toy.forget("boundary-shrink", bn=bn)
    kept = [name for name in toy.weights if "running" in name or "num_batches" in name]
    assert len(kept) >= len(batchnorms(made.loaded.model))
    assert all(torch.equal(made.tensors[name], toy.weights[name]) for name in kept) == (bn == "eval")


@pytest.mark.parametrize(
    "settings",
    [{"attack": "pgd"}, {"beta": 0.1}, {"weight_assign": True}, {"momentum": 0.0}, {"weight_decay": 0.1}, {"batch_size": 32}],
    ids=str,
)
def test_each_setting_matters(toy, settings):
    made, plain = toy.forget("boundary-shrink", lr=1e-3, **settings), toy.forget("boundary-shrink", lr=1e-3)
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])


@pytest.mark.parametrize("settings", [{"attack_step": 0.01}, {"attack_steps": 1}], ids=str)
def test_settings_of_the_longer_attack_matter_to_it_and_are_refused_with_the_other(toy, settings):
    made, plain = toy.forget("boundary-shrink", attack="pgd", **settings), toy.forget("boundary-shrink", attack="pgd")
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])
    with pytest.raises(UnlearnError, match="acts with attack=pgd only"):
        toy.forget("boundary-shrink", attack="fgsm", **settings)
