"""Guided Loss-Increasing: the push by hand, the pairs, and the choice of the model."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from toys import listed, same

from tests.quick import quick
from tests.splitting import split
from unlearn_cli import methods
from unlearn_cli.cases.unlearning import unlearn
from unlearn_cli.data.requests import resolve
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import gli as file
from unlearn_cli.methods.gli import DISTANCES, pushed
from unlearn_cli.ops.losses import cross_entropy

METHOD = methods.get("gli")


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


# the push


@pytest.fixture
def smooth():
    """A smooth model of pixels, images, labels and goals."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.Tanh(), nn.Linear(20, 5)).double()
    x = torch.rand(12, 3, 4, 4, generator=draw, dtype=torch.float64)
    return model, x, torch.arange(12) % 5, 3 * torch.randn(12, 5, generator=draw, dtype=torch.float64)


def test_the_distances_worked_by_hand():
    a, b = tensor([[3.0, 0.0, 4.0]]), tensor([[0.0, 0.0, 0.0]])
    assert {name: d(a, b).item() for name, d in DISTANCES.items() if name != "cos"} == pytest.approx(
        {"mse": 25 / 3, "l1": 7.0, "l2": 5.0}
    )
    assert DISTANCES["cos"](a, 2 * a).item() == pytest.approx(-1)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_larger_distance_is_farther(distance):
    near, far, goal = tensor([[1.0, 0.1]]), tensor([[-2.0, 1.0]]), tensor([[1.0, 0.0]])
    assert DISTANCES[distance](far, goal) > DISTANCES[distance](near, goal)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("w", [0.0, 0.5, 200.0])
def test_what_the_push_climbs_rises_with_every_step(smooth, distance, w):
    model, x, y, goal = smooth

    def climbed(steps):
        logits = model(pushed(model, x, y, goal, w, 1e-4, steps, distance))
        return DISTANCES[distance](logits, goal) - w * cross_entropy(logits, y)

    values = [climbed(steps) for steps in range(6)]
    assert all((later > earlier).all() for earlier, later in zip(values, values[1:], strict=False))


def test_without_the_guide_it_leaves_and_with_it_the_own_label_grows_surer(smooth):
    model, x, y, goal = smooth
    for w, sign in ((0.0, 1), (1e6, -1)):
        before, after = (cross_entropy(model(images), y) for images in (x, pushed(model, x, y, goal, w, 1e-3, 3)))
        moved = (model(pushed(model, x, y, goal, w, 1e-3, 3)) - goal).square().mean(1) - (model(x) - goal).square().mean(1)
        assert (moved > 0).all() if sign > 0 else (after < before).all()


def test_a_step_is_the_sign_of_the_gradient_worked_by_hand():
    weight = tensor([[1.0, -2.0], [0.0, 1.0]])
    x, goal, y, w = tensor([[0.5, 0.5]]), tensor([[0.0, 1.0]]), torch.tensor([1]), 2.0
    logits = x @ weight.T  # [-0.5, 0.5]
    slope = (logits - goal) - w * (logits.softmax(1) - tensor([[0.0, 1.0]]))  # the mean over 2 classes of a square
    expected = x + 0.1 * (slope @ weight).sign()
    assert_close(pushed(lambda p: p @ weight.T, x, y, goal, w, 0.1, 1), expected)
    assert expected.tolist() == [[0.4, 0.6]]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_it_stays_a_picture_within_the_steps_reach(smooth, steps):
    model, x, y, goal = smooth
    x[:, :, 0], x[:, :, 1] = 0, 1
    moved = pushed(model, x, y, goal, 3.0, 0.02, steps)
    assert (moved - x).abs().max() <= steps * 0.02 + 1e-12
    assert (moved - x).abs().max() > (steps - 1) * 0.02
    assert (moved >= 0).all() and (moved <= 1).all()


def test_the_model_is_given_no_gradient(smooth):
    model, x, y, goal = smooth
    assert not pushed(model, x, y, goal, 1.0, 0.01, 2).requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_the_weight_of_the_guide_goes_from_its_start_to_its_end(toy, monkeypatch):
    seen = []
    monkeypatch.setattr(file, "pushed", lambda f, x, y, goal, w, *more: seen.append(w) or x)
    toy.forget("gli", w_start=5.0, w_end=47.0, select=False)
    assert (seen[0], seen[-1]) == (5.0, 47.0)
    assert len(seen) == 21
    assert_close(torch.tensor(seen).diff(), torch.full((20,), 2.1))


# the weights


def relabelled(toy, request, name, **settings):
    loaded = toy.load()
    images = replace(loaded.folder.images, labels=loaded.folder.images.labels.clone())
    index = getattr(split(loaded.folder, request, reads=name), name).index
    images.labels[index] = (images.labels[index] + 1) % 10
    loaded.folder = replace(loaded.folder, images=images)
    values = METHOD.parse(quick("gli", request.kind) | settings, request.kind)
    return unlearn(loaded, METHOD, values, resolve(request, loaded.folder), Options(device="cpu", precision="float32"))[1]


def test_the_weights_learn_retain_labels_and_no_forget_labels(toy):
    request = listed(toy, 6)
    plain = toy.forget("gli", request).tensors
    assert same(relabelled(toy, request, "forget"), plain)
    assert not same(relabelled(toy, request, "retain"), plain)


def test_the_weights_take_a_plain_step_down_the_loss_of_the_pushed_images(toy, monkeypatch):
    made = []

    def record(function, x, y, *more):
        made.append((x, pushed(function, x, y, *more), y))
        return made[-1][1]

    monkeypatch.setattr(file, "pushed", record)
    after = toy.forget("gli", listed(toy, 200), precision="float64", batch_size=5000, lr=0.05, eta=0.1).tensors
    ((plain, moved, y),) = made
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        names, parameters = zip(*model.named_parameters(), strict=True)

        def distance(images):
            """Of the weights after a step on these images from those that were made."""
            loss = cross_entropy(model.eval()(run.pixels.normalised(images)), y).mean()
            slopes = torch.autograd.grad(loss, parameters)
            steps = zip(names, parameters, slopes, strict=True)
            return max((after[name].double() - (p - 0.05 * g)).abs().max().item() for name, p, g in steps)

        assert distance(moved) < 1e-6
        assert distance(plain) > 1e-4


def test_batchnorm_keeps_its_statistics_or_learns_them_from_the_pushed_images_alone(toy):
    kept, learned = (toy.forget("gli", listed(toy, 6), bn=bn) for bn in ("eval", "train"))
    before = toy.weights
    buffers = [name for name in before if "running" in name]
    assert buffers
    assert all(torch.equal(kept.tensors[name], before[name]) for name in buffers)
    assert not any(torch.equal(learned.tensors[name], before[name]) for name in buffers)
    counts = {int(learned.tensors[name] - before[name]) for name in before if name.endswith("num_batches_tracked")}
    assert counts == {learned.run.steps}


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1}, {"eta": 0.1}, {"w_start": 0.0}, {"w_end": 0.0}, {"distance": "l1"}, {"distance": "l2"}, {"distance": "cos"},
        {"lr": 0.01}, {"epochs": 2}, {"batch_size": 30}, {"bn": "train"},
    ],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, settings):
    more = {"w_start": 0.01, "w_end": 0.1} if "distance" in settings else {}
    made, plain = (toy.forget("gli", listed(toy, 6), **(more | given)) for given in (settings, {}))
    assert not same(made.tensors, plain.tensors)


def test_official_pairs_of_too_few_images_are_refused(toy):
    with pytest.raises(UnlearnError, match="skips every batch"):
        toy.forget("gli", listed(toy, 10), pairing="official")


# the choice


@pytest.fixture
def scripted(monkeypatch):
    """Scores that are given out in turn; gives the states of the model that they were asked for."""

    def give(*scores):
        states, left = [], list(scores)

        def scorer(run, model, splits, purpose):
            def score():
                states.append({name: t.clone() for name, t in model.state_dict().items()})
                return left.pop(0)

            return score

        monkeypatch.setattr(file, "scorer", scorer)
        return states

    return give


def test_the_best_model_is_kept_and_three_that_are_not_better_end_the_run(toy, scripted):
    states = scripted(0.5, 0.7, 0.6, 0.7, 0.1, 0.9)
    made = toy.forget("gli", select=True)
    assert made.run.stopped_by == "3 checks without a better score; the model after batch 2 was kept"
    assert made.run.steps == 5
    assert same(made.tensors, states[1])
    assert not same(made.tensors, states[4])


def test_a_better_one_renews_the_patience(toy, scripted):
    scripted(0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5)
    assert toy.forget("gli", select=True).run.steps == 7
    scripted(0.5, 0.4, 0.6)
    assert toy.forget("gli", select=True, patience=1).run.steps == 2


def test_checks_may_be_rarer(toy, scripted):
    states = scripted(0.5, 0.7, 0.6, 0.7)
    made = toy.forget("gli", select=True, check_every=4, patience=2)
    assert made.run.steps == 16
    assert same(made.tensors, states[1])


def test_a_budget_that_ends_before_says_which_model_was_kept(toy, scripted):
    states = scripted(*range(21))
    made = toy.forget("gli", select=True)
    assert "budget of 1 epochs ended" in made.run.notes[-1]
    assert same(made.tensors, states[-1])


def test_with_one_listed_image_the_accuracy_alone_chooses_and_that_is_said(toy):
    made = toy.forget("gli", listed(toy, 1), select=True)
    assert any("the accuracy alone" in note for note in made.run.notes)
    assert not any("the accuracy alone" in note for note in toy.forget("gli", listed(toy, 20), select=True).run.notes)


def test_without_a_choice_no_selection_image_is_read(toy):
    assert set(toy.forget("gli", select=False).run.images_read) == {"forget", "retain"}
    assert set(toy.forget("gli", select=True).run.images_read) == {"forget", "retain", "selection"}
