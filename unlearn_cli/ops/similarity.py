"""How alike are two networks' features of the same images?"""

from __future__ import annotations

from math import isfinite

from torch import Tensor

from unlearn_cli.ops.probes import CHUNK, CONSTANT


class Similarity:
    """Linear CKA of two networks' features of the same images, summed part by part: memory for the sums alone.

        ‖Y'X‖² / (‖X'X‖ ‖Y'Y‖),   columns centred, Frobenius norms;  from 0 to 1, 1 up to rotation, scale and shift

    Source: "Similarity of Neural Network Representations Revisited", Kornblith et al. 2019.
    """

    def __init__(self):
        self.sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        """(n, d) and (n, e) features of the next n images."""
        x, y = x.double(), y.double()
        part = [x.new_tensor(len(x)), x.sum(0), y.sum(0), x.T @ x, y.T @ y, x.T @ y]
        self.sums = part if not self.sums else [a.add_(b) for a, b in zip(self.sums, part, strict=True)]

    def value(self) -> float | None:
        """The similarity, or None when one side does not vary or is not finite."""
        n, x, y, xx, yy, xy = self.sums
        own, other, shared = xx - x.outer(x) / n, yy - y.outer(y) / n, xy - x.outer(y) / n
        for centred, raw in ((own, xx), (other, yy)):
            if bool(centred.trace() <= CONSTANT**2 * raw.trace()):  # what centring leaves of a constant is rounding
                return None
        value = (shared.norm() / own.norm() * (shared.norm() / other.norm())).item()
        return min(value, 1.0) if isfinite(value) else None


def linear_cka(x: Tensor, y: Tensor) -> float | None:
    """Linear CKA of (N, d) and (N, e) features, row by row of the same images; None when one side does not vary."""
    sums = Similarity()
    for a, b in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        sums.add(a, b)
    return sums.value()
