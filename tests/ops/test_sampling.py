"""Which images, by position."""

import torch

from unlearn_cli.ops.sampling import repeated, some_of_each


def test_a_subset_holds_at_most_so_many_of_each_label_first_or_drawn():
    y = torch.tensor([2, 0, 0, 2, 1, 0, 2, 2])
    assert some_of_each(y, 2, None).tolist() == [0, 1, 2, 3, 4]
    drawn = {tuple(some_of_each(y, 2, torch.Generator().manual_seed(s)).tolist()) for s in range(20)}
    assert len(drawn) > 5
    assert all(torch.bincount(y[list(chosen)]).tolist() == [2, 1, 2] for chosen in drawn)


def test_every_image_is_copied_as_often_as_every_other():
    draw = torch.Generator().manual_seed(0)
    assert repeated(7, 3, 100, draw).bincount().tolist() == [3] * 7
    assert sorted(repeated(7, 3, 17, draw).bincount().tolist()) == [2, 2, 2, 2, 3, 3, 3]
    few = repeated(7, 3, 4, draw)
    assert len(few.unique()) == 4
