"""Pairs of batches: what is shown how often, and in batches of one size."""

import pytest
import torch

from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.pairing import positions


def drawn(n, m, size, pairing="crop"):
    return positions(n, m, size, pairing, torch.Generator().manual_seed(0))


def test_every_retain_image_is_shown_once_and_the_forget_set_again_and_again():
    size, times, forget, retain = drawn(150, 1000, 64)
    assert size == 64
    assert (len(times), times[0], times[-1]) == (16, 0, 1)
    assert sorted(retain.tolist()) == list(range(1000))
    passes = forget.split(150)
    assert all(sorted(one.tolist()) == list(range(150)) for one in passes[:-1])
    assert passes[0].tolist() != passes[1].tolist()
    assert len(forget) == 1000


def test_batches_are_cropped_to_a_forget_set_that_is_smaller():
    size, times, forget, retain = drawn(10, 1000, 64)
    assert (size, len(times), len(forget), len(retain)) == (10, 16, 160, 160)
    assert len(set(retain.tolist())) == 160
    assert all(sorted(one.tolist()) == list(range(10)) for one in forget.split(10))


def test_the_official_pairs_leave_out_every_rest():
    size, times, forget, retain = drawn(1500, 8000, 64, "official")
    skipped = {t for t in range(125) if t % 24 == 23}  # 1500 = 23 whole batches and 28 images
    assert times == [t / 124 for t in range(125) if t not in skipped]
    assert len(retain) == len(forget) == 64 * 120
    assert all(len(set(one.tolist())) == 23 * 64 for one in forget.split(23 * 64)[:-1])
    size, times, forget, retain = drawn(128, 1000, 64, "official")  # 1000 = 15 whole batches and 40 images
    assert times == [t / 15 for t in range(15)]


def test_official_pairs_of_too_few_images_are_refused():
    with pytest.raises(UnlearnError, match="skips every batch"):
        drawn(10, 1000, 64, "official")
    assert len(drawn(64, 1000, 64, "official")[2])
