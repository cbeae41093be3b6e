"""What a run was like on its way: a row per epoch, of what it lost, what it still knew, what it read and how long it took."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, stack

COLUMNS = ("phase", "epoch", "steps", "loss", "forget_accuracy", "selection_accuracy", "images_read", "seconds")


@dataclass
class Trajectory:
    """Rows of COLUMNS; empty, and free, unless there is somebody to look: `look` measures accuracies by name."""

    look: Callable[[], dict[str, float]] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)

    def loss(self, value: Tensor) -> None:
        """A step's loss, for the mean of the row to come."""
        if self.look is not None:
            self.losses.append(value)

    def row(self, phase: str, epoch: int, steps: int, images_read: int, seconds: float) -> None:
        """Look, and write down."""
        mean = stack(self.losses).mean().item() if self.losses else None
        self.rows.append(
            {"phase": phase, "epoch": epoch, "steps": steps, "loss": mean, **self.look(), "images_read": images_read,
             "seconds": round(seconds, 4)}
        )  # fmt: skip
        self.losses = []

    def write(self, file) -> None:
        """As CSV, with a header; an empty field is what was not measured."""
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
