"""What a label is where there is one class per image, and what of it is to go."""

import math

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.tasks.classes import Classes

ONE, SEVERAL, LISTED = Classes(5, (3,)), Classes(5, (1, 3)), Classes(5)
LATER = Classes(5, (3,), earlier=(0, 4))
LOGITS = torch.eye(5)[[3, 1, 0, 3]]
Y = torch.tensor([3, 3, 0, 1])


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("task", "known"),
    [(ONE, [True, False, False, True]), (SEVERAL, [True, True, False, True]), (LISTED, [True, False, True, False]),
     (LATER, [True, False, False, True])],
)  # fmt: skip
def test_known_is_whatever_is_still_given_what_was_to_vanish(task, known):
    """For classes any of them, for listed images their own label; an image's own label alone is what is correct."""
    assert task.known(LOGITS, Y).tolist() == known
    assert task.correct(LOGITS, Y).tolist() == [True, False, True, False]
    assert torch.equal(task.vanishing(Y).gather(1, task.answer(LOGITS)[:, None])[:, 0], task.known(LOGITS, Y))


def test_the_loss_is_cross_entropy_and_that_of_a_guess_is_the_logarithm_of_the_classes():
    logits = torch.randn(7, 5, generator=draw())
    y = torch.arange(7) % 5
    assert_close(ONE.loss(logits, y), cross_entropy(logits, y))
    assert_close(ONE.loss(torch.zeros(7, 5, dtype=torch.float64), y), torch.full((7,), ONE.guess, dtype=torch.float64))
    assert ONE.guess == math.log(5)
    assert not torch.equal(ONE.loss(logits, y, 0.2), ONE.loss(logits, y))


def test_masks_of_classes_say_which_go_and_which_stay():
    assert LATER.gone().tolist() == [False, False, False, True, False]
    assert LATER.stays().tolist() == [False, True, True, False, False]
    assert LATER.named(torch.tensor([3, 0, 1])).tolist() == [True, False, False]
    assert not LISTED.named(Y).any()
    assert LISTED.stays().all()
    assert LATER.lost(torch.tensor([3, 0, 1])).tolist() == [False, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_no_wrong_label_is_one_that_any_request_forgot(seed):
    y = torch.arange(5).repeat(200)
    wrong = LATER.wrong(y, draw(seed))
    assert set(wrong.tolist()) == {1, 2}
    assert (wrong != y).all()
    assert {0, 4} < set(ONE.wrong(y, draw(seed)).tolist()), "without earlier requests they are drawn"


def test_where_no_wrong_label_is_left_that_is_said():
    task = Classes(3, (), earlier=(0, 1))
    with pytest.raises(UnlearnError, match="no wrong label is left"):
        task.wrong(torch.tensor([0, 2]), draw())
    assert task.wrong(torch.tensor([0, 1]), draw()).tolist() == [2, 2]


def test_a_target_never_raises_what_an_earlier_request_forgot():
    logits = torch.randn(50, 5, generator=draw())
    taught = LATER.teachable(logits)
    assert not torch.isin(taught.argmax(1), torch.tensor([0, 4])).any()
    assert not taught.softmax(1)[:, [0, 4]].any()
    assert torch.equal(taught[:, 1:4], logits[:, 1:4])
    assert torch.isin(logits.argmax(1), torch.tensor([0, 4])).any()
    assert ONE.teachable(logits) is logits
