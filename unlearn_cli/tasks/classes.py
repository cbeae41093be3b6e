"""One class per image: labels (n,) int64, logits (n, K), the largest logit is the answer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.relabel import recognised, suppressed
from unlearn_cli.ops.relabel_draws import wrong_labels


@dataclass(frozen=True)
class Classes:
    """The task of telling K classes apart, and which of them are to be forgotten.

    Args:
        count: K.
        forgotten: indices of the classes to forget; empty where single images are, each of which loses its own label.
    """

    count: int
    forgotten: tuple[int, ...] = ()

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) cross-entropy in nats."""
        return cross_entropy(logits, y)

    def answer(self, logits: Tensor) -> Tensor:
        """(n,) the labels that the logits come to."""
        return logits.argmax(1)

    def correct(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) bool: the answer is the image's own label."""
        return self.answer(logits) == y

    def place(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) how many labels come before an image's own; of equal logits the lower index comes first, as in `answer`."""
        own = logits.gather(1, y[:, None])
        before = torch.arange(self.count, device=y.device) < y[:, None]
        return ((logits > own) | ((logits == own) & before)).sum(1)

    def vanishing(self, y: Tensor) -> Tensor:
        """(n, K) bool: what the model is to say of each image no more."""
        return suppressed(y, self.count, self.forgotten)

    def known(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) bool: the answer is still one of those that are to vanish."""
        return recognised(logits, self.vanishing(y))

    def wrong(self, y: Tensor, draw: torch.Generator) -> Tensor:
        """(n,) labels drawn uniformly among those that are neither an image's own nor to be forgotten; y on the CPU."""
        return wrong_labels(y, self.count, self.forgotten, draw)

    def gone(self, device: torch.device | str = "cpu") -> Tensor:
        """(K,) bool: the classes to be forgotten."""
        mask = torch.zeros(self.count, dtype=torch.bool, device=device)
        mask[list(self.forgotten)] = True
        return mask

