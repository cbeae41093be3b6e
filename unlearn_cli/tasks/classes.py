"""One class per image: labels (n,) int64, logits (n, K), the largest logit is the answer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.relabel import recognised, suppressed
from unlearn_cli.ops.relabel_draws import wrong_labels


@dataclass(frozen=True)
class Classes:
    """The task of telling K classes apart, and which of them are to be forgotten.

    Args:
        count: K.
        forgotten: indices of the classes to forget; empty where single images are, each of which loses its own label.
        earlier: indices of the classes that earlier requests forgot: nothing is to be taught as one of them.
    """

    count: int
    forgotten: tuple[int, ...] = ()
    earlier: tuple[int, ...] = ()

    # what a label is

    def loss(self, logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """(n,) cross-entropy in nats."""
        return cross_entropy(logits, y, smoothing)

    @property
    def guess(self) -> float:
        """The loss of whoever knows nothing, in nats: ln K."""
        return math.log(self.count)

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

    def group(self, y: Tensor) -> Tensor:
        """(n,) int64: images of one group are alike, so that some of them say what may be expected of others."""
        return y

    # what is to go

    def vanishing(self, y: Tensor) -> Tensor:
        """(n, K) bool: what the model is to say of each image no more."""
        return suppressed(y, self.count, self.forgotten)

    def known(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) bool: the answer is still one of those that are to vanish."""
        return recognised(logits, self.vanishing(y))

    def gone(self, device: torch.device | str = "cpu") -> Tensor:
        """(K,) bool: the classes to be forgotten."""
        return self._mask(self.forgotten, device)

    def named(self, y: Tensor) -> Tensor:
        """(n,) bool: labels of the classes to be forgotten; none where single images are."""
        return self.gone(y.device)[y]

    # what may be taught

    def lost(self, y: Tensor) -> Tensor:
        """(n,) bool: labels that earlier requests forgot, which no image is to be shown with again."""
        return self._mask(self.earlier, y.device)[y]

    def wrong(self, y: Tensor, draw: torch.Generator) -> Tensor:
        """(n,) labels drawn uniformly among those that are not an image's own and that no request forgets; y on the CPU.

        Raises:
            UnlearnError: no label is left.
        """
        barred = {*self.forgotten, *self.earlier}
        if any(len(barred | {own}) == self.count for own in y.unique().tolist()):
            raise UnlearnError("no wrong label is left to draw: all classes but an image's own are forgotten.",
                               "take a method that draws none, such as mask or retrain.")  # fmt: skip
        return wrong_labels(y, self.count, tuple(sorted(barred)), draw)

    def teachable(self, logits: Tensor) -> Tensor:
        """(n, K) logits as a target: a class that an earlier request forgot never wins, and has no probability."""
        if not self.earlier:
            return logits
        return logits.masked_fill(self._mask(self.earlier, logits.device), -torch.inf)

    def stays(self, device: torch.device | str = "cpu") -> Tensor:
        """(K,) bool: the classes that no request forgets."""
        return ~(self.gone(device) | self._mask(self.earlier, device))

    def _mask(self, indices: tuple[int, ...], device: torch.device | str) -> Tensor:
        mask = torch.zeros(self.count, dtype=torch.bool, device=device)
        mask[list(indices)] = True
        return mask
