"""UNSIR: noise for classes that no image shows, and noise against listed images."""

import contextlib
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from toys import Toy, listed, same

from tests.quick import quick
from tests.splitting import split
from unlearn_cli import methods
from unlearn_cli.cases.unlearning import unlearn as run_method
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.engine.optim import Optimizer
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.methods import unsir as file
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.tasks.classes import Classes

THREE = Request(("3",))
METHOD = methods.get("unsir")


def forget_with(toy, request, change, name="forget", **settings):
    """The tensors after the images or labels of one split were changed by change(images, positions)."""
    loaded = toy.load()
    images = loaded.folder.images
    images = replace(images, pixels=images.pixels.clone(), labels=images.labels.clone())
    change(images, getattr(split(loaded.folder, request, reads=name), name).index)
    loaded.folder = replace(loaded.folder, images=images)
    values = METHOD.parse(quick("unsir", request.kind) | settings, request.kind)
    return run_method(loaded, METHOD, values, resolve(request, loaded.folder), Options(device="cpu", precision="float32"))[1]


def blacken(images, index):
    images.pixels[index] = 0


def relabel(images, index):
    images.labels[index] = (images.labels[index] + 1) % 10


@pytest.fixture
def shown(monkeypatch):
    """Every source list that was read in shuffled batches."""
    seen, batches = [], Run.batches

    def record(self, source, *arguments, shuffle=True, **more):
        if shuffle:
            seen.append(source)
        return batches(self, source, *arguments, shuffle=shuffle, **more)

    monkeypatch.setattr(Run, "batches", record)
    return seen


@pytest.fixture(scope="module")
def small(shipped):
    """What is made with 20 retain images per class."""
    return Toy(shipped / "model.safetensors").forget("unsir", retain_per_class=20).tensors


@pytest.fixture(scope="module")
def small_listed(shipped):
    """What is made of 40 listed images without repair."""
    toy = Toy(shipped / "model.safetensors")
    return toy.forget("unsir", listed(toy, 40), repair_epochs=0).tensors


@pytest.fixture
def rates(monkeypatch):
    """The rate of every parameter group, by optimiser."""
    seen, update = {}, Optimizer.step

    def record(self, lr=None):
        seen.setdefault(id(self), (self, [self.rate() * factor for _, factor, _ in self.groups]))
        return update(self, lr)

    monkeypatch.setattr(Optimizer, "step", record)
    return seen


# classes


def test_the_class_is_lost_without_a_look_at_it_and_the_others_are_not(toy):
    """With half as much noise as retain images, as in the paper, and its rates."""
    made = toy.forget("unsir", short=False, noise_batch=64, copies=10, batch_size=32)
    assert set(made.run.images_read) == {"retain"}
    run = made.loaded.run(Options(device="cpu", precision="float32"))
    splits = split(made.loaded.folder, THREE, reads=("forget", "forget_test", "retain_test"))

    def shares():
        with run.adopted(made.loaded.model, made.loaded.head) as model:
            return {name: run.correct(model, getattr(splits, name)) / len(getattr(splits, name)) for name in splits.reads}

    after = shares()
    assert after["forget"] <= 0.01
    assert after["forget_test"] <= 0.01
    assert after["retain_test"] > 0.95
    made.loaded.model.load_state_dict(toy.weights)
    assert min(shares().values()) > 0.9  # the control: the original knows them all


def test_no_forget_image_or_label_matters(toy):
    plain = toy.forget("unsir", retain_per_class=20)
    assert set(plain.run.images_read) == {"retain"}
    assert same(forget_with(toy, THREE, blacken, retain_per_class=20), plain.tensors)
    assert not same(forget_with(toy, THREE, blacken, "retain", retain_per_class=20), plain.tensors)  # the control


def test_the_impair_set_is_the_retain_subset_and_all_copies_of_all_noise_labelled_with_its_class(toy, shown):
    toy.forget("unsir", Request(("3", "5")), noise_batch=16, copies=4, retain_per_class=30)
    impair, repair = shown
    assert sum(map(len, impair)) == 8 * 30 + 2 * 16 * 4
    assert len(repair[0]) == 8 * 30
    retain, *noise = impair
    assert not set(retain.y.tolist()) & {3, 5}
    assert torch.bincount(retain.y, minlength=10).tolist() == [30, 30, 30, 0, 30, 0, 30, 30, 30, 30]
    assert all(part.y.tolist() == [3] * 16 + [5] * 16 for part in noise)
    assert all(part.x is noise[0].x for part in noise)  # shown again, not stored again


def test_independent_copies_are_other_noises(toy, shown):
    toy.forget("unsir", noise_batch=8, copies=3, independent=True, retain_per_class=9)
    noise = shown[0][1:]
    assert [len(part) for part in noise] == [8] * 3
    assert not torch.allclose(noise[0].x, noise[1].x)


def test_the_notebooks_noise_is_its_first_rows_labelled_zero(toy, shown):
    toy.forget("unsir", noise_batch=16, noise_rows=3, noise_label="zero", copies=2, retain_per_class=9)
    toy.forget("unsir", noise_batch=16, copies=2, retain_per_class=9)
    few, all_of_them = shown[0][1], shown[2][1]
    assert few.y.tolist() == [0, 0, 0]
    assert torch.equal(few.x, all_of_them.x[:3])
    assert all_of_them.y.tolist() == [3] * 16


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_noise_is_what_the_model_does_not_take_for_its_class_and_learning_it_changes_nothing(toy, batch_statistics):
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        before = {name: t.clone() for name, t in model.state_dict().items()}
        with file.at_rest(model, batch_statistics):
            task, batch = Classes(10, (3,)), (32, 1, 28, 28)
            made, faint = (file.class_noise(run, model, task, batch, lam, 40, 0.1, None, "own") for lam in (0.0, 5.0))
            learned = cross_entropy(model(made.x), made.y)
            raw = torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            drawn = cross_entropy(model(raw), made.y)
        assert same(model.state_dict(), before)
    assert learned.mean() > drawn.mean() + 1
    assert faint.x.square().mean() < raw.square().mean() < made.x.square().mean()
    assert not made.x.requires_grad


def test_impair_and_repair_are_steps_of_two_adams_on_the_mean_loss(toy, shown):
    """In whole batches, so that the order does not matter; the second begins without the first one's moments."""
    settings = {"retain_per_class": 9, "noise_batch": 8, "copies": 3, "batch_size": 5000, "impair_epochs": 2, "repair_epochs": 2}
    made = toy.forget("unsir", precision="float64", **settings).tensors
    impair, repair = (shown[0], shown[2])  # each was read twice
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64"))

    def learned(moments_kept):
        loaded.model.load_state_dict(toy.weights)
        with run.adopted(loaded.model, loaded.head) as model:
            model.train()
            opt = torch.optim.Adam(model.parameters(), lr=0.02)
            for parts, lr in ((impair, 0.02), (repair, 0.01)):
                if not moments_kept:
                    opt = torch.optim.Adam(model.parameters(), lr=lr)
                opt.param_groups[0]["lr"] = lr
                for _ in range(2):
                    b = next(run.batches(parts, size=5000, shuffle=False))
                    opt.zero_grad()
                    torch.nn.functional.cross_entropy(model(b.x), b.y).backward()
                    opt.step()
            return {name: t.float() if t.is_floating_point() else t for name, t in model.state_dict().items()}

    for name, tensor in learned(False).items():
        assert_close(made[name], tensor, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    assert max((made[name] - t).abs().max() for name, t in learned(True).items()) > 1e-3


def test_noise_that_had_too_little_time_is_said(toy):
    assert "raise noise_steps" in toy.forget("unsir", noise_steps=1, lam=10.0, retain_per_class=9).run.notes[-1]
    assert not toy.forget("unsir", noise_steps=40, retain_per_class=9).run.notes


def test_the_body_may_have_a_rate_of_its_own_and_repair_begins_anew(toy, rates):
    toy.forget("unsir", impair_lr=0.01, repair_lr=0.005, body_lr=1e-4, retain_per_class=9)
    impair, repair = [groups for opt, groups in rates.values() if len(groups) == 2]
    assert impair == pytest.approx([1e-4, 0.01])
    assert repair == pytest.approx([1e-4, 0.005])


def test_without_one_all_of_the_model_learns_at_the_heads_rate(toy, rates):
    made = toy.forget("unsir", retain_per_class=9)
    groups = [(opt, groups) for opt, groups in rates.values() if len(groups) == 2]
    assert [found for _, found in groups] == [[0.02, 0.02], [0.01, 0.01]]
    named = dict(made.loaded.model.named_parameters())
    assert sum(p.numel() for p in groups[0][0].params) == sum(p.numel() for p in named.values())
    assert [p.shape for p in groups[0][0].groups[1][0]] == [named["head.weight"].shape, named["head.bias"].shape]


@pytest.mark.parametrize(
    "settings",
    [
        {"lam": 5.0}, {"noise_steps": 2}, {"noise_lr": 0.01}, {"noise_batch": 9}, {"noise_bn": "eval"}, {"copies": 3},
        {"independent": True}, {"noise_rows": 2}, {"noise_label": "zero"}, {"retain_per_class": 10},
        {"retain_choice": "first"}, {"impair_lr": 0.01}, {"repair_lr": 0.02}, {"body_lr": 1e-3},
        {"impair_epochs": 2}, {"repair_epochs": 0}, {"batch_size": 100}, {"bn": "eval"},
    ],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, small, settings):
    assert not same(toy.forget("unsir", **({"retain_per_class": 20} | settings)).tensors, small)


# listed images


def test_listed_images_are_read_once_an_epoch_with_as_many_retain_images(toy):
    made = toy.forget("unsir", listed(toy, 150))
    train = sum(made.run.images_read.values()) - 4 * 150
    assert made.run.images_read["forget"] == 2 * 150
    assert made.run.images_read["retain"] == 2 * 150 + train
    assert train == (~made.loaded.folder.images.test).sum() - 150
    assert made.run.steps == 2 * 3 + -(-train // 64)


def test_their_images_matter_and_their_labels_do_not(toy, small_listed):
    request = listed(toy, 40)
    assert same(forget_with(toy, request, relabel, repair_epochs=0), small_listed)
    assert not same(forget_with(toy, request, relabel, "retain", repair_epochs=0), small_listed)
    assert not same(forget_with(toy, request, blacken, repair_epochs=0), small_listed)


def test_the_noise_leaves_the_forget_logits_and_becomes_a_picture(toy, monkeypatch):
    made = []

    def record(noise, objective, opt, steps, size):
        before = objective(noise).detach()
        end = descend(noise, objective, opt, steps, size)
        made.append((before, objective(end).detach(), noise.shape, size))
        return end

    descend = file.descend
    monkeypatch.setattr(file, "descend", record)
    toy.forget("unsir", listed(toy, 70), instance_noise_steps=20, repair_epochs=0)
    assert len(made) == 4
    for before, after, shape, size in made:
        assert (before <= 0).all()
        assert after.mean() < before.mean()
        assert shape == (size, 1, 28, 28)


def test_forget_images_do_not_enter_the_statistics(toy):
    made = toy.forget("unsir", listed(toy, 30), repair_epochs=0)
    counts = [int(t) - int(toy.weights[name]) for name, t in made.tensors.items() if name.endswith("num_batches_tracked")]
    assert set(counts) == {4}
    assert made.run.steps == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"instance_noise_steps": 0}, {"instance_noise_lr": 0.5}, {"instance_epochs": 1}, {"instance_lr": 0.01},
        {"instance_batch_size": 20}, {"noise_bn": "eval"}, {"repair_epochs": 1}, {"bn": "eval"},
    ],
    ids=str,
)  # fmt: skip
def test_each_of_their_settings_matters(toy, small_listed, settings):
    assert not same(toy.forget("unsir", listed(toy, 40), **({"repair_epochs": 0} | settings)).tensors, small_listed)


@pytest.mark.parametrize("size", [1, 64])
def test_one_image_can_be_listed(toy, size):
    made = toy.forget("unsir", listed(toy, 1), instance_batch_size=size, repair_epochs=0)
    assert made.run.images_read == {"forget": 2, "retain": 2}
    assert_close(made.tensors["head.weight"], toy.weights["head.weight"], rtol=0, atol=0.1)
    assert not same(made.tensors, toy.weights)


# two algorithms, each with its settings


def test_settings_of_the_other_kind_of_request_are_refused_and_not_recorded(place, unlearn):
    (place / "list.txt").write_text("".join(f"train/3/{path.name}\n" for path in sorted((place / "digits/train/3").iterdir())[:8]))
    command = ("forget", "-m", "unsir", "model.safetensors", "-q", "--force", "-o", place / "made.safetensors", "--set")
    kinds = {"images": (("--instances", place / "list.txt"), "repair_epochs=0"), "classes": (("--class", "3"), "copies=1")}
    with contextlib.chdir(place):
        for kind, (request, accepted) in kinds.items():
            other = {"images": "lam=0.2", "classes": "instance_lr=0.2"}[kind]
            done = unlearn(*command, other, *request)
            assert done.code == 2
            assert f"unsir's setting {other.partition('=')[0]} acts for" in done.err
            assert not (place / "made.safetensors").exists()
            if kind == "images":
                assert unlearn(*command, accepted, *request).code == 0
                recorded = set(store.read(str(place / "made.safetensors")).record.last.settings)
                assert recorded == {"noise_bn", "repair_epochs", "bn", *(name for name in METHOD.settings if "instance_" in name)}
                (place / "made.safetensors").unlink()
    assert len(METHOD.settings) - len(recorded) == 15


@pytest.mark.parametrize("bn", ["batch", "eval"])
def test_noise_has_the_height_and_width_of_images_that_are_no_squares(few, bn):
    loaded = few.load()
    images = loaded.folder.images
    wide = torch.cat([images.pixels, images.pixels[:, :, :8]], 2)
    loaded.folder = replace(loaded.folder, images=replace(images, size=(28, 36), pixels=wide))
    shapes = set()
    loaded.model.register_forward_pre_hook(lambda _, given: shapes.add(tuple(given[0].shape[1:])))
    values = METHOD.parse(quick("unsir") | {"noise_bn": bn}, "classes")
    run_method(loaded, METHOD, values, resolve(THREE, loaded.folder), Options(device="cpu"))
    assert shapes == {(1, 28, 36)}
