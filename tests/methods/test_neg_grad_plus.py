"""NegGrad+: a step of it by hand, and where it meets fine-tuning."""


import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.losses import cross_entropy

WHOLE = {"batch_size": 5000, "bn": "eval", "lr": 0.05}
"""One step per epoch, so that the order of the images does not matter."""


def losses(outcome):
    """Mean loss on the forget and on the retain set."""
    loaded = outcome.loaded
    run = loaded.run(Options(device="cpu", precision="float32"))
    with run.adopted(loaded.model, loaded.head) as model:
        splits = split(loaded.folder, Request(("3",)), reads=("forget", "retain"))
        return [cross_entropy(run.logits(model, part), part.y).mean().item() for part in (splits.forget, splits.retain)]


def test_without_the_ascent_it_is_fine_tuning(few):
    plain = few.forget("fine-tune", precision="float64", momentum=0, weight_decay=0, epochs=3, **WHOLE).tensors
    made = few.forget("neg-grad-plus", precision="float64", beta=1, epochs=3, **WHOLE).tensors
    other = few.forget("neg-grad-plus", precision="float64", beta=0.9, epochs=3, **WHOLE).tensors
    for name, tensor in plain.items():
        assert_close(made[name], tensor, rtol=0, atol=1e-6)
    assert max((other[name] - plain[name]).abs().max() for name in plain) > 1e-3


def test_it_climbs_the_forget_loss_and_holds_the_retain_loss(toy):
    settings = {"epochs": 2, "bn": "recalibrate"}
    before, after, descent = (
        losses(toy.forget("neg-grad-plus", beta=beta, lr=lr, **settings)) for beta, lr in ((0.8, 1e-12), (0.8, 0.02), (1, 0.02))
    )
    assert after[0] > before[0] + 0.7
    assert after[0] > descent[0] + 0.3
    assert after[1] < before[1]


def test_half_and_half_at_twice_the_rate_is_the_difference_of_the_losses(few):
    made = few.forget("neg-grad-plus", precision="float64", beta=0.5, epochs=1, **WHOLE | {"lr": 0.02}).tensors
    loaded = few.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        splits = split(loaded.folder, Request(("3",)), reads=("forget", "retain"))
        (f,), (r,) = (list(run.batches(part, size=5000)) for part in (splits.forget, splits.retain))
        loss = cross_entropy(model(r.x), r.y).mean() - cross_entropy(model(f.x), f.y).mean()
        for (name, p), grad in zip(model.named_parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
            assert_close(made[name], (p - 0.01 * grad).detach().float(), rtol=0, atol=1e-6)


def test_an_epoch_is_a_pass_over_the_retain_set(toy):
    made = toy.forget("neg-grad-plus", epochs=2, batch_size=100)
    retain = made.run.images_read["retain"] // 2
    assert made.run.steps == 2 * -(-retain // 100)
    assert made.run.images_read["forget"] > 2 * 147


def distance(outcome, toy):
    weights = [name for name in toy.weights if name.endswith((".weight", ".bias"))]
    return sum((outcome.tensors[name] - toy.weights[name]).square().sum() for name in weights).item()


def test_an_anchor_pulls_back_to_the_original_weights(toy):
    free, held = (toy.forget("neg-grad-plus", anchor=anchor, epochs=2) for anchor in (0.0, 10.0))
    assert distance(held, toy) < 0.8 * distance(free, toy)


def test_a_limit_on_the_gradient_bounds_a_step(toy):
    made = toy.forget("neg-grad-plus", epochs=1, lr=0.1, clip=1e-3, batch_size=5000)
    assert 0 < distance(made, toy) <= (0.1 * 1e-3) ** 2 * 1.01
    assert distance(toy.forget("neg-grad-plus", epochs=1, lr=0.1, batch_size=5000), toy) > 1e-6


def test_batchnorms_statistics_move_in_train_mode_only(toy):
    def moved(bn):
        made = toy.forget("neg-grad-plus", bn=bn).tensors
        return [name for name in made if "running" in name and not torch.equal(made[name], toy.weights[name])]

    assert len(moved("train")) == 12
    assert moved("eval") == []
