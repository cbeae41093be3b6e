"""Twin unlearning: what is asked of whom, what is kept and what is unlearned."""

from types import SimpleNamespace

import pytest
import torch
from toys import Toy, listed

from tests.splitting import split
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.methods import tmu as module
from unlearn_cli.methods.tmu import predict_easy
from unlearn_cli.techniques.difficulty import held_out, references

QUICK = {"twin_epochs": 1, "curriculum_epochs": 1, "curriculum_fraction": 0.1, "twin_fraction": 0.1, "classifier_epochs": 20,
         "classifier_batch": 16, "reference_limit": 20, "attack_steps": 1}  # fmt: skip


@pytest.fixture(scope="module")
def weak_file(shipped, tmp_path_factory):
    """The shipped model with a shaken head: it errs on some images, held-out ones among them."""
    folder = tmp_path_factory.mktemp("weak")
    (folder / "digits").symlink_to(shipped / "digits")
    found = store.read(str(shipped / "model.safetensors"))
    tensors = dict(found.tensors)
    head = tensors["head.weight"]
    tensors["head.weight"] = head + 0.5 * head.std() * torch.randn(head.shape, generator=torch.Generator().manual_seed(0))
    store.write(str(folder / "weak.safetensors"), tensors, found.record)
    return folder / "weak.safetensors"


@pytest.fixture
def weak(weak_file, shipped):
    return Toy(weak_file, shipped / "digits")


@pytest.fixture
def ready(weak):
    """The weak model taken in by a run, and its splits."""
    loaded = weak.load()
    run = loaded.run(Options(device="cpu", precision="float32"))
    splits = split(loaded.folder, listed(weak, 30), ("forget", "retain", "selection"), 0.2)
    with run.adopted(loaded.model, loaded.head) as model:
        yield SimpleNamespace(run=run, model=model, splits=splits, loaded=loaded)


def hits(outcome, chosen, request):
    """How many of the chosen forget images a model that forgot gives their own label."""
    loaded = outcome.loaded
    forget = split(loaded.folder, request).forget.subset(chosen)
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as model:
        return run.correct(model, forget)


@pytest.fixture
def decided(monkeypatch):
    """Every third image is hard, whatever the features say."""
    easy = torch.arange(30) % 3 != 0
    monkeypatch.setattr(module, "predict_easy", lambda *arguments, **more: easy)
    return easy


# the twin problem


def test_held_out_images_are_of_the_forget_sets_classes_and_of_no_split_that_is_reported(weak):
    parts = split(weak.load().folder, Request(instances=("train/3/0003.png", "train/5/0005.png")), ALL, 0.2)
    found = held_out(parts)
    assert set(found.y.tolist()) == {3, 5}
    assert len(found) == int(torch.isin(parts.selection.y, torch.tensor([3, 5])).sum())
    for other in ("forget", "retain", "test", "forget_test", "retain_test"):
        assert not torch.isin(found.index, getattr(parts, other).index).any()


def test_labels_on_held_out_images_are_the_originals_hits_and_not_the_twins(ready, monkeypatch):
    asked, classifier = [], module.classifier

    def watched(run, examples, *more):
        asked.append(examples.y)
        return classifier(run, examples, *more)

    monkeypatch.setattr(module, "classifier", watched)
    twin = module.twin_of(ready.run, ready.model, ready.splits, 10, 1e-3, 0.2, 64)
    predict_easy(ready.run, ready.model, ready.splits, twin, **QUICK)
    part = held_out(ready.splits)
    original, learned = (ready.run.logits(net, part).argmax(1) == part.y for net in (ready.model, twin))
    assert torch.equal(asked[0], original)
    assert learned.sum() > original.sum(), "the twin saw them"


def test_features_of_held_out_images_are_the_twins_and_those_of_forget_images_the_originals(ready, monkeypatch):
    asked = []
    for name in ("distances_of", "attack_loss_of"):
        plain = getattr(module, name)

        def watched(run, net, part, *more, plain=plain):
            asked.append((net, part.name))
            return plain(run, net, part, *more)

        monkeypatch.setattr(module, name, watched)
    twin = ready.run.newborn(ready.model, "twin")
    predict_easy(ready.run, ready.model, ready.splits, twin, **QUICK)
    assert asked == [(twin, "selection")] * 2 + [(ready.model, "forget")] * 2


@pytest.mark.parametrize("whose", ["own", "twin"])
def test_retain_images_are_seen_by_the_network_that_sees_their_queries_or_always_by_the_twin(ready, monkeypatch, whose):
    asked, features = [], Run.features

    def watched(self, backbone, part, *more):
        asked.append((backbone.model, part.name))
        return features(self, backbone, part, *more)

    monkeypatch.setattr(Run, "features", watched)
    twin = ready.run.newborn(ready.model, "twin")
    predict_easy(ready.run, ready.model, ready.splits, twin, **QUICK, features="df", df_references=whose)
    other = ready.model if whose == "own" else twin
    assert asked == [(twin, "selection"), (twin, "retain"), (ready.model, "forget"), (other, "retain")]


@pytest.mark.parametrize("held", [True, False])
def test_the_curriculums_network_learns_from_held_out_images_where_asked(ready, held):
    module.curriculum_of(ready.run, ready.model, ready.splits, 1, 1e-4, 1, held, 64)
    read = ready.run.images_read
    assert read["forget"] == 30
    assert read["retain"] == 2 * len(ready.splits.retain), "once to prepare its first layer"
    assert read["selection"] == (len(held_out(ready.splits)) if held else 0)


def test_distances_are_to_retain_images_alone_and_to_no_more_than_the_limit(ready):
    near = references(ready.splits, held_out(ready.splits), 7, ready.run.noise)
    assert not torch.isin(near.index, ready.splits.forget.index).any()
    assert torch.isin(near.index, ready.splits.retain.index).all()
    assert near.y.bincount(minlength=10).tolist() == [7] * 10


@pytest.mark.parametrize(
    ("features", "df", "columns"),
    [("all", "mean", 3), ("all", "concat", 7), ("df_cf", "mean", 2), ("df", "concat", 5), ("af", "mean", 1), ("cf", "mean", 1)],
)
def test_the_classifier_sees_the_features_that_were_asked_for_in_the_unit_interval(ready, monkeypatch, features, df, columns):
    asked, classifier = [], module.classifier

    def watched(run, examples, *more):
        asked.append(examples.x)
        return classifier(run, examples, *more)

    monkeypatch.setattr(module, "classifier", watched)
    easy = predict_easy(ready.run, ready.model, ready.splits, **QUICK, features=features, df=df)
    assert asked[0].shape == (len(held_out(ready.splits)), columns)
    assert asked[0].amin() == 0
    assert asked[0].amax() == 1
    assert easy.shape == (30,)


def test_a_prediction_leaves_the_model_as_it_is_and_is_the_methods_own(ready, weak, monkeypatch):
    before = {name: t.clone() for name, t in ready.model.state_dict().items()}
    easy = predict_easy(ready.run, ready.model, ready.splits, **QUICK)
    assert all(torch.equal(t, before[name]) for name, t in ready.model.state_dict().items())
    made = weak.forget("tmu", listed(weak, 30), **QUICK)
    assert f"predicted: {int(easy.sum())} easy images" in made.run.notes[-1]
    assert "the classifier gets" in made.run.notes[-2]


def test_a_handful_of_images_is_scaled_by_the_held_out_ones(ready, monkeypatch):
    scaled, unit_scaled = [], module.unit_scaled
    monkeypatch.setattr(module, "unit_scaled", lambda x, reference: scaled.append((x, reference)) or unit_scaled(x, reference))
    twin, whole = ready.run.newborn(ready.model, "twin"), ready.splits
    for count in (4, 5):
        few = SimpleNamespace(forget=whole.forget.subset(29 - torch.arange(count)), retain=whole.retain,
                              selection=whole.selection, task=whole.task)  # fmt: skip
        predict_easy(ready.run, ready.model, few, twin, **QUICK)
    predict_easy(ready.run, ready.model, whole, twin, **QUICK, scaling="held_out")
    assert [len(x) for x, _ in scaled[::2]] == [4, 5, 30]
    assert [reference is x for x, reference in scaled[::2]] == [False, True, False]
    assert all(reference is x for x, reference in scaled[1::2])


def test_where_all_held_out_images_are_easy_the_largest_losses_are_hard(toy):
    request = Request(instances=tuple(f"train/0/{name}" for name in sorted(
        path.name for path in (toy.checkpoint.parent / "digits/train/0").iterdir())[:40]))  # fmt: skip
    made = toy.forget("tmu", request, **QUICK)
    assert "held-out images are easy, which teaches nothing" in made.run.notes[0]
    count = len(held_out(split(made.loaded.folder, request, ALL, 0.2)))
    hard = 40 - sum(i <= (count + 1) / (count + 2) * 39 for i in range(40))
    assert 0 < hard < 10
    assert f"{hard} hard ones" in made.run.notes[-1]


def test_a_class_without_held_out_images_is_judged_by_the_others(ready, monkeypatch):
    selection = ready.splits.selection
    forget = ready.splits.forget.subset(ready.splits.forget.y == 3)
    others = selection.subset(selection.y != 3)
    without = SimpleNamespace(forget=forget, selection=others, retain=ready.splits.retain, task=ready.splits.task)
    assert len(held_out(without)) == int((selection.y != 3).sum())
    easy = predict_easy(ready.run, ready.model, without, **QUICK)
    assert easy.shape == (len(forget),)
    assert "no held-out image has a class of the forget set" in ready.run.notes[0]


# unlearning


def test_hard_images_lose_their_labels_and_easy_ones_keep_them(toy, decided):
    request = listed(toy, 30)
    made = toy.forget("tmu", request, short=False, epochs=20, retain_fraction=0.2, lr=0.03)
    assert hits(made, ~decided, request) <= 3
    assert hits(made, decided, request) >= 17


def test_ascent_unlearns_them_as_well_and_stays_finite(toy, decided):
    request = listed(toy, 30)
    made = toy.forget("tmu", request, short=False, epochs=15, retain_fraction=0.2, hard="ascent")
    assert hits(made, ~decided, request) < hits(made, decided, request) / 2
    assert all(t.isfinite().all() for t in made.tensors.values())


def test_every_image_is_seen_once_per_epoch(toy, decided):
    request = listed(toy, 30)
    made = toy.forget("tmu", request, epochs=2)
    whole = len(split(made.loaded.folder, request, ALL).retain)
    assert made.run.images_read == {"forget": 2 * 30, "retain": 2 * whole}
    less = toy.forget("tmu", request, epochs=2, retain_fraction=0.25)
    assert less.run.images_read == {"forget": 2 * 30, "retain": 2 * round(0.25 * whole)}


@pytest.fixture
def taught(monkeypatch):
    """(position, label, goal) of every image, batch by batch."""
    seen, batches = [], Run.batches

    def watched(self, source, extra=None, **more):
        for b in batches(self, source, extra, **more):
            if extra is not None and not extra.is_floating_point():
                seen.append(torch.stack([b.index, b.y, b.extra], 1))
            yield b

    monkeypatch.setattr(Run, "batches", watched)
    return seen


def test_hard_images_have_one_wrong_label_and_all_others_their_own(toy, decided, taught):
    toy.forget("tmu", listed(toy, 30), epochs=2)
    rows = torch.cat(taught)
    hard = torch.zeros(int(rows[:, 0].max()) + 1, dtype=torch.bool)
    hard[-30:] = ~decided  # the forget images come last
    assert torch.equal(rows[:, 1] != rows[:, 2], hard[rows[:, 0]])
    assert int(hard[rows[:, 0]].sum()) == 2 * 10
    first, second = (part[part[:, 0].argsort()] for part in rows.chunk(2))
    assert torch.equal(first, second), "drawn once"


def test_each_setting_of_unlearning_matters(toy, decided):
    request = listed(toy, 30)
    plain = toy.forget("tmu", request, **QUICK).tensors["head.weight"]
    for settings in (
        {"start": "twin"},
        {"hard": "ascent"},
        {"noise_std": 0.1},
        {"retain_fraction": 0.5},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"bn": "eval"},
    ):
        made = toy.forget("tmu", request, **(QUICK | settings))
        assert not torch.equal(made.tensors["head.weight"], plain), settings
