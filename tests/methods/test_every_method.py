"""What holds for every method, tomorrow's included."""

import shutil

import pytest
import torch
from toys import Toy, listed, same

from tests.quick import quick
from tests.splitting import split
from unlearn_cli import methods
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError

KINDS = ("classes", "images")
every_method = pytest.mark.parametrize("name", methods.names())


@pytest.fixture(scope="session")
def sparse(shipped, tmp_path_factory):
    """Six training and five test images of each digit, but of the 3 a single training image and no test image."""
    folder = tmp_path_factory.mktemp("sparse")
    for part, count in (("train", 6), ("test", 5)):
        for name in "0123456789":
            few = {"train": 1, "test": 0}[part] if name == "3" else count
            for path in sorted((shipped / "digits" / part / name).iterdir())[:few]:
                (folder / part / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / part / name)
    return folder


def request_for(name):
    """Of a kind that the method defines."""
    return Request(("3",)) if "class" in methods.get(name).scope else Request(instances=("train/3/0003.png",))


# the declaration


@every_method
def test_it_says_what_it_does_and_where_it_comes_from(name):
    method = methods.get(name)
    assert method.title
    assert method.paper
    assert len(method.summary) > 20
    assert len(method.notes) > 100
    assert set(method.scope) <= {"class", "classes", "instances"}
    assert method.scope
    assert set(method.reads) <= {"forget", "retain", "train", "selection"}
    for kind in KINDS:
        method.parse(method.acting(method.quick, kind), kind)


@every_method
def test_every_setting_has_help_a_range_and_a_default_within_it(name):
    for setting in methods.get(name).settings.values():
        assert setting.help, setting.name
        assert setting.range, setting.name
        for default in map(setting.default_for, KINDS):
            assert setting.parse(default) == default, setting.name
            assert setting.parse(str(default)) == default, setting.name
        assert setting.default is not None or setting.rules.computed or setting.rules.none, setting.name
        for other, values in setting.rules.when.items():
            for value in values if isinstance(values, tuple) else (values,):
                assert methods.get(name).settings[other].parse(value) == value, setting.name


@every_method
@pytest.mark.parametrize("scope", ["instances", "class", "classes"])
def test_a_scope_that_it_does_not_define_is_refused(name, scope):
    method = methods.get(name)
    if scope in method.scope:
        method.check_scope(scope)
    else:
        with pytest.raises(UnlearnError, match="is not defined for"):
            method.check_scope(scope)


# the result


@every_method
def test_the_same_seed_gives_the_same_tensors(name, toy):
    request = request_for(name)
    assert same(toy.forget(name, request, seed=3).tensors, toy.forget(name, request, seed=3).tensors)


@every_method
def test_another_seed_gives_other_tensors_where_images_are_read(name, toy):
    request = request_for(name)
    a, b = toy.forget(name, request, seed=0), toy.forget(name, request, seed=1)
    assert same(a.tensors, b.tensors) == (not a.run.images_read)


@every_method
def test_something_is_forgotten(name, toy):
    assert not same(toy.forget(name, request_for(name)).tensors, toy.weights)


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_works_from_other_types_and_keeps_them(name, dtype, toy, tmp_path, shipped):
    found = store.read(str(toy.checkpoint))
    cast = {k: t.to(dtype) if t.is_floating_point() else t for k, t in found.tensors.items()}
    store.write(str(tmp_path / "cast.safetensors"), cast, found.record)
    made = Toy(tmp_path / "cast.safetensors", shipped / "digits").forget(name, request_for(name))
    assert {k: t.dtype for k, t in made.tensors.items()} == {k: t.dtype for k, t in cast.items()}
    assert {k: t.shape for k, t in made.tensors.items()} == {k: t.shape for k, t in cast.items()}


@every_method
@pytest.mark.parametrize("precision", ["bfloat16", "float64"])
def test_it_runs_in_other_precisions(name, precision, toy):
    made = toy.forget(name, request_for(name), precision=precision)
    assert {t.dtype for t in made.tensors.values()} == {torch.float32, torch.int64}


@every_method
def test_one_image_of_a_class_without_test_images_can_be_forgotten(name, toy, sparse):
    made = Toy(toy.checkpoint, sparse).forget(name, Request(("3",)) if "class" in methods.get(name).scope else request_for(name))
    assert all(t.isfinite().all() for t in made.tensors.values())


@every_method
@pytest.mark.parametrize("size", [1, 53])
def test_the_size_of_a_batch_may_be_one_or_leave_a_rest(name, size, toy, sparse):
    if "batch_size" in methods.get(name).settings:
        Toy(toy.checkpoint, sparse).forget(name, request_for(name), batch_size=size)


@every_method
def test_several_classes_can_be_forgotten_at_once_where_it_says_so(name, toy, sparse):
    if "classes" in methods.get(name).scope:
        made = Toy(toy.checkpoint, sparse).forget(name, Request(("3", "5")))
        assert not same(made.tensors, toy.weights)


# what it may touch


@every_method
def test_it_reads_only_the_splits_that_it_declares(name, toy):
    method = methods.get(name)
    request = request_for(name)
    assert set(toy.forget(name, request).run.images_read) <= set(method.reads_with(method.parse({}, request.kind), request.kind))


@every_method
def test_a_setting_that_opens_another_split_lets_it_be_read(name, toy):
    for setting in methods.get(name).settings.values():
        for value, opened in setting.rules.opens.items():
            assert opened in toy.forget(name, request_for(name), **{setting.name: value}).run.images_read


@every_method
def test_splits_that_it_does_not_declare_cannot_be_had(name, toy):
    method = methods.get(name)
    request = request_for(name)
    splits = split(toy.load().folder, request, reads=method.reads_with(method.parse({}, request.kind), request.kind))
    for other in set(ALL) - set(splits.reads):
        with pytest.raises(UnlearnError, match="declares that it reads only"):
            getattr(splits, other)


@every_method
def test_the_input_file_and_the_tensors_read_from_it_stay_as_they_are(name, toy):
    before = toy.checkpoint.read_bytes(), store.read(str(toy.checkpoint)).digest
    made = toy.forget(name, request_for(name))
    assert (toy.checkpoint.read_bytes(), store.digest(made.loaded.checkpoint.tensors)) == before


@every_method
def test_counts_stay_counts_where_no_batchnorm_was_trained(name, toy):
    made = toy.forget(name, request_for(name))
    for key, tensor in toy.weights.items():
        if not tensor.is_floating_point():
            assert made.tensors[key].dtype == tensor.dtype


@every_method
def test_what_is_said_to_be_opened_by_a_setting_is_opened_by_it_and_by_nothing_else(name):
    method = methods.get(name)
    assert method.reads_with({}) == method.reads
    for key, opened in method.opens.items():
        setting, _, value = key.partition("=")
        assert method.reads_with({setting: value or True}) == (*method.reads, opened)
        assert method.reads_with({setting: "no such value"}) == method.reads


@every_method
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_model_comes_back_as_it_went_in(name, precision, toy):
    loaded, method = toy.load(), methods.get(name)
    frozen = next(iter(loaded.model.parameters())).requires_grad_(False)
    modes = {key: module.training for key, module in loaded.model.named_modules()}
    from unlearn_cli.engine.run import Options

    run = loaded.run(Options(device="cpu", precision=precision))
    kind = request_for(name).kind
    values = method.parse(quick(name, kind), kind)
    with run.adopted(loaded.model, loaded.head) as model:
        reads = method.reads_with(values, kind)
        method.run(run, model, split(loaded.folder, request_for(name), reads, 0.2), values)
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in loaded.model.parameters() if p is not frozen)
    assert all(p.grad is None for p in loaded.model.parameters())
    assert {key: module.training for key, module in loaded.model.named_modules()} == modes
    assert not any("forward" in vars(module) for module in loaded.model.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in loaded.model.modules())


@every_method
def test_global_state_stays_as_it_is(name, toy):
    def state():
        cudnn = torch.backends.cudnn
        return (
            torch.get_rng_state().tolist(),
            torch.get_default_dtype(),
            cudnn.deterministic,
            cudnn.benchmark,
            torch.is_grad_enabled(),
        )

    before = state()
    toy.forget(name, request_for(name))
    assert state() == before


@every_method
def test_a_loss_that_is_not_finite_stops_it(name, toy, monkeypatch):
    step, taken = Run.step, []

    def poisoned(self, loss, *arguments, **more):
        taken.append(loss)
        return step(self, loss * float("nan"), *arguments, **more)

    monkeypatch.setattr(Run, "step", poisoned)
    try:
        toy.forget(name, request_for(name))
    except UnlearnError as error:
        assert "no longer finite" in error.problem
    else:
        assert not taken


# the settings


@every_method
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_of_its_settings_is_what_ran(name, kind, toy):
    """A None is recorded only where the declaration says what it means, and nothing that cannot act is recorded at all."""
    method = methods.get(name)
    request = Request(("3",)) if kind == "classes" else listed(toy, 6)
    if request.scope not in method.scope:
        return
    for key, value in toy.forget(name, request).settings.items():
        assert value is not None or method.settings[key].rules.none, key
        assert method.settings[key].rules.only in (None, kind), key
        assert method.settings[key].parse(value) == value, key


@every_method
@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_that_cannot_act_is_refused_and_left_out(name, kind):
    method = methods.get(name)
    values = method.parse({}, kind)
    for setting in method.settings.values():
        given = {setting.name: setting.default_for(kind)}
        if setting.name in values:
            assert method.acting(given, kind) == given
            if given[setting.name] is not None:
                assert method.parse(given, kind) == values
        else:
            assert not method.acting(given, kind)
            with pytest.raises(UnlearnError, match=f"{name}'s setting {setting.name} acts"):
                method.parse(given, kind)
