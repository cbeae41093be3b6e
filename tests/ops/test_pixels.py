"""Between normalised images and pixels."""

import torch
from torch.testing import assert_close

from unlearn_cli.ops.pixels import Pixels


def test_pixels_and_back_is_the_identity_and_black_stays_black():
    pixels = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels[:, :, 0], pixels[:, :, 1] = 0.0, 1.0
    mean, std = [0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616]
    way = Pixels(mean, std, torch.device("cpu"), torch.float32)
    normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert_close(way.of(normalised), pixels, rtol=0, atol=1e-6)
    assert (way.of(normalised) >= 0).all() and (way.of(normalised) <= 1).all()
    assert_close(way.into(lambda x: x)(pixels), normalised)
