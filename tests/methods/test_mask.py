"""The mask: what it asks of the head, with a bias and without one."""

import pytest
import torch

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.methods.mask import mask


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("classes", [("3",), ("3", "8")])
def test_no_image_is_given_a_masked_class_and_between_the_others_nothing_changes(toy, bias, classes):
    loaded, gone = toy.load(), torch.tensor([int(c) for c in classes])
    if not bias:
        loaded.model.head.bias = None
    run = loaded.run(Options(device="cpu", precision="float64"))
    splits = split(loaded.folder, Request(classes), reads=("test", "forget"))
    with run.adopted(loaded.model, loaded.head) as model:
        before = run.logits(model, splits.test)
        read = run.images_read.copy()
        mask(run, model, splits)
        assert run.images_read == read
        after = run.logits(model, splits.test)
    others = ~torch.isin(torch.arange(10), gone)
    assert torch.isin(before.argmax(1), gone).any()
    assert not torch.isin(after.argmax(1), gone).any()
    assert torch.equal(after[:, others], before[:, others])


def test_all_but_the_head_is_the_original_bit_for_bit(toy):
    made = toy.forget("mask").tensors
    assert {name for name, t in made.items() if not torch.equal(t, toy.weights[name])} == {"head.weight", "head.bias"}
