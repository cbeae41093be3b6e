"""Fine-tuning: its steps are SGD's on the retain set, and no others."""

import pytest
import torch
from torch.testing import assert_close

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.ops.losses import cross_entropy

WHOLE = {"batch_size": 5000, "precision": "float64", "bn": "eval"}
"""One step per epoch, so that the order of the images does not matter."""


def by_hand(toy, epochs, lr):
    """The weights after whole-batch steps of torch's own SGD at the default momentum and decay."""
    loaded = toy.load()
    run = loaded.run(Options(device="cpu", precision="float64"))
    with run.adopted(loaded.model, loaded.head) as model:
        b = next(run.batches(split(loaded.folder, Request(("3",)), reads="retain").retain, size=5000, shuffle=False))
        opt = torch.optim.SGD(model.eval().parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        for _ in range(epochs):
            opt.zero_grad()
            cross_entropy(model(b.x), b.y).mean().backward()
            opt.step()
        return {name: t.clone() for name, t in model.state_dict().items()}


def test_its_steps_are_those_of_sgd_on_the_retain_set(toy):
    made = toy.forget("fine-tune", short=False, epochs=2, **WHOLE).tensors
    wanted, one = by_hand(toy, 2, 0.01), by_hand(toy, 1, 0.01)
    for name, tensor in made.items():
        assert_close(tensor.double(), wanted[name].double(), rtol=0, atol=1e-6)
    assert max((made[name].double() - one[name].double()).abs().max() for name in made) > 1e-4


def test_an_epoch_is_a_pass_over_the_retain_set_and_no_forget_image_is_read(toy):
    made = toy.forget("fine-tune", epochs=2)
    retain = len(split(made.loaded.folder, Request(("3",)), reads="retain").retain)
    assert made.run.images_read == {"retain": 2 * retain}
    assert made.run.steps == 2 * -(-retain // 128)


@pytest.mark.parametrize(
    "settings",
    [{"lr": 0.001}, {"momentum": 0}, {"weight_decay": 0.1}, {"schedule": "cosine"}, {"schedule": "linear"}, {"batch_size": 200},
     {"bn": "eval"}],
    ids=str,
)  # fmt: skip
def test_each_setting_matters(toy, settings):
    made, plain = toy.forget("fine-tune", **settings), toy.forget("fine-tune")
    assert not torch.equal(made.tensors["head.weight"], plain.tensors["head.weight"])
