import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from unlearn_cli.data.augment import augment, draws, normalise, statistics
from unlearn_cli.data.folder import open_folder


def augment_reference(x, shift_rows, shift_cols, flip):
    """The slow and obvious version: one output pixel at a time."""
    out = torch.empty_like(x)
    n, height, width, _ = x.shape
    for b in range(n):
        for r in range(height):
            for c in range(width):
                column = width - 1 - c if flip[b] else c
                source = (reflect(r - int(shift_rows[b]), height), reflect(column - int(shift_cols[b]), width))
                out[b, r, c] = x[b, *source]
    return out


def reflect(i, n):
    return -i if i < 0 else 2 * (n - 1) - i if i >= n else i


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_augment_is_the_reference(data):
    n, height, width, channels = (data.draw(st.integers(*bounds)) for bounds in ((1, 3), (2, 7), (2, 7), (1, 3)))
    padding = data.draw(st.integers(0, min(height, width) - 1))
    shifts = st.lists(st.integers(-padding, padding), min_size=n, max_size=n).map(torch.tensor)
    rows, cols = data.draw(shifts), data.draw(shifts)
    flip = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    x = torch.randint(256, (n, height, width, channels), dtype=torch.uint8)
    got = augment(x, rows, cols, flip, padding)
    assert got.is_contiguous() and got.dtype == torch.uint8
    assert torch.equal(got, augment_reference(x, rows, cols, flip))


def test_no_shift_and_no_flip_is_the_identity():
    x = torch.randint(256, (4, 9, 9, 3), dtype=torch.uint8)
    rows, cols, flip = draws(torch.Generator(), 4, 0, "none")
    assert torch.equal(augment(x, rows, cols, flip, 0), x)


def test_draws_stay_within_the_padding_and_follow_the_generator():
    drawn = [draws(torch.Generator().manual_seed(seed), 5000, 2, "random") for seed in (1, 1, 2)]
    for a, b in zip(drawn[0], drawn[1], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(drawn[0][0], drawn[2][0])
    rows, cols, flip = drawn[0]
    assert rows.unique().tolist() == cols.unique().tolist() == [-2, -1, 0, 1, 2]
    assert not torch.equal(rows, cols)
    assert 0.4 < flip.float().mean() < 0.6


def test_alternating_flips_show_both_sides_of_each_image_in_two_epochs():
    index = torch.randperm(4000)
    flips = [draws(torch.Generator(), 4000, 2, "alternating", epoch, index)[2] for epoch in range(3)]
    assert torch.equal(flips[0], ~flips[1]) and torch.equal(flips[0], flips[2])
    assert 0.45 < flips[0].float().mean() < 0.55
    part = draws(torch.Generator(), 10, 2, "alternating", 0, index[:10])[2]
    assert torch.equal(part, flips[0][:10])


def test_alternating_flips_look_random_along_the_index():
    flip = draws(torch.Generator(), 10_000, 0, "alternating", 0, torch.arange(10_000))[2].double()
    for lag in (1, 2, 3, 5, 8, 13, 500):
        assert abs((flip[lag:] == flip[:-lag]).double().mean() - 0.5) < 0.03


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalise_is_the_formula_in_channels_last(channels, dtype):
    x = torch.randint(256, (5, 6, 6, channels), dtype=torch.uint8)
    mean, std = [0.1, 0.5, 0.4][:channels], [0.2, 0.3, 0.25][:channels]
    got = normalise(x, mean, std, dtype)
    wanted = (x.double() / 255 - torch.tensor(mean).double()) / torch.tensor(std).double()
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert_close(got, wanted.permute(0, 3, 1, 2).to(dtype))


def test_statistics_are_those_of_numpy_in_float64(photos):
    images = open_folder(photos).images
    index = (~images.test).nonzero().squeeze(1)
    pixels = images.pixels[index].numpy().astype(np.float64) / 255
    mean, std = statistics(images, index)
    assert_close(mean, pixels.mean((0, 1, 2)).tolist(), rtol=1e-12, atol=0)
    assert_close(std, pixels.std((0, 1, 2)).tolist(), rtol=1e-12, atol=0)
