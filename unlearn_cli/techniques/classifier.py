"""A small network learns to tell two kinds of images apart by a few numbers each."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.dense import dense, side_weights


def classifier(run: Run, examples: Features, width: int, optimizer: str, lr: float, epochs: int, size: int, balance: bool,
               draw: torch.Generator) -> nn.Module:  # fmt: skip
    """A network with two hidden layers, from features (n, d) to the log-odds (n, 1) of a kind.

    Args:
        examples: `x` (n, d), `y` (n,) bool, true of that kind.
        width: of the first hidden layer, twice the second's.
        optimizer: sgd (with momentum 0.9 and decay 5e-4) | adam.
        balance: both kinds weigh the same together, whatever their numbers.
        draw: of the first weights.
    """
    x, kind = examples.x, examples.y
    net = dense([x.shape[1], width, width // 2, 1], draw).to(x.device, x.dtype)
    weights = side_weights(kind).to(x.dtype) if balance else torch.ones_like(x[:, 0])
    more = {"momentum": 0.9, "weight_decay": 5e-4} if optimizer == "sgd" else {}
    opt = run.optimizer(net, optimizer, lr=lr, **more)
    for _ in run.epochs(1, "classifier", len(x) * epochs):  # one, as a row of the trajectory for each says nothing
        for _ in range(epochs):
            for b in run.batches(examples, weights, size=size):
                loss = binary_cross_entropy_with_logits(net(b.x).squeeze(1), b.y.to(b.x.dtype), reduction="none")
                run.step(b.mean(b.extra * loss), opt)
    return net
