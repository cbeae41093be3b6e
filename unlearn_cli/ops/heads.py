"""What a linear head says of features: how far the nearest boundary lies."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def boundary_distance(head: nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    """(n,) L-infinity distance of features (n, d) to the nearest boundary of their label's region, >= 0, feature units.

        min_k  max(0, s_y - s_k) / ‖w_y - w_k‖_1        s = W x + b

    It scales with features and weights alike, so multiples of it mean the same on every network.
    """
    scores = head(x)
    gap = (scores.gather(1, y[:, None]) - scores).clamp(min=0)
    own, which = y.unique(return_inverse=True)  # between all pairs of a thousand classes it would cost more than a pass
    length = torch.cdist(head.weight[own], head.weight, p=1)[which]
    return torch.where(length > 0, gap / length, torch.inf).amin(1)
