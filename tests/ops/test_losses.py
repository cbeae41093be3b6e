"""Losses of single images."""

import torch
from torch.testing import assert_close

from unlearn_cli.ops.losses import cross_entropy, entropy, kl

LOGITS = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
Y = torch.arange(9) % 5


def test_cross_entropy_is_minus_the_log_of_the_labels_probability():
    assert_close(cross_entropy(LOGITS, Y), -LOGITS.softmax(1)[torch.arange(9), Y].log())


def test_kl_to_ones_own_probabilities_is_zero_at_any_temperature():
    for t in (1.0, 4.0):
        assert_close(kl((LOGITS / t).softmax(1), LOGITS, t), torch.zeros(9, dtype=torch.float64), rtol=0, atol=1e-12)


def test_kl_to_ones_own_probabilities_without_y_is_minus_log_of_one_minus_p_y():
    p = LOGITS.softmax(1)
    left = p.clone()
    left[torch.arange(9), Y] = 0
    own = p[torch.arange(9), Y]
    assert_close(kl(left / left.sum(1, keepdim=True), LOGITS), -torch.log1p(-own), rtol=1e-10, atol=1e-12)


def test_kl_to_a_certain_target_is_the_cross_entropy():
    assert_close(kl(torch.nn.functional.one_hot(Y, 5).double(), LOGITS), cross_entropy(LOGITS, Y))


def test_entropy_of_a_guess_is_log_of_the_classes_and_of_certainty_zero():
    assert_close(entropy(torch.zeros(2, 5)), torch.full((2,), 5.0).log())
    assert entropy(torch.tensor([[0.0, -torch.inf], [1e4, -1e4]])).tolist() == [0, 0]
