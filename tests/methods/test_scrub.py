"""SCRUB: its two kinds of steps, their order, and rewinding."""


import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from toys import same

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import get
from unlearn_cli.methods.scrub import ordered, rewind_, snapshot
from unlearn_cli.ops.losses import kl

WHOLE = {"batch_size": 5000, "forget_batch_size": 5000}
"""One step per pass, so that the order of the images does not matter."""
PLAIN = {"momentum": 0, "weight_decay": 0, "milestones": "", "precision": "float64"}
READS = ("forget", "retain", "selection")


@pytest.fixture
def place(toy):
    """Run, model and splits, in float64."""
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        yield run, model, split(loaded.folder, Request(("3",)), READS, 0.2)


def moved(outcome, toy):
    weights = [name for name in toy.weights if name.endswith("weight")]
    return max((outcome.tensors[name] - toy.weights[name]).abs().max().item() for name in weights)


def batches(outcome, part, size):
    return -(-len(getattr(split(outcome.loaded.folder, Request(("3",)), reads=part), part)) // size)


# single steps


def test_the_first_max_step_does_nothing_in_eval_mode_and_something_in_train_mode(few):
    alone = PLAIN | {"alpha": 0, "gamma": 0, "lr": 1e-3, "epochs": 2, "max_epochs": 2}
    made = few.forget("scrub", bn="eval", **alone)
    assert made.run.steps == 2 * (batches(made, "forget", 16) + batches(made, "retain", 32))
    assert moved(made, few) < 1e-9
    assert "warm_up=1" in made.run.notes[-1]
    other = few.forget("scrub", bn="train", **alone)
    assert moved(other, few) > 1e-5
    assert other.run.notes == []


def test_warming_up_lets_max_steps_begin_in_eval_mode(few):
    settings = PLAIN | {"bn": "eval", "epochs": 2, "max_epochs": 1, "lr": 1e-3}
    made = few.forget("scrub", warm_up=1, **settings)
    assert made.run.notes == []
    follow_only = few.forget("scrub", **settings | {"max_epochs": 0})
    assert not same(made.tensors, follow_only.tensors)


def test_steps_follow_the_formula(few):
    loaded = few.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    splits = split(loaded.folder, Request(("3",)), ("forget", "retain"))
    lr, alpha, gamma, tau = 0.01, 2.0, 0.5, 3.0
    made = few.forget("scrub", bn="eval", epochs=2, max_epochs=1, warm_up=1, lr=lr, alpha=alpha, gamma=gamma,
                      temperature=tau, **WHOLE, **PLAIN).tensors  # fmt: skip
    with run.adopted(loaded.model, loaded.head) as model:
        (f,), (r,) = (list(run.batches(part, size=5000)) for part in (splits.forget, splits.retain))
        parameters = list(model.parameters())
        with torch.no_grad():
            taught = {batch.size: model(batch.x) for batch in (f, r)}

        def distance(batch):
            p, q = ((logits / tau).log_softmax(1) for logits in (taught[batch.size], model(batch.x)))
            return tau**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)

        def descend(loss):
            for p, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.data -= lr * grad

        descend(gamma * F.cross_entropy(model(r.x), r.y) + alpha * distance(r))
        descend(-distance(f))
        descend(gamma * F.cross_entropy(model(r.x), r.y) + alpha * distance(r))
        for name, tensor in model.state_dict().items():
            assert_close(made[name].double(), tensor.double(), rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_without_max_steps_and_teacher_it_is_fine_tuning(toy):
    shared = {"epochs": 2, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128}
    plain = toy.forget("fine-tune", **shared)
    assert same(toy.forget("scrub", max_epochs=0, alpha=0, milestones="", **shared).tensors, plain.tensors)
    assert not same(toy.forget("scrub", max_epochs=0, alpha=1, milestones="", **shared).tensors, plain.tensors)


def test_it_departs_on_the_forget_set_further_than_on_the_retain_set(toy, place):
    run, model, splits = place

    def distances(outcome):
        other = outcome.loaded
        with run.adopted(other.model, other.head) as student:
            return [
                kl(run.logits(model, part).softmax(1), run.logits(student, part)).mean().item()
                for part in (splits.forget, splits.retain)
            ]

    apart = distances(toy.forget("scrub", epochs=3, max_epochs=3, lr=3e-3))
    assert apart[0] > 5 * apart[1]
    together = distances(toy.forget("scrub", epochs=3, max_epochs=0, lr=3e-3))
    assert together[0] < 0.3 * apart[0]


def test_the_teachers_answers_are_the_originals_to_the_end(few, monkeypatch):
    taught, batches = [], Run.batches

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            if extra is not None:
                taught.append((source, b.index, b.extra))
            yield b

    monkeypatch.setattr(Run, "batches", watched)
    few.forget("scrub", epochs=3, max_epochs=3, lr=0.01, precision="float64")
    monkeypatch.undo()
    loaded = few.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        for name in ("forget", "retain"):
            answers = run.logits(model, getattr(split(loaded.folder, Request(("3",)), name), name))
            seen = [(index, extra) for source, index, extra in taught if source.name == name]
            assert sum(len(index) for index, _ in seen) == 3 * len(answers)
            for index, extra in seen:
                assert_close(extra, answers[index], rtol=0, atol=1e-12)


# the order


def test_an_epoch_has_all_max_steps_first_or_last_or_every_other_one():
    def order(schedule, depart="ab", follow="123"):
        return "".join(batch for batch, _ in ordered(schedule, depart, follow))

    assert order("paper") == "ab123"
    assert order("min-then-max") == "123ab"
    assert order("interleave") == "1a2b"
    assert order("interleave", "abcd") == "1a2b3c"
    assert [order(schedule, None) for schedule in ("paper", "min-then-max", "interleave")] == ["123"] * 3
    assert list(ordered("paper", "a", "1")) == [("a", True), ("1", False)]


@pytest.mark.parametrize("schedule", ["paper", "min-then-max", "interleave"])
def test_max_steps_are_made_in_so_many_epochs(toy, schedule):
    made = toy.forget("scrub", schedule=schedule, epochs=3, max_epochs=2, batch_size=200, forget_batch_size=40)
    n_f, n_r = batches(made, "forget", 40), batches(made, "retain", 200)
    assert made.run.steps == (2 * 2 * min(n_f, n_r) + n_r if schedule == "interleave" else 2 * n_f + 3 * n_r)
    assert made.run.images_read["forget"] == 3 * 147


def test_the_rate_falls_after_each_milestone(toy, monkeypatch):
    rates, step = [], Run.step
    monkeypatch.setattr(Run, "step", lambda self, loss, opt, lr=None: rates.append(lr) or step(self, loss, opt, lr=lr))
    toy.forget("scrub", epochs=4, max_epochs=1, lr=1e-3, milestones="1, 3", decay=0.5, **WHOLE)
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4])


@pytest.mark.parametrize("text", ["3;5", "a", "3,", "-1"])
def test_milestones_are_numbers_with_commas_between(text):
    with pytest.raises(UnlearnError, match="is not allowed"):
        get("scrub").parse({"milestones": text})
    assert get("scrub").parse({"milestones": "3, 5"})["milestones"] == "3, 5"


# rewinding


@pytest.mark.parametrize("seed", [0, 1])
def test_rewinding_gives_the_epoch_whose_forget_error_is_that_of_unseen_images(toy, place, seed):
    run, model, splits = place
    settings = {"lr": 2e-3, "max_epochs": 3, "batch_size": 200, "seed": seed}
    path = [
        (toy.weights, splits.forget),
        *((toy.forget("scrub", epochs=e, **settings).tensors, splits.forget) for e in range(1, 5)),
    ]

    def error(tensors, part):
        model.load_state_dict(tensors)
        return 1 - run.correct(model, part) / len(part)

    reference = error(path[-1][0], splits.selection.subset(splits.selection.y == 3))
    gaps = [abs(error(tensors, part) - reference) for tensors, part in path]
    made = toy.forget("scrub", epochs=4, rewind=True, **settings)
    assert same(made.tensors, path[gaps.index(min(gaps))][0])
    assert made.run.notes[-1].startswith("rewound to")
    assert len({round(gap, 6) for gap in gaps}) > 1


@pytest.mark.parametrize(("wrong", "chosen"), [([30, 20, 147], 2), ([0, 147, 147], 1), ([147, 147, 0], 0), ([10, 9, 8], 0)])
def test_the_first_of_the_closest_states_is_taken_and_the_original_may_be_it(place, wrong, chosen):
    run, model, splits = place
    states = []
    for bias in range(3):
        with torch.no_grad():
            model.head.bias.fill_(bias)
            model.head.bias[3] = -1e9  # the final student gives no unseen image of the class its label
        states.append(snapshot(model))
    rewind_(run, model, splits, list(zip(wrong, states, strict=True)))
    assert model.head.bias[0] == chosen
    assert ("the original network" in run.notes[-1]) == (chosen == 0)


def test_without_unseen_images_of_the_class_nothing_is_rewound(place):
    run, model, splits = place
    before = snapshot(model)
    splits._parts["selection"] = splits.selection.subset(splits.selection.y != 3)
    rewind_(run, model, splits, [(0, {}), (1, {})])
    assert run.notes == ["not rewound: no selection image is like a forgotten one"]
    assert same(model.state_dict(), before)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 1}, {"alpha": 5}, {"gamma": 0.1}, {"optimizer": "adam"}, {"decay": 0.9, "milestones": "0"}, {"warm_up": 1},
     {"momentum": 0}, {"weight_decay": 0.1}, {"forget_batch_size": 64}, {"schedule": "min-then-max"}],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, settings):
    made, plain = (toy.forget("scrub", **{"epochs": 2, "max_epochs": 1, "batch_size": 200} | more) for more in (settings, {}))
    assert not same(made.tensors, plain.tensors)
