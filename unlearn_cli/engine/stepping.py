"""Steps of an optimiser: the only place with a backward pass, sums over ranks and the check for finite losses."""

import math

import torch
from torch import Tensor

from unlearn_cli.engine.optim import Optimizer
from unlearn_cli.engine.precision import LossScale
from unlearn_cli.engine.ranks import Ranks
from unlearn_cli.errors import UnlearnError

LOOK = 32
"""On a GPU losses are inspected this many steps at a time: looking at each would wait for the device."""


class Stepper:
    """Takes a run's steps, and counts those `taken`; in float16 one whose gradients overflow is left out."""

    def __init__(self, device: torch.device, precision: torch.dtype, ranks: Ranks):
        self.device, self.ranks = device, ranks
        self.scale = LossScale() if precision == torch.float16 else None
        self.taken = 0
        self._waiting: list[Tensor] = []
        self._seen = 0
        self._finite = math.nan

    def step(self, loss: Tensor, opt: Optimizer, lr: float | None = None, clip: float | None = None) -> Tensor:
        """`Run.step`; gives the whole batch's loss, still on the device."""
        opt.zero_grad()
        (loss if self.scale is None else loss * self.scale.value).backward()
        total = loss.detach().clone()
        if self.ranks.world > 1:
            total = self._sum_gradients(opt, total)
        self._watch(total)
        grads = [p.grad for p in opt.params if p.grad is not None]
        if self.scale is not None and not self.scale.unscale_(grads):
            return total
        if clip is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
            torch._foreach_mul_(grads, (clip / norm.clamp(min=1e-12)).clamp(max=1.0))
        opt.step(lr)
        self.taken += 1
        return total

    def _sum_gradients(self, opt: Optimizer, loss: Tensor) -> Tensor:
        """Gradients and loss in one buffer, summed over ranks in one call."""
        for p in opt.params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = self.ranks.sum_(torch.cat([loss.reshape(1), *(p.grad.reshape(-1) for p in opt.params)]))
        for p, part in zip(opt.params, flat[1:].split([p.numel() for p in opt.params]), strict=True):
            p.grad = part.view_as(p)
        return flat[0]

    def _watch(self, loss: Tensor) -> None:
        self._waiting.append(loss)
        self._seen += 1
        if self.device.type == "cpu" or len(self._waiting) == LOOK:
            self.check_losses()

    def check_losses(self) -> None:
        """Stop the run if a loss since the last look was not finite."""
        values, self._waiting = torch.stack(self._waiting).tolist() if self._waiting else [], []
        for number, value in enumerate(values, self._seen - len(values) + 1):
            if not math.isfinite(value):
                last = f" (last finite value {self._finite:.4g})" if math.isfinite(self._finite) else ""
                raise UnlearnError(
                    f"stopped at step {number}: the loss is no longer finite{last}.",
                    "lower the learning rate (--set lr=...); nothing was written.",
                )
            self._finite = value

    def last_loss(self) -> float:
        """The latest loss known without waiting for the device."""
        return self._finite
