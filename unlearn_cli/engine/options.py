"""The options that mean the same in every command."""

from dataclasses import dataclass, field

import torch

from unlearn_cli.engine.launch import launched
from unlearn_cli.engine.precision import find_device
from unlearn_cli.engine.progress import Silent
from unlearn_cli.errors import UnlearnError


@dataclass(frozen=True)
class Options:
    """What means the same in every command; `cache_limit` is in bytes of decoded pixels."""

    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False
    cache_limit: int = 4 << 30
    progress: Silent = field(default_factory=Silent)

    def __post_init__(self):
        if not -(2**63) <= self.seed < 2**63:
            raise UnlearnError(f"{self.seed} is no seed: it is too large.", "pass a whole number of at most 18 digits.")

    def place(self) -> torch.device:
        """The device of this process; under torchrun each has its own."""
        return find_device(self.device, launched().local)
