"""How soon a model knows the forgotten again."""

import pytest
import torch

from unlearn_cli.engine.relearning import relearn_epochs
from unlearn_cli.engine.run import Options
from unlearn_cli.jobs.loading import Plain, load


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
