"""Fisher: the variance of the noise by hand, the noise itself, and what it leaves alone."""

import pytest
import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.methods.fisher import variance
from unlearn_cli.techniques.fisher import diagonal

ONE_IMAGE = Request(instances=("train/3/0003.png",))
HEAD = ("head.weight", "head.bias")


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def changed(toy, outcome):
    return {name for name, t in outcome.tensors.items() if not torch.equal(t, toy.weights[name])}


# the variance


def test_it_is_larger_where_the_information_is_smaller_up_to_the_clamp():
    v = variance(tensor([1.0, 0.1, 1e-2, 1e-3, 1e-4, 0.0]), False, 1e-6)
    assert_close(v, tensor([1e-6, 1e-5, 1e-4, 1e-3, 1e-3, 1e-3]), rtol=1e-4, atol=0)
    assert v[4] == v[5]


def test_in_the_head_the_clamp_comes_earlier():
    v = variance(tensor([1.0, 0.1, 1e-2, 1e-3, 0.0]), True, 1e-6)
    assert_close(v, tensor([1e-6, 1e-5, 1e-4, 1e-4, 1e-4]), rtol=1e-4, atol=0)


def test_input_channels_share_the_mean_of_their_variances():
    information = torch.rand(3, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each = variance(information, False, 0.5, average=False)
    assert_close(each, (0.5 / (information + 1e-8)).clamp(max=500))
    shared = variance(information, False, 0.5)
    assert_close(shared, each.mean(1, keepdim=True).expand(3, 4, 2, 2))
    assert (shared - each).abs().max() > 0.1


def test_power_a_half_is_the_inverse_root():
    assert_close(variance(tensor([4.0, 1e-2]), False, 1.0, power=0.5), tensor([0.5, 10.0]), rtol=1e-5, atol=0)


# the noise


@pytest.mark.parametrize("request_", [Request(("3",)), Request(("3", "5")), ONE_IMAGE], ids=["class", "classes", "image"])
def test_the_weights_are_the_original_ones_with_noise_of_that_variance(toy, request_):
    made = toy.forget("fisher", request_, precision="float64", alpha=1e-5, seed=4, share=0.05).tensors
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64", seed=4))
    with run.adopted(loaded.model, loaded.head) as model:
        information = diagonal(run, model, run.sample(split(loaded.folder, request_, reads="retain").retain, 0.05))
        for name, p in model.named_parameters():
            mean, f = p.detach().clone(), information[name]
            v = torch.minimum(1 / (f + 1e-8), torch.tensor(1000.0))
            if name in HEAD:
                v = torch.minimum(v, torch.tensor(100.0))
            v = 1e-5 * v
            if v.dim() > 1:
                v = v.mean(1, keepdim=True).expand(v.shape).clone()
            if name in HEAD:
                rows = [int(c) for c in request_.classes]
                mean[rows], v[rows] = 0, 1e-4
            if name in HEAD or v.dim() == 1:
                v = 10 * v
            expected = mean + v.sqrt() * torch.randn(p.shape, generator=run.noise)
            assert_close(made[name], expected.float(), rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_without_noise_the_weights_stay_as_they_are(toy):
    assert changed(toy, toy.forget("fisher", ONE_IMAGE, alpha=0)) == set()
    assert len(changed(toy, toy.forget("fisher", ONE_IMAGE, alpha=1e-9))) > 10


def test_without_noise_a_forgotten_class_loses_its_row_of_the_head_and_nothing_else(toy):
    made = toy.forget("fisher", alpha=0)
    assert changed(toy, made) == set(HEAD)
    rows = torch.arange(10) != 3
    assert torch.equal(made.tensors["head.weight"][rows], toy.weights["head.weight"][rows])
    assert made.tensors["head.weight"][3].std().item() == pytest.approx(0.0316, rel=0.25)
    assert toy.weights["head.weight"][3].std() > 0.06
    assert not toy.forget("fisher", alpha=0, class_variance=0).tensors["head.weight"][3].any()


def test_batchnorms_statistics_stay_unless_they_are_to_be_estimated_anew(toy):
    def statistics(outcome):
        return {name for name in changed(toy, outcome) if "running" in name}

    assert statistics(toy.forget("fisher")) == set()
    assert len(statistics(toy.forget("fisher", bn="recalibrate"))) == 12


def test_the_class_is_forgotten_and_gentle_noise_keeps_the_others(toy):
    made = toy.forget("fisher", alpha=1e-9)
    run = made.loaded.run(Options(device="cpu"))
    with run.adopted(made.loaded.model, made.loaded.head) as model:
        splits = split(made.loaded.folder, Request(("3",)), reads=("forget", "retain"))
        assert run.correct(model, splits.forget) == 0
        assert run.correct(model, splits.retain) > 0.9 * len(splits.retain)


# what it reads


def test_it_reads_each_retained_image_once_or_a_share_of_them(toy):
    whole, part = (toy.forget("fisher", share=share).run.images_read for share in (0.4, 0.1))
    assert set(whole) == {"retain"}
    assert part["retain"] == round(129.5)


@pytest.mark.parametrize(
    "settings",
    [{"labels": "sampled"}, {"power": 0.5}, {"epsilon": 0.1}, {"clamp": 10}, {"head_clamp": 1}, {"boost": 1}, {"average": False},
     {"class_variance": 0.1}, {"share": 0.5}, {"alpha": 1e-5}],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, settings):
    made, plain = (toy.forget("fisher", **more).tensors for more in (settings, {}))
    assert any(not torch.equal(made[name], plain[name]) for name in made)


def test_the_size_of_a_batch_does_not_matter(toy):
    a, b = (toy.forget("fisher", precision="float64", labels="sampled", batch_size=size).tensors for size in (64, 100))
    for name, t in a.items():
        assert_close(b[name], t, rtol=0, atol=1e-6)
