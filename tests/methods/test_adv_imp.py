"""ADV+IMP: the adversarial set, the loss of a step, and when it ends."""

import pytest
import torch
from torch.testing import assert_close
from toys import known

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.methods import adv_imp as method
from unlearn_cli.ops.losses import cross_entropy

BRIEF = {"n_adv": 1, "attack_steps": 3, "attack_step": 1.0}


@pytest.fixture
def parts(monkeypatch):
    """The adversarial sets, with the positions they came from, and the holds that a run made."""
    seen = {"adversarial": [], "hold": []}
    attacked, unimportance = method.attacked, method.unimportance

    def kept(run, model, copies, *rest):
        seen["adversarial"].append((copies, attacked(run, model, copies, *rest)))
        return seen["adversarial"][-1][1]

    def held(*arguments):
        seen["hold"].append(unimportance(*arguments))
        return seen["hold"][-1]

    monkeypatch.setattr(method, "attacked", kept)
    monkeypatch.setattr(method, "unimportance", held)
    return seen


# the adversarial set


def test_targets_are_spread_over_all_classes_but_the_images_own(toy, parts):
    toy.forget("adv-imp", Request(instances=("train/3/0003.png", "train/0/0000.png")), n_adv=300, attack_steps=1)
    copies, adversarial = parts["adversarial"][0]
    assert (adversarial.y != copies.y).all()
    for label in (0, 3):
        drawn = adversarial.y[copies.y == label].bincount(minlength=10)
        assert drawn.sum() == 300
        others = torch.arange(10) != label
        assert (drawn[others] > 10).all(), "33 each on average"
        assert (drawn[others] < 65).all(), "the published draw takes the middle class twice as often"


def test_no_forgotten_class_is_a_target(toy, parts):
    toy.forget("adv-imp", Request(("3", "8")))
    assert sorted(parts["adversarial"][0][1].y.unique().tolist()) == [0, 1, 2, 4, 5, 6, 7, 9]


def test_adversarial_images_are_pictures_within_the_radius_and_taken_for_their_targets(toy, parts):
    made = toy.forget("adv-imp", precision="float64", adv_cap=60, attack_steps=20, attack_step=0.4, radius=3.0)
    run, (copies, adversarial) = made.run, parts["adversarial"][0]
    assert adversarial.x.shape == (60, 1, 28, 28)
    x = next(run.batches(copies, size=60, shuffle=False)).x
    pixels, before = adversarial.x * run.std[0] + run.mean[0], x * run.std[0] + run.mean[0]
    assert pixels.min() >= -1e-9
    assert pixels.max() <= 1 + 1e-9
    assert torch.linalg.vector_norm(pixels - before, dim=(1, 2, 3)).max() <= 3.0 + 1e-5
    loaded = toy.load()
    with run.adopted(loaded.model, loaded.head) as model, torch.no_grad():
        fooled = model.eval()(adversarial.x).argmax(1) == adversarial.y
        assert fooled.double().mean() > 0.5
        assert (model(x).argmax(1) == adversarial.y).double().mean() < 0.2


def test_a_cap_is_said_when_it_bites(toy, parts):
    made = toy.forget("adv-imp", n_adv=2, adv_cap=200)
    assert len(parts["adversarial"][0][1]) == 200
    assert made.run.notes[0] == "200 adversarial images instead of 294: adv_cap"
    assert not any("adv_cap" in note for note in toy.forget("adv-imp", n_adv=1, adv_cap=200).run.notes)


# the steps


def test_weights_are_held_between_zero_and_one_in_every_tensor(toy, parts):
    toy.forget("adv-imp")
    hold = parts["hold"][0]
    assert len(hold) == len(list(toy.load().model.parameters()))
    assert all(part.min() >= 0 and part.max() == 1 for part in hold)
    assert any(0 < part.mean() < 1 for part in hold)


@pytest.mark.parametrize("forget_term", ["ascent", "relabel"])
def test_the_first_step_is_the_papers(toy, monkeypatch, parts, forget_term):
    """At the start the pull is zero and has no gradient: what is left is a/(a+b) of one mean loss, b/(a+b) of the other."""
    taught = []
    batches = Run.batches

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            taught.append((b, source))
            yield b

    monkeypatch.setattr(Run, "batches", watched)
    settings = {"forget_term": forget_term, "lam": 1000.0, "lr": 0.01, "batch_size": 49, "weight_decay": 0.0}
    made = toy.forget("adv-imp", precision="float64", adv_batch_size=147, **settings)
    assert made.run.steps == 1
    a = next(b for b, source in taught if isinstance(source, Features))
    f = next(b for b, source in taught if b.extra is not None)
    assert (a.size, f.size) == (147, 49)
    assert ((f.extra == f.y).all(), (f.extra != f.y).all()) == ((True, False) if forget_term == "ascent" else (False, True))

    loaded = toy.load()
    sign = -1 if forget_term == "ascent" else 1
    with loaded.run(Options(device="cpu", precision="float64")).adopted(loaded.model, loaded.head) as model:
        model.eval()
        kept, lost = cross_entropy(model(a.x), a.y).mean(), cross_entropy(model(f.x), f.extra).mean()
        slopes = torch.autograd.grad(147 / 196 * kept + sign * 49 / 196 * lost, list(model.parameters()))
        wanted = {name: p.detach() - 0.01 * slope for (name, p), slope in zip(model.named_parameters(), slopes, strict=True)}
    for name, weight in wanted.items():
        assert_close(made.tensors[name], weight.to(made.tensors[name].dtype), rtol=1e-6, atol=1e-7)


def test_the_pull_holds_the_weights_that_do_not_matter(toy):
    """Where a step would go farther, a strong pull keeps the weights nearer to where they began."""

    def distance(lam):
        settings = {"lam": lam, "lr": 1e-3, "epochs": 6, "stop_accuracy": 0.0, "forget_term": "relabel"}
        made = toy.forget("adv-imp", **BRIEF, **settings)
        pairs = [(made.tensors[name], tensor) for name, tensor in toy.weights.items() if tensor.is_floating_point()]
        return sum((now - before).square().sum() for now, before in pairs)

    assert distance(100.0) < 0.9 * distance(0.0)


def test_it_ends_with_the_step_after_which_no_image_is_known(toy):
    made = toy.forget("adv-imp", short=False, **BRIEF)
    assert made.run.stopped_by == f"the forget accuracy reached 0, pass {made.run.steps}, step {made.run.steps}"
    assert known(made) == 0
    sooner = toy.forget("adv-imp", **BRIEF | {"epochs": made.run.steps - 1})
    assert known(sooner) > 0
    assert sooner.run.notes == [f"the budget of {made.run.steps - 1} passes ended with {known(sooner)} of 147 forget images known"]


def test_it_ends_at_the_accuracy_asked_for(toy):
    made = toy.forget("adv-imp", short=False, **BRIEF, stop_accuracy=0.5)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0.5, pass")
    assert 0 < known(made) <= 73


def test_a_model_that_knows_nothing_of_the_class_is_left_alone(toy):
    toy.checkpoint = toy.checkpoint.with_name("without-3.safetensors")
    made = toy.forget("adv-imp")
    assert made.run.steps == 0
    assert made.run.stopped_by.startswith("nothing to forget")
    assert all(torch.equal(made.tensors[name], tensor) for name, tensor in toy.weights.items())


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_batchnorm_keeps_its_statistics_unless_told_otherwise_and_the_importance_never_moves_them(toy, bn):
    made = toy.forget("adv-imp", bn=bn)
    counts = [name for name in toy.weights if name.endswith("num_batches_tracked")]
    assert counts
    for name in counts:
        assert made.tensors[name] - toy.weights[name] == (0 if bn == "eval" else 2 * made.run.steps)
    kept = [name for name in toy.weights if "running" in name]
    assert all(torch.equal(made.tensors[name], toy.weights[name]) for name in kept) == (bn == "eval")


def test_listed_images_are_forgotten(toy):
    listed = Request(instances=("train/3/0003.png", "train/0/0000.png", "train/0/0010.png"))
    made = toy.forget("adv-imp", listed, short=False, n_adv=5, attack_steps=3, attack_step=1.0)
    for loaded, right in ((toy.load(), 3), (made.loaded, 0)):
        run = loaded.run(Options(device="cpu", precision="float32"))
        with run.adopted(loaded.model, loaded.head) as model:
            assert run.correct(model, split(loaded.folder, listed).forget) == right
    assert made.run.stopped_by.startswith("the forget accuracy reached 0")


@pytest.mark.parametrize(
    "settings",
    [
        {"n_adv": 2},
        {"radius": 0.5},
        {"attack_step": 0.1},
        {"attack_steps": 1},
        {"lam": 50.0},
        {"momentum": 0.0},
        {"weight_decay": 0.1},
        {"batch_size": 16},
        {"adv_batch_size": 100},
        {"adv_cap": 100},
    ],
    ids=str,
)
def test_each_setting_matters(toy, settings):
    plain = {"epochs": 2, "lr": 3e-4}
    made, other = toy.forget("adv-imp", **plain, **settings), toy.forget("adv-imp", **plain)
    assert not torch.equal(made.tensors["head.weight"], other.tensors["head.weight"])
