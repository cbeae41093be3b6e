"""How much a weight is held by what it matters, and the pull on those that are."""

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.ops.importance import pull, unimportance


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_within_a_tensor_the_least_important_is_held_at_one_and_the_most_let_go():
    held = unimportance([torch.tensor([[2.0, 4.0], [3.0, 2.5]]), torch.tensor([0.0, 1e-12])])
    assert_close(held, [torch.tensor([[1.0, 0.0], [0.5, 0.75]]), torch.tensor([1.0, 0.0])])


def test_everything_lies_between_zero_and_one():
    for part in unimportance([draw(50, seed=s).abs() * 10.0**s for s in range(-8, 8)]):
        assert part.min() == 0
        assert part.max() == 1


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_importances_are_held_and_not_divided_by_zero(value):
    assert torch.equal(unimportance([torch.full((4,), value)])[0], torch.ones(4))


def test_the_pull_is_zero_where_the_weights_began_and_so_is_its_gradient():
    weight = draw(4, 3).requires_grad_()
    value = pull([weight], [weight.detach().clone()], [torch.ones(4, 3)])
    value.backward()
    assert value.item() == 0
    assert not weight.grad.any()


def test_the_pull_elsewhere_is_a_spring_to_each_weight_held():
    start, hold = [draw(4, 3), draw(2, seed=1)], [draw(4, 3, seed=2).abs(), draw(2, seed=3).abs()]
    now = [(t + draw(*t.shape, seed=9)).requires_grad_() for t in start]
    value = pull(now, start, hold)
    value.backward()
    assert_close(value, sum((o * (w - s) ** 2).sum() for w, s, o in zip(now, start, hold)) / 2)
    for w, s, o in zip(now, start, hold):
        assert_close(w.grad, o * (w.detach() - s))
