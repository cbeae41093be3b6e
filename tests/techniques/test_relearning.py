"""How soon a model knows the forgotten again."""

import pytest
import torch

from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.techniques.relearning import relearn_curve, relearn_epochs


def count(model, run, splits, target, **settings):
    with run.adopted(model.model, model.head) as network:
        return relearn_epochs(run, network, splits.train, splits.forget_test, target, **settings)


@pytest.fixture
def target(new_run, loaded, splits):
    run = new_run()
    with run.adopted(loaded.model, loaded.head) as model:
        return run.correct(model, splits.forget_test)


@pytest.fixture
def retrained(shipped, loaded):
    return load(str(shipped / "without-3.safetensors"), Plain(), Options(device="cpu"), loaded)


def test_the_original_knows_it_before_the_first_epoch(new_run, loaded, splits, target):
    run = new_run()
    assert count(loaded, run, splits, target) == (0, [target])
    assert run.steps == 0


def test_a_retrained_model_stops_at_the_cap(new_run, retrained, splits, target):
    epochs, curve = count(retrained, new_run(), splits, target, cap=3, samples=200)
    assert epochs is None
    assert curve[0] == 0
    assert len(curve) == 4


def test_an_easy_target_is_reached_and_the_last_check_is_the_first_to_reach_it(new_run, retrained, splits):
    epochs, curve = count(retrained, new_run(), splits, target=5, lr=0.1, cap=30)
    assert epochs == len(curve) - 1 > 0
    assert curve[-1] >= 5
    assert max(curve[:-1]) < 5


def test_each_epoch_reads_its_own_images_of_the_whole_training_set(new_run, retrained, splits, target):
    run = new_run()
    count(retrained, run, splits, target, cap=3, samples=200, batch_size=64)
    assert run.images_read["train"] == 3 * 200
    assert run.steps == 3 * 4


def test_the_seed_repeats_it(new_run, shipped, loaded, splits):
    def weights(seed):
        model = load(str(shipped / "without-3.safetensors"), Plain(), Options(device="cpu"), loaded)
        count(model, new_run(seed), splits, target=30, cap=1, samples=200)
        return model.model.head.weight.detach()

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


# relearning curves


@pytest.fixture
def hidden(loaded):
    """The original under a head that never says 3."""
    with torch.no_grad():
        loaded.model.head.weight[3], loaded.model.head.bias[3] = 0, -1e4
    return loaded


def curve(model, run, splits, forget=True, held=None, forgotten=(3,), **settings):
    settings = {"steps": 20, "seeds": 2} | settings
    with deterministic(run), run.adopted(model.model, model.head) as network:
        return relearn_curve(
            run, network, splits.forget if forget else None, splits.retain, held or splits.forget_test, forgotten, **settings
        )


def test_a_curve_has_a_share_per_look_for_each_seed_and_begins_before_anything_changes(new_run, loaded, splits, target):
    steps, curves = curve(loaded, new_run(), splits, steps=25, every=10, seeds=3)
    assert steps == [0, 10, 20]
    assert [len(each) for each in curves] == [3, 3, 3]
    assert [each[0] for each in curves] == [target / 36] * 3
    assert all(0 <= value <= 1 for each in curves for value in each)


def test_what_a_head_hides_is_back_at_once_and_what_was_never_learned_is_not(new_run, hidden, retrained, splits):
    _, back = curve(hidden, new_run(), splits)
    _, slow = curve(retrained, new_run(), splits)
    assert [each[0] for each in back + slow] == [0] * 4
    assert min(each[1] for each in back) > 0.85 > 0.75 > max(each[1] for each in slow)


def test_more_images_teach_more(new_run, retrained, splits):
    one, ten = (curve(retrained, new_run(), splits, shots=shots)[1] for shots in (1, 10))
    assert min(each[-1] for each in ten) > max(each[-1] for each in one) + 0.1


def test_the_weights_come_back_as_they_were(new_run, loaded, splits):
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    for forget in (True, False):
        curve(loaded, new_run(), splits, forget)
        assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.model.state_dict().items())


def watched(monkeypatch, run):
    """The positions of the images that are trained on."""
    seen = []
    inner = run.batches

    def batches(source, *args, **more):
        if getattr(source, "name", "") == "relearning":
            seen.append(source.index)
        return inner(source, *args, **more)

    monkeypatch.setattr(run, "batches", batches)
    return seen


def test_half_of_each_batch_are_the_few_images_and_half_retain_images(new_run, loaded, splits, monkeypatch):
    run = new_run()
    seen = watched(monkeypatch, run)
    curve(loaded, run, splits, shots=4, batch_size=11)
    assert len(seen) == 2
    for index in seen:
        few = torch.isin(index, splits.forget.index)
        assert few.view(20, 11).sum(1).tolist() == [5] * 20
        assert torch.isin(index[~few], splits.retain.index).all()
        assert len(index[few].unique()) == 4
    assert not torch.equal(seen[0], seen[1])


def test_training_on_retain_images_alone_sees_no_other_and_each_once_a_pass(new_run, loaded, splits, monkeypatch):
    run = new_run()
    seen = watched(monkeypatch, run)
    curve(loaded, run, splits, forget=False, steps=30, seeds=1)
    counts = torch.bincount(seen[0])[splits.retain.index]
    assert counts.sum() == 30 * 64
    assert set(counts.tolist()) == {1, 2}


def test_a_class_that_is_gone_does_not_come_back_by_itself_and_one_hidden_by_statistics_does(new_run, retrained, loaded, splits):
    _, gone = curve(retrained, new_run(), splits, forget=False)
    assert max(map(max, gone)) == 0
    with torch.no_grad():
        noise = torch.randn(32, generator=torch.Generator().manual_seed(0))
        norm = loaded.model.group3.norm1
        norm.running_mean += 4 * norm.running_var.sqrt() * noise
    _, back = curve(loaded, new_run(), splits, forget=False)
    assert max(each[0] for each in back) < 0.6
    assert min(each[1] for each in back) > 0.85


def test_listed_images_are_looked_at_where_they_are_not_trained_on(new_run, loaded, monkeypatch):
    paths = [path for path in loaded.folder.images.paths if path.startswith(("train/3/", "train/5/"))][::20]
    listed = split(loaded.folder, Request(instances=tuple(paths)), reads=ALL)
    run = new_run()
    seen, looked = watched(monkeypatch, run), []
    inner = run.correct
    monkeypatch.setattr(run, "correct", lambda model, held: looked.append(held.index) or inner(model, held))
    curve(loaded, run, listed, held=listed.forget, forgotten=(), shots=2, seeds=1)
    few = seen[0][torch.isin(seen[0], listed.forget.index)].unique()
    assert len(few) == 4
    assert torch.equal(looked[0].sort().values, listed.forget.index[~torch.isin(listed.forget.index, few)])


def test_an_end_without_images_to_look_at_is_an_error(new_run, loaded):
    paths = [path for path in loaded.folder.images.paths if path.startswith("train/3/")][:2]
    listed = split(loaded.folder, Request(instances=tuple(paths)), reads=ALL)
    with pytest.raises(UnlearnError, match="no image is left"):
        curve(loaded, new_run(), listed, held=listed.forget, forgotten=(), shots=2)


def test_a_run_repeats_its_curves_and_another_seed_draws_others(new_run, retrained, splits):
    one, again, other = (curve(retrained, new_run(seed), splits)[1] for seed in (0, 0, 1))
    assert one == again != other
