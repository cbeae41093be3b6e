"""Images made by descent on the input while the network rests: error-maximising noise and its like."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearn_cli.ops.modes import batchnorms


def error_maximising(loss: Tensor, noise: Tensor, lam: float) -> Tensor:
    """What error-maximising noise lowers, per image -> (n,): it is to be anything but its class, and to stay small.

        J = -CE(f(N), y) + λ·Σ N²        the squared norm, summed over channels and pixels

    Args:
        loss: (n,) of the noise and the label that it is not to be given.
        noise: (n, C, H, W) in the space of the network's input.

    Source: "Fast Yet Effective Machine Unlearning", Eq. 1, with the norm of its public code.
    """
    return lam * noise.square().flatten(1).sum(1) - loss


def descend(noise: Tensor, objective: Callable[[Tensor], Tensor], opt, steps: int, size: int | None = None) -> Tensor:
    """The noise after `steps` steps of an optimiser on the mean of objective(noise), constant from here on.

    Args:
        noise: (n, C, H, W) that requires a gradient; no other tensor is given one.
        objective: noise to one number per image, (n,).
        opt: an optimiser of [noise]; anything with a `step` that reads `noise.grad`.
        size: images of the whole batch, where `noise` is one process's share of it.
    """
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(objective(noise).sum(), noise)  # of the sum: float16 would lose that of the mean
        noise.grad = gradient / (size or len(noise))
        opt.step()
    noise.grad = None
    return noise.detach()


@contextmanager
def at_rest(model: nn.Module, batch_statistics: bool = False) -> Iterator[None]:
    """Eval mode, no gradients of the weights; afterwards modes, flags and BatchNorm's buffers are what they were.

    Args:
        batch_statistics: BatchNorm normalises by the batch, as in train mode, but takes no note of it.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    tracking = [(layer, layer.track_running_stats) for layer in batchnorms(model)]
    model.eval().requires_grad_(False)
    if batch_statistics:
        for layer, _ in tracking:
            layer.train()
            layer.track_running_stats = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p, flag in wanted:
            p.requires_grad_(flag)
        for layer, flag in tracking:
            layer.track_running_stats = flag
