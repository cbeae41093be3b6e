"""Optimisers over whole lists of tensors, equal to torch.optim's step for step.

Constructing the first `torch.optim` optimiser of a process imports the compiler stack, a second that a forgetting
of two seconds cannot pay; these two use torch's own multi-tensor kernels without it.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

Group = tuple[list[nn.Parameter], float, float]


class Optimizer:
    """Parameters in groups, and a schedule over the steps.

    With `done`, `moments` are all that an update remembers: by their kind, a tensor for each parameter that ever had a step.

    Args:
        groups: (parameters, factor on lr, factor on the weight decay) each.
        schedule: constant | cosine | linear; the last two fall to zero after `steps` steps.
    """

    def __init__(self, groups: list[Group], lr: float, schedule: str, steps: int, weight_decay: float):
        self.groups = groups
        self.params = [p for group in groups for p in group[0]]
        self.lr, self.schedule, self.steps, self.weight_decay = lr, schedule, steps, weight_decay
        self.done = 0
        self.moments: dict[str, dict[Tensor, Tensor]] = {}

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def rate(self) -> float:
        """The learning rate of the step to come."""
        part = min(self.done / self.steps, 1.0) if self.steps else 0.0
        return self.lr * {"constant": 1.0, "cosine": (1 + math.cos(math.pi * part)) / 2, "linear": 1 - part}[self.schedule]

    @torch.no_grad()
    def step(self, lr: float | None = None) -> None:
        """One update from the gradients; parameters without one stay as they are."""
        lr = self.rate() if lr is None else lr
        self.done += 1
        for params, rate, decay in self.groups:
            if params := [p for p in params if p.grad is not None]:
                self.update(params, [p.grad for p in params], lr * rate, self.weight_decay * decay)

    def update(self, params: list[Tensor], grads: list[Tensor], lr: float, decay: float) -> None:
        raise AssertionError("an optimiser defines its update")


class SGD(Optimizer):
    """p ← p - lr·v, v ← μ·v + g + λp; with Nesterov's look-ahead p ← p - lr·(g + λp + μ·v)."""

    def __init__(self, groups, lr, schedule="constant", steps=0, momentum=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(groups, lr, schedule, steps, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity: dict[Tensor, Tensor] = {}
        self.moments = {"velocity": self.velocity}

    def update(self, params, grads, lr, decay):
        if decay:
            grads = torch._foreach_add(grads, params, alpha=decay)
        if self.momentum:
            velocity = [_kept(self.velocity, p) for p in params]
            torch._foreach_mul_(velocity, self.momentum)
            torch._foreach_add_(velocity, grads)
            grads = torch._foreach_add(grads, velocity, alpha=self.momentum) if self.nesterov else velocity
        torch._foreach_add_(params, grads, alpha=-lr)


class Adam(Optimizer):
    """Adam with bias correction; `decoupled` decay shrinks the weights themselves (AdamW)."""

    def __init__(self, groups, lr, schedule="constant", steps=0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
                 decoupled=False):  # fmt: skip
        super().__init__(groups, lr, schedule, steps, weight_decay)
        self.betas, self.eps, self.decoupled = betas, eps, decoupled
        self.first: dict[Tensor, Tensor] = {}
        self.second: dict[Tensor, Tensor] = {}
        self.moments = {"first": self.first, "second": self.second}

    def update(self, params, grads, lr, decay):
        if decay and self.decoupled:
            torch._foreach_mul_(params, 1 - lr * decay)
        elif decay:
            grads = torch._foreach_add(grads, params, alpha=decay)
        first, second = [_kept(self.first, p) for p in params], [_kept(self.second, p) for p in params]
        b1, b2 = self.betas
        torch._foreach_lerp_(first, grads, 1 - b1)
        torch._foreach_mul_(second, b2)
        torch._foreach_addcmul_(second, grads, grads, 1 - b2)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, math.sqrt(1 - b2**self.done))
        torch._foreach_add_(scale, self.eps)
        torch._foreach_addcdiv_(params, first, scale, -lr / (1 - b1**self.done))


def _kept(state: dict[Tensor, Tensor], p: Tensor) -> Tensor:
    if p not in state:
        state[p] = torch.zeros_like(p)
    return state[p]


def make(name: str, params: Iterable[nn.Parameter] | Iterable[tuple[list[nn.Parameter], float]], **settings) -> Optimizer:
    """An optimiser by name: sgd | adam | adamw, over every given parameter that requires a gradient.

    Args:
        params: parameters, or (parameters, factor on the rate) pairs.
    """
    params = list(params)
    pairs = params if params and isinstance(params[0], tuple) else [(params, 1.0)]
    groups = [([p for p in some if p.requires_grad], factor, 1.0) for some, factor in pairs]
    if name == "sgd":
        return SGD(groups, **settings)
    return Adam(groups, decoupled=name == "adamw", **settings)
