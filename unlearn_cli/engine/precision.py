"""Where a network runs, in which number format, and how its forward pass gets there."""

import platform
from itertools import islice
from types import MethodType

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UnlearnError, did_you_mean

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

    On CPUs that is those with AMX tiles, and AMD's with AVX-512's bfloat16 instructions (1.6 to 1.9 times float32);
    other makers' instructions without tiles were seen at 0.6 to 0.7 times.
    """
    if name != "auto" and name not in PRECISIONS:
        known = ["auto", *PRECISIONS]
        hint = did_you_mean(name, known) or f"use {', '.join(known)}."
        raise UnlearnError(f"no precision called '{name}'.", hint)
    if name != "auto":
        if name == "float16" and device.type == "cpu":
            raise UnlearnError("float16 is not for the CPU.", "pass --precision bfloat16, float32, or auto.")
        if name == "float64" and device.type == "mps":
            raise UnlearnError("float64 is not for mps.", "pass --device cpu, or --precision float32.")
        return PRECISIONS[name]
    fast = {
        "cpu": _fast_bfloat16,
        "cuda": lambda: torch.cuda.get_device_capability(device) >= (8, 0),
        "mps": lambda: False,
    }
    return torch.bfloat16 if fast[device.type]() else torch.float32


def _fast_bfloat16() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16: from what it says of itself, so that it never varies."""

    def has(feature: str) -> bool:
        return getattr(torch.cpu, f"_is_{feature}_supported", bool)()

    if not torch.backends.mkldnn.is_available():
        return False
    return has("amx_tile") or (has("avx512_bf16") and _cpu_maker() == "AuthenticAMD")


def _cpu_maker() -> str:
    """The CPUID vendor word, such as AuthenticAMD; empty where the system does not tell."""
    try:
        with open("/proc/cpuinfo") as f:
            lines = islice(f, 10)
            return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")
    except OSError:
        return platform.processor().rpartition(", ")[2]


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


class LossScale:
    """Dynamic loss scaling, without which small gradients vanish in float16.

    The loss is multiplied before the backward pass and the gradients divided after it. Gradients that overflow halve the
    scale and their step is left out; GROW steps in a row without one double it.

    Source: Micikevicius et al., "Mixed Precision Training", 2018, Sec. 3.2.
    """

    GROW = 2000
    SMALLEST = 1.0

    def __init__(self):
        self.value = 2.0**16
        self.good = 0

    def unscale_(self, grads: list[Tensor]) -> bool:
        """Divide gradients by the scale in place; False when they overflowed and the step has to be left out."""
        torch._foreach_mul_(grads, 1 / self.value)
        finite = bool(torch.stack([torch.isfinite(g).all() for g in grads]).all())
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value = max(self.value / 2, self.SMALLEST)
        elif self.good % self.GROW == 0:
            self.value *= 2
        return finite


def restore_forward(model: nn.Module) -> None:
    """Undo `run_in` and every other forward replaced on an instance."""
    for module in model.modules():
        module.__dict__.pop("forward", None)
