"""Boundary expand: train the forget set into an extra class beside the others, then take that class away.

    W' = [W; w],  b' = [b; 0]         w ~ N(0, 2/(d + K + 1)), Xavier's: the shadow class K
    θ, W', b' ← SGD( θ, W', b'; ∇ CE(W' h_θ(x_f) + b', K) )
    W, b ← rows 0 .. K-1 of W', b'

Chen et al., "Boundary Unlearning", CVPR 2023, in the form of the authors' code. The other logits fall only relative to the
shadow's, so some accuracy on the forget set stays. lr is the authors', for an AllCNN; other networks often need 1e-4 to
1e-3, with stop_accuracy=0. What is looked at is always the model without the shadow.
Departures: BatchNorm keeps its statistics, which the forget set alone would drag along (bn=train for the published
behaviour). Several classes share one shadow, which the paper does not try; for listed images it is not defined.
"""

import math
from typing import Annotated

import torch
from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.techniques.stopping import until_forgotten


@method("Boundary Expanding", paper="Boundary Unlearning, CVPR 2023", scope="class classes", reads="forget")
def boundary_expand(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int, setting("passes over the forget set, at most", ge=1)] = 10,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 1e-5,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0,
    batch_size: Annotated[int, setting("images per step", ge=1)] = 64,
    stop_accuracy: Annotated[float | None, setting("forget accuracy that ends it", none="the budget does", ge=0, le=1)] = None,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget = splits.forget
    backbone, head = run.split(model)
    wide, rows = widened(head, run.noise), set(head.parameters())
    body = [p for p in model.parameters() if p not in rows]
    opt = run.optimizer([*body, *wide.parameters()], "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)

    train_mode(model, bn)
    shadow = torch.full((len(forget),), head.out_features, device=run.device)
    for _ in until_forgotten(run, model, forget, epochs, "into the shadow class", stop_accuracy):
        for b in run.batches(forget, shadow, size=batch_size):
            run.step(b.mean(cross_entropy(wide(backbone(b.x)), b.extra)), opt)
        prune_(head, wide)  # every epoch, so that whoever looks sees the model as it would end


@torch.no_grad()
def widened(head: nn.Linear, noise: torch.Generator) -> nn.Linear:
    """A head with the rows of another and one more; what is frozen there is frozen here."""
    (classes, features), biased = head.weight.shape, head.bias is not None
    wide = nn.utils.skip_init(nn.Linear, features, classes + 1, biased, device=head.weight.device, dtype=head.weight.dtype)
    row = torch.randn(1, features, generator=noise) * math.sqrt(2 / (features + classes + 1))
    wide.weight.copy_(torch.cat([head.weight, row.to(head.weight)])).requires_grad_(head.weight.requires_grad)
    if biased:
        wide.bias.copy_(torch.cat([head.bias, head.bias.new_zeros(1)])).requires_grad_(head.bias.requires_grad)
    return wide


@torch.no_grad()
def prune_(head: nn.Linear, wide: nn.Linear) -> None:
    """Give a head the rows of a widened one, without the last."""
    head.weight.copy_(wide.weight[:-1])
    if head.bias is not None:
        head.bias.copy_(wide.bias[:-1])
