"""Wrong labels are wrong, allowed, and as likely as one another."""

import torch

from unlearn_cli.ops.relabel_draws import wrong_labels


def draw(y, classes=5, forgotten=(), seed=0):
    return wrong_labels(torch.as_tensor(y), classes, forgotten, torch.Generator().manual_seed(seed))


def test_no_image_is_given_its_own_label():
    y = torch.arange(5).repeat(200)
    assert (draw(y) != y).all()
    assert (torch.randint(5, (1000,), generator=torch.Generator().manual_seed(0)) == y).any(), "a draw among all is not enough"


def test_no_image_is_given_a_forgotten_class():
    y = torch.tensor([1, 3]).repeat(500)
    assert set(draw(y, forgotten=(1, 3)).tolist()) == {0, 2, 4}
    assert set(draw(y).tolist()) == {0, 1, 2, 3, 4}, "without forgotten classes all occur"


def test_all_allowed_labels_are_as_likely():
    counts = draw(torch.zeros(40000, dtype=torch.int64), forgotten=(0, 4)).bincount(minlength=5)
    assert counts[[0, 4]].tolist() == [0, 0]
    assert ((counts[1:4] / 40000 - 1 / 3).abs() < 5 * (2 / 9 / 40000) ** 0.5).all(), "five standard deviations"


def test_no_class_is_favoured_where_the_published_draw_favours_the_middle_one():
    """It draws among all ten and gives the sixth in place of the own label: twice as often as others, and to its own images."""
    y = torch.arange(10).repeat(10_000)
    all_of_them = torch.randint(10, y.shape, generator=torch.Generator().manual_seed(0))
    published = torch.where(all_of_them == y, 5, all_of_them)
    assert abs((published == 5).double().mean() - 0.19) < 0.005
    assert abs((published[y == 5] == 5).double().mean() - 0.1) < 0.015
    shares = draw(y, classes=10).bincount(minlength=10) / len(y)
    assert ((shares - 0.1).abs() < 0.005).all()
    assert (draw(y, classes=10) != y).all()


def test_where_one_class_is_left_everything_goes_there():
    assert draw([0, 1, 2, 3], forgotten=(0, 1, 2, 3)).tolist() == [4] * 4


def test_the_generator_alone_decides():
    y = torch.arange(5).repeat(20)
    assert torch.equal(draw(y, seed=3), draw(y, seed=3))
    assert not torch.equal(draw(y, seed=3), draw(y, seed=4))
