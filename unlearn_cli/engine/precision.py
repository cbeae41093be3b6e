"""Where a network runs, in which number format, and how its forward pass gets there."""

from types import MethodType

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UnlearnError

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def find_device(name: str, local_rank: int | None) -> torch.device:
    """`auto` takes a GPU where there is one; under torchrun each process takes its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UnlearnError(f"no device called '{name}'.", "use auto, cpu, cuda, cuda:1 or mps.") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise UnlearnError(f"no device called '{name}'.", "use auto, cpu, cuda, cuda:1 or mps.")
    if device.type == "cuda" and device.index is None and local_rank is not None:
        device = torch.device("cuda", local_rank)
    there = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[device.type]:
        raise UnlearnError(f"this machine has no device '{name}'.", "pass --device cpu, or auto.")
    return device


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor multiplies matrices in it faster, float32 elsewhere.

    On CPUs that is those with AMX tiles; with AVX-512's bfloat16 instructions alone it is 0.6 to 0.7 times as fast.
    """
    if name != "auto":
        if name == "float16" and device.type == "cpu":
            raise UnlearnError("float16 is not for the CPU.", "pass --precision bfloat16, float32, or auto.")
        return PRECISIONS[name]
    fast = {
        "cpu": lambda: torch.backends.mkldnn.is_available() and torch.cpu._is_amx_tile_supported(),
        "cuda": lambda: torch.cuda.get_device_capability(device) >= (8, 0),
        "mps": lambda: False,
    }
    return torch.bfloat16 if fast[device.type]() else torch.float32


def run_in(model: nn.Module, head: nn.Module, dtype: torch.dtype) -> None:
    """Make `model(x)` run its backbone in `dtype` under autocast and its head in full precision.

    Half precision is for the convolutions; the head is a thousandth of the work, and in full precision its logits are
    the same whether they come from the whole network or from kept features. The replaced forwards are bound methods,
    so a deep copy of the model runs its own weights.
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return

    def autocast(self: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype):
            return type(self).forward(self, x)

    def in_full(self: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return type(self).forward(self, x.to(self.weight.dtype))

    model.forward = MethodType(autocast, model)
    head.forward = MethodType(in_full, head)


def restore_forward(model: nn.Module) -> None:
    """Undo `run_in` and every other forward replaced on an instance."""
    for module in model.modules():
        module.__dict__.pop("forward", None)
