"""Layer Attack Unlearning: the paper's numbers by hand, and what must not change."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from toys import known, same

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.methods import lau as module
from unlearn_cli.methods.lau import losses
from unlearn_cli.ops.attacks import partial_pgd
from unlearn_cli.ops.losses import cross_entropy, kl
from unlearn_cli.tasks.classes import Classes

STUDENT = [[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]]
ATTACKED = [[0.0, 2.0, 1.0], [1.0, 0.0, 2.0]]
TASK = Classes(3, (0,))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def close(actual, expected):
    assert_close(actual, tensor(expected), rtol=0, atol=1e-6)


def loss(alpha=0.5, **more):
    return losses(TASK, tensor(STUDENT), tensor(ATTACKED), alpha, 4.0, **more).mean()


# worked by hand: K = 3, τ = 4, α = 0.5, both labels 0; the second image is no longer given its label


def test_the_hard_part_goes_to_the_attacks_class_or_to_the_images_own():
    close(loss(alpha=0.0), 0.788726)
    close(cross_entropy(tensor(STUDENT), torch.tensor([1, 2])).mean(), 0.788726)


def test_the_soft_part_is_the_divergence_from_the_doubly_softened_goal():
    close(loss(alpha=1.0, exponent=0.0), 0.025883)
    goal = tensor([ATTACKED[0], STUDENT[1]]).softmax(1)
    close(goal, [[0.090031, 0.665241, 0.244728], [0.042010, 0.114195, 0.843795]])
    softened = (goal / 4).softmax(1)
    close(softened, [[0.313078, 0.361498, 0.325424], [0.308627, 0.314247, 0.377126]])
    close(kl(softened, tensor(STUDENT), 4.0).mean(), 0.025883)
    student = (tensor(STUDENT) / 4).softmax(1)
    assert_close(kl(student, softened.log()).mean(), tensor(0.02611), rtol=0, atol=5e-6)  # the other way round


CERTAIN = 1000 * torch.eye(10, dtype=torch.float64)[4:5]
"""Logits of a model that is sure of the fifth class of ten."""


def softened_goal(attacked, **more):
    """The distribution that the soft part draws a student towards, from its gradient τ·(p - q)."""
    logits = torch.linspace(2, -2, 10, dtype=torch.float64)[None].requires_grad_()
    losses(Classes(10, (0,)), logits, attacked, 1.0, 4.0, **more).mean().backward()
    return (logits.detach() / 4).softmax(1) - logits.grad / 4


def test_two_softmaxes_leave_little_of_certainty():
    q = softened_goal(CERTAIN)
    close(q.max(), math.exp(0.25) / (9 + math.exp(0.25)))
    close(q.min(), 1 / (9 + math.exp(0.25)))
    assert (round(q.max().item(), 4), round(q.min().item(), 4)) == (0.1249, 0.0972)
    close(q.max() / q.min(), math.exp(0.25))
    close(softened_goal(CERTAIN, double_softmax=False).max(), 1.0)


def test_an_attack_that_failed_still_flattens_what_the_student_says():
    """Its goal is then the student's own word, which two softmaxes flatten and one leaves as it is."""
    logits = 3 * torch.randn(20, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def slope(double_softmax):
        student = logits.clone().requires_grad_()
        losses(Classes(10, tuple(range(10))), student, logits, 1.0, 4.0, double_softmax=double_softmax).sum().backward()
        return student.grad

    rows = torch.arange(20)
    assert (slope(True)[rows, logits.argmax(1)] - slope(True)[rows, logits.argmin(1)] > 0.1).all()
    assert slope(False).abs().max() < 1e-12


def test_the_mean_over_classes_is_a_third_of_it():
    close(loss(alpha=1.0, exponent=0.0, reduction="mean"), 0.008628)


def test_the_whole_loss_is_their_weighted_sum():
    close(loss(), 0.601428)


def test_the_gradient_does_not_pass_through_the_goal():
    logits = tensor(STUDENT).requires_grad_()
    losses(TASK, logits, tensor(ATTACKED), 0.5, 4.0).mean().backward()
    close(logits.grad, [[0.272461, -0.223820, -0.048641], [-0.070905, 0.006058, 0.064847]])


def test_one_softmax_is_another_loss():
    once = tensor([ATTACKED[0], STUDENT[1]])
    close(
        loss(alpha=1.0, exponent=0.0, double_softmax=False),
        kl((once / 4).softmax(1), tensor(STUDENT), 4.0).mean().item(),
    )
    assert abs(loss(double_softmax=False) - loss()) > 1e-3


def test_the_attack_follows_the_path_worked_by_hand():
    head = nn.Linear(2, 3, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(tensor([[1, 0], [0, 1], [-1, -1]]))
        head.bias.zero_()
    x, y = tensor([[1.0, 0.5]]), torch.tensor([0])
    close(head(x).softmax(1).detach(), [[0.592201, 0.359188, 0.048611]])
    close(torch.autograd.grad(cross_entropy(head(x.requires_grad_()), y).sum(), x)[0], [[-0.456410, 0.310577]])
    x = x.detach()
    close(partial_pgd(head, x, y, 0.4, 1.0, 1), [[0.6, 0.9]])
    close(partial_pgd(head, x, y, 0.4, 1.0, 2), [[0.2, 1.3]])
    attacked = head(partial_pgd(head, x, y, 0.4, 1.0, 2)).detach()
    close(attacked, [[0.2, 1.3, -1.5]])
    assert attacked.argmax(1).tolist() == [1]


# on the shipped model


def logits_of(outcome, name):
    """Of a model that forgot, on one split."""
    loaded = outcome.loaded
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        return run.logits(model, getattr(split(loaded.folder, Request(("3",)), reads=name), name))


def test_it_stops_when_exactly_no_image_is_given_its_class(toy):
    made = toy.forget("lau", short=False)
    assert made.run.stopped_by.startswith("every image forgotten")
    assert known(made) == 0


def test_only_the_head_changes_and_batchnorms_statistics_do_not(toy):
    made, before = toy.forget("lau").tensors, toy.weights
    changed = {name for name in before if not torch.equal(made[name], before[name])}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize("seed", [0, 1])
def test_kept_features_and_features_read_anew_give_the_same(toy, seed):
    kept, anew = (toy.forget("lau", seed=seed, precision="float64", cache=cache) for cache in (True, False))
    for name, tensor in kept.tensors.items():
        assert_close(tensor, anew.tensors[name], rtol=0, atol=1e-6)
    assert kept.run.images_read["forget"] == 147
    assert anew.run.images_read["forget"] > 3 * 147


def test_an_attack_on_the_whole_set_is_the_attack_on_its_batches():
    draw = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 4, dtype=torch.float64)
    x, y = torch.randn(20, 6, generator=draw, dtype=torch.float64), torch.randint(4, (20,), generator=draw)
    whole = partial_pgd(head, x, y, 0.1, 0.5, 7)
    parts = [partial_pgd(head, a, b, 0.1, 0.5, 7) for a, b in zip(x.split(6), y.split(6), strict=True)]
    assert_close(torch.cat(parts), whole, rtol=0, atol=1e-12)


def test_a_model_that_knows_nothing_of_the_class_is_left_alone(toy):
    toy.checkpoint = toy.checkpoint.with_name("without-3.safetensors")
    made = toy.forget("lau")
    assert made.run.steps == 0
    assert made.run.stopped_by.startswith("nothing to forget")
    assert same(made.tensors, toy.weights)


def test_the_attack_on_images_reads_the_pixels_and_forgets(toy):
    made = toy.forget("lau", attack="images", pixel_radius=0.5, pixel_step=0.25, attack_steps=2, epochs=4, lr=1.0)
    assert known(made) < 100
    assert made.run.images_read["forget"] == (1 + 4) * 147


@pytest.mark.parametrize(
    "settings",
    [
        {"double_softmax": False},
        {"reduction": "mean"},
        {"exponent": 1},
        {"momentum": 0.5},
        {"alpha": 0.9},
        {"temperature": 2},
        {"units": "absolute"},
        {"attack_fallback": "runner_up", "radius": 0.01},
        {"feature_min": 0.0},
        {"share": 0.5},
        {"attack_steps": 1},
        {"batch_size": 32},
    ],
    ids=str,
)
def test_each_setting_matters(toy, settings):
    made, plain = (
        toy.forget("lau", **settings),
        toy.forget("lau", **{k: v for k, v in settings.items() if k == "radius"}),
    )
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])


def test_only_where_the_attack_fails_the_next_class_takes_its_place(toy, monkeypatch):
    seen = {}
    for fallback in ("none", "runner_up"):
        first = []
        monkeypatch.setattr(module, "losses", lambda *a, first=first: first.append(a[2]) or losses(*a))
        toy.forget("lau", attack_fallback=fallback, radius=0.5, step=0.5, batch_size=1000)
        seen[fallback] = first[0]
    plain, other = seen["none"], seen["runner_up"]
    failed = plain.argmax(1) == 3
    assert 0 < failed.sum() < 147
    assert torch.equal(other[~failed], plain[~failed])
    assert (other[failed, 3] == -torch.inf).all()
    others = torch.arange(10) != 3
    assert torch.equal(other[failed][:, others], plain[failed][:, others])


def test_looking_once_an_epoch_ends_at_an_epochs_end(toy):
    made = toy.forget("lau", stop_check="epoch", short=False)
    assert known(made) == 0
    assert made.run.steps % 2 == 0


def test_several_classes_are_forgotten_together(toy):
    made = toy.forget("lau", Request(("3", "8")), short=False, epochs=60)
    assert not torch.isin(logits_of(made, "forget").argmax(1), torch.tensor([3, 8])).any()


def test_a_budget_that_ends_too_soon_is_said(toy):
    made = toy.forget("lau", epochs=1, lr=1e-6)
    assert "the budget of 1 epochs ended with" in made.run.notes[-1]
