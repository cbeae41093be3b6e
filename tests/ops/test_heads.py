"""What a head says of features."""

import torch
from torch import nn
from torch.testing import assert_close

from unlearn_cli.ops.heads import boundary_distance


def head_of(weight, bias):
    head = nn.Linear(len(weight[0]), len(weight), dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(weight))
        head.bias.copy_(torch.tensor(bias))
    return head


HEAD = head_of([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.0, 0.5])
X = torch.tensor([[3.0, 1.0], [1.0, 3.0], [-2.0, -1.0], [2.0, 2.0]], dtype=torch.float64)


def test_the_distance_to_the_nearest_boundary_is_worked_by_hand():
    """Of (3, 1) from class 0: scores 3, 1, -3.5; to class 1 2/2, to class 2 6.5/3."""
    assert_close(boundary_distance(HEAD, X[:1], torch.tensor([0])), torch.tensor([1.0], dtype=torch.float64))


def test_the_distance_is_zero_beyond_the_boundary():
    assert boundary_distance(HEAD, X[:1], torch.tensor([1])).tolist() == [0.0]


def test_a_step_of_the_distance_reaches_the_boundary_and_no_shorter_one_does():
    distance = boundary_distance(HEAD, X[:1], torch.tensor([0]))
    toward = torch.tensor([[-1.0, 1.0]], dtype=torch.float64)
    short, far = (HEAD(X[:1] + distance * factor * toward).argmax(1).item() for factor in (0.999, 1.001))
    assert (short, far) == (0, 1)


def test_the_distance_scales_with_the_features_when_the_head_makes_up_for_it():
    wide = head_of((HEAD.weight / 7).tolist(), HEAD.bias.tolist())
    y = torch.tensor([0, 1, 2, 0])
    assert_close(boundary_distance(wide, 7 * X, y), 7 * boundary_distance(HEAD, X, y))
