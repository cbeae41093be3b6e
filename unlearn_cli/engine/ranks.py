"""Several processes, one result: what torchrun started, sums across it, and BatchNorm over the whole batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn

from unlearn_cli.engine.launch import launched
from unlearn_cli.errors import UnlearnError, one_line

PLAIN = (nn.modules.batchnorm._BatchNorm.forward, nn.SyncBatchNorm.forward)


class Ranks:
    """This process among its equals. Alone (world 1) every verb is free and torch.distributed stays unused."""

    def __init__(self, device: torch.device):
        self.rank, self.world, _ = launched()
        if self.world > 1:
            from torch import distributed

            if device.type == "cuda":
                torch.cuda.set_device(device)
            if not distributed.is_initialized():
                try:
                    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
                except (RuntimeError, ValueError) as error:
                    raise UnlearnError(
                        f"the {self.world} processes that WORLD_SIZE names did not find each other: {one_line(error)}",
                        "start them with torchrun; for one process, unset WORLD_SIZE.",
                    ) from None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def slice(self, n: int) -> slice:
        """This rank's contiguous share of n things; the shares differ by at most one and may be empty."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        if self.world > 1:
            torch.distributed.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes ahead; the others follow once it is through, and find what it left in the cache."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def synchronise_batchnorm(self, model: nn.Module) -> None:
        """Make every BatchNorm normalise by the whole batch over all ranks, as one process would."""
        if self.world > 1:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.forward = MethodType(_batch_norm_over_ranks, module)


class _SumOverRanks(torch.autograd.Function):
    """The sum over ranks; every rank's loss depends on it, so gradients are summed over ranks as well."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        total = grad.clone()
        torch.distributed.all_reduce(total)
        return total


def _batch_norm_over_ranks(bn: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    if not (bn.training or bn.running_mean is None):
        return type(bn).forward(bn, x)
    wide = x if x.dtype == torch.float64 else x.float()
    over = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    count = wide.new_full((1,), wide.numel() / wide.shape[1])
    count = _SumOverRanks.apply(count)
    mean = _SumOverRanks.apply(wide.sum(over)) / count
    centred = wide - mean.view(shape)
    var = _SumOverRanks.apply(centred.square().sum(over)) / count
    if bn.training and bn.track_running_stats:
        with torch.no_grad():
            bn.num_batches_tracked += 1
            rate = bn.momentum if bn.momentum is not None else 1 / bn.num_batches_tracked.item()
            bn.running_mean.lerp_(mean.to(bn.running_mean.dtype), rate)
            bn.running_var.lerp_((var * count / (count - 1)).to(bn.running_var.dtype), rate)
    y = centred * torch.rsqrt(var + bn.eps).view(shape)
    if type(bn).forward not in PLAIN:
        return _rest_of(bn, y.to(x.dtype))
    if bn.affine:
        y = y * bn.weight.view(shape) + bn.bias.view(shape)
    return y.to(x.dtype)


def _rest_of(bn: nn.modules.batchnorm._BatchNorm, y: Tensor) -> Tensor:
    """What a class of another library does after normalising (scale, shift, activation): in eval mode, by statistics that
    change nothing more.
    """
    kept = bn.running_mean, bn.running_var, bn.training
    bn.running_mean, bn.running_var = y.new_zeros(y.shape[1]), y.new_full((y.shape[1],), 1 - bn.eps)
    bn.training = False
    try:
        return type(bn).forward(bn, y)
    finally:
        bn.running_mean, bn.running_var, bn.training = kept
