"""The diagonal of the Fisher information of a network on a split."""

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.fisher import Labels, examined, information


def diagonal(run: Run, model: nn.Module, split: Split, labels: Labels = "all", size: int = 32) -> dict[str, Tensor]:
    """F_i for every parameter, by name and in its shape, with the model in eval mode.

        F_i = 1/n · Σ_x Σ_y p(y|x) · ( ∂CE(f(x), y)/∂θ_i )²,    p = σ(f(x))

    Args:
        labels: "all" is the formula, at the cost of a backward pass per class but one; "sampled" draws one y ~ p(y|x) per image,
            which has the same mean; "own" takes each image's label (the empirical Fisher information).
        size: images per forward pass, all of whose activations are kept, and nine times as much for 3x3 convolutions.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    layers = None
    run.progress.start("Fisher information", len(split))
    for b in run.batches(split, size=size, shuffle=False):
        drawn = torch.rand(b.size, generator=run.noise, dtype=torch.float64)[b.share] if labels == "sampled" else None
        if len(b.y) == 0:
            continue
        layers = layers or examined(model, b.x)
        for name, part in information(model, layers, b.x, b.y, labels, drawn):
            total[name] += part
    run.progress.end()
    for module, mode in modes.items():
        module.training = mode
    return {name: run.ranks.sum_(t).div_(len(split)) for name, t in total.items()}
