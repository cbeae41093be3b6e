"""Fisher: noise on every weight, the stronger the less the retain set says about it; nothing is learned.

    F_i = 1/|D_r| · Σ_x Σ_y p(y|x)·( ∂CE(f(x), y)/∂θ_i )²        p the network's own probabilities, no label is read
    v = α · min( (F + ε)^-power, clamp )                           at most head_clamp in the head
    v ← mean of v over dim 1, for tensors with two or more;        v ← boost·v in the head and in one-dimensional tensors
    θ ← θ + sqrt(v)·N(0, 1)

Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020, with the clamps and factors of the authors' notebook. For
a whole class, the head's row of it becomes N(0, boost·class_variance) before all else. α has to be searched: with the
default, chance on the retain set as well is a published outcome. Without clamps and factors theory asks for power 0.5.
Departures: the head is found as a module, not by its shape, and per-image gradients are computed for whole batches.
`labels=sampled` (one class drawn per image) and `share` (of the retain set) are cheaper estimates of the same F.
BatchNorm's statistics stay, unless bn=recalibrate estimates them anew for the noisy weights.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import RECALIBRATE, method, setting
from unlearn_cli.techniques.fisher import diagonal


@method("Fisher noise", paper="Fisher forgetting, CVPR 2020", scope="class classes instances", reads="retain",
        quick={"share": 0.1})  # fmt: skip
def fisher(
    run: Run, model: nn.Module, splits: Splits, *,
    alpha: Annotated[float, setting("strength of the noise, as a factor on its variance", ge=0)] = 1e-6,
    power: Annotated[float, setting("of the inverse Fisher information in the variance", ge=0)] = 1.0,
    epsilon: Annotated[float, setting("added to the Fisher information", gt=0)] = 1e-8,
    clamp: Annotated[float, setting("largest inverse of it", gt=0)] = 1000.0,
    head_clamp: Annotated[float, setting("largest inverse of it in the head", gt=0)] = 100.0,
    boost: Annotated[float, setting("factor on the variance in the head and in one-dimensional tensors", ge=0)] = 10.0,
    average: Annotated[bool, setting("one variance for all input channels of an output")] = True,
    class_variance: Annotated[float, setting("of a forgotten class's row of the head, before boost", only="classes", ge=0)] = 1e-4,
    labels: Annotated[Literal["all", "sampled"], setting("per image: all classes, or one drawn")] = "all",
    share: Annotated[float, setting("share of the retain set that is used", gt=0, le=1)] = 1.0,
    batch_size: Annotated[int, setting("images per forward pass", ge=1)] = 32,
    bn: Annotated[
        Literal["eval", "recalibrate"], setting("BatchNorm: keep its statistics, or estimate them anew", **RECALIBRATE)
    ] = "eval",
) -> None:  # fmt: skip
    information = diagonal(run, model, run.sample(splits.retain, share), labels, batch_size)
    head = set(run.split(model)[1].parameters())
    gone = splits.task.gone(run.device)
    with torch.no_grad():
        for name, p in model.named_parameters():
            v = variance(information[name], p in head, alpha, power, epsilon, clamp, head_clamp, average)
            if p in head:
                p[gone], v[gone] = 0, class_variance
            if p in head or p.dim() == 1:
                v = boost * v
            p += v.sqrt() * torch.randn(p.shape, generator=run.noise).to(p)
    if alpha == 0 and not gone.any():
        run.stop("nothing was changed: alpha=0 is no noise")


def variance(information: Tensor, head: bool, alpha: float, power: float = 1.0, epsilon: float = 1e-8, clamp: float = 1000.0,
             head_clamp: float = 100.0, average: bool = True) -> Tensor:  # fmt: skip
    """The noise's variance for one tensor, in its shape, before boost and the step for classes."""
    v = (information + epsilon).pow(-power).clamp(max=min(clamp, head_clamp) if head else clamp)
    if average and v.dim() > 1:
        v = v.mean(1, keepdim=True).expand_as(information)
    return alpha * v
