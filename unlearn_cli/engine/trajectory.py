"""What a run was like on its way: a row per epoch, of what it lost, what it still knew, what it read and how long it took."""

import csv
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, stack

COLUMNS = ("phase", "epoch", "steps", "loss", "forget_accuracy", "selection_accuracy", "images_read", "seconds")


@dataclass
class Trajectory:
    """Rows of COLUMNS; empty, and free, unless there is somebody to look.

    `look` measures accuracies by name; it reads the forget and selection sets, which does not count as the method's
    reading, and its time does not count as the method's.
    """

    look: Callable[[], dict[str, float]] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    losses: list[Tensor] = field(default_factory=list)

    def loss(self, value: Tensor) -> None:
        """A step's loss, for the mean of the row to come."""
        if self.look is not None:
            self.losses.append(value)

    def row(self, run, phase: str, epoch: int) -> None:
        """Look, and write down."""
        if self.look is None:
            return
        seconds, began = run.elapsed(), time.perf_counter()
        read = Counter(run.images_read)
        mean = stack(self.losses).mean().item() if self.losses else None
        self.rows.append(
            {"phase": phase, "epoch": epoch, "steps": run.steps, "loss": mean, **self.look(),
             "images_read": sum(read.values()), "seconds": round(seconds, 4)}
        )  # fmt: skip
        run.images_read.clear()
        run.images_read.update(read)
        self.losses = []
        self.seconds += time.perf_counter() - began

    def write(self, file) -> None:
        """As CSV, with a header; an empty field is what was not measured."""
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
