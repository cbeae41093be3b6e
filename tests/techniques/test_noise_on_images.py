"""Noise on the images of a batch."""

import torch

from unlearn_cli.engine.batches import Batch
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.techniques.noise import noisy


def test_noise_is_fresh_in_pixels_and_on_the_chosen_images_alone():
    run = Run(Options(device="cpu", precision="float32"), [0.5], [0.5])
    x = torch.zeros(4, 1, 50, 50)
    b = Batch(x, torch.zeros(4), None, torch.arange(4), 4, slice(0, 4))
    chosen = torch.tensor([True, False, True, False])
    first, second = noisy(run, b, chosen, 3 / 255), noisy(run, b, chosen, 3 / 255)
    assert not first[~chosen].any()
    assert not torch.equal(first[0], second[0])
    assert abs(first[chosen].std() * 0.5 * 255 - 3) < 0.15
    assert not noisy(run, b, chosen, 0.0).any()
