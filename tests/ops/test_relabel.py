"""The model's own word without some classes: the paper's numbers by hand, and the closed form of the loss."""

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.ops.losses import kl
from unlearn_cli.ops.relabel import recognised, suppressed, without

EXAMPLE = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
FIRST = torch.tensor([[True, False, False]])
LOGITS = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
Y = torch.arange(9) % 5
OWN = torch.nn.functional.one_hot(Y, 5).bool()


def close(actual, expected):
    assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


# worked by hand: logits (2, 1, 0), the first class vanishes


def test_the_target_at_temperature_four():
    target = without(EXAMPLE, FIRST, 4.0)
    close(target, [[0.0, 0.562177, 0.437824]])
    close(kl(target, EXAMPLE, 4.0), [0.543399])


def test_the_target_that_leaves_a_hundredth():
    target = without(EXAMPLE, FIRST, epsilon=0.01)
    close(target, [[0.01, 0.723748, 0.266252]])
    close(kl(target, EXAMPLE), [1.031475])


def test_the_first_steps_loss_and_gradient():
    logits = EXAMPLE.clone().requires_grad_()
    loss = kl(without(logits, FIRST), logits).mean()
    loss.backward()
    close(loss.detach(), 1.094344)
    close(logits.grad, [[0.665241, -0.486330, -0.178911]])


# in general


@pytest.mark.parametrize("gone", [OWN, torch.tensor([True, False, False, True, False]).expand(9, 5)], ids=["own", "two"])
def test_the_loss_is_minus_the_log_of_what_is_kept_and_so_is_its_gradient(gone):
    a, b = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    loss, closed = kl(without(a, gone), a), -torch.log1p(-(b.softmax(1) * gone).sum(1))
    assert_close(loss, closed, rtol=1e-10, atol=1e-12)
    loss.mean().backward()
    closed.mean().backward()
    assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)
    off = LOGITS.clone().requires_grad_()
    kl(without(off, gone, 2.0), off, 2.0).mean().backward()
    assert not torch.allclose(off.grad, b.grad, rtol=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_what_vanishes_is_left_epsilon_and_the_others_keep_their_ratios(epsilon, temperature):
    target, p = without(LOGITS, OWN, temperature, epsilon), (LOGITS / temperature).softmax(1)
    assert target[OWN].tolist() == [epsilon] * 9
    assert_close(target.sum(1), torch.ones(9, dtype=torch.float64))
    ratio = (target / p)[~OWN].view(9, 4)
    assert_close(ratio, ratio[:, :1].expand(9, 4))


def test_several_classes_share_epsilon():
    gone = suppressed(Y, 5, (1, 4))
    target = without(LOGITS, gone, epsilon=0.1)
    assert_close(target[gone], torch.full((18,), 0.05, dtype=torch.float64))
    assert_close(target.sum(1), torch.ones(9, dtype=torch.float64))


def test_a_certain_model_gives_no_nan():
    logits = torch.tensor([[200.0, 1.0, 0.0]], requires_grad=True)
    p = logits.softmax(1)
    assert (p * ~FIRST / (1 - p[:, 0])).isnan().any()  # what the formula as printed would give
    target = without(logits, FIRST)
    assert_close(target, torch.tensor([[0.0, 0.731059, 0.268941]]), rtol=0, atol=1e-6)
    kl(target, logits).sum().backward()
    assert logits.grad.isfinite().all()


def test_the_target_is_constant_and_the_logits_stay_as_they_are():
    logits = LOGITS.clone().requires_grad_()
    assert not without(logits, OWN, epsilon=0.1).requires_grad
    assert torch.equal(logits, LOGITS)


def test_listed_images_lose_their_own_label_and_classes_vanish_from_every_image():
    assert torch.equal(suppressed(Y, 5, ()), OWN)
    assert suppressed(Y, 5, (1, 4)).tolist() == [[False, True, False, False, True]] * 9


def test_an_image_is_recognised_while_its_prediction_is_to_vanish():
    predicted = LOGITS.argmax(1)
    assert torch.equal(recognised(LOGITS, OWN), predicted == Y)
    assert torch.equal(recognised(LOGITS, suppressed(Y, 5, (1, 4))), (predicted == 1) | (predicted == 4))
    assert 0 < recognised(LOGITS, suppressed(Y, 5, (1, 4))).sum() < 9
