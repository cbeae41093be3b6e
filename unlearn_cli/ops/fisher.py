"""The diagonal of the Fisher information: squares of per-image gradients, without a loop over the images.

A layer's weight gradient for one image is made of what went in and of the gradient that came back. The one is recorded for a
whole batch, the other comes with each backward pass, which stops at the layers' outputs; they are multiplied image by
image, and squares are summed at once, so that no more than CHUNK numbers of per-image gradients exist at a time.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm

from unlearn_cli.errors import UnlearnError

CHUNK = 1 << 20
"""So few that they stay in a core's cache between the product and the sum."""
Labels = Literal["all", "sampled", "own"]
Calls = dict[nn.Module, list[tuple[Tensor, GradientEdge]]]
"""The operand of a layer and the place that its output has in the graph, for each call in a forward pass."""


def seeds(logits: Tensor, labels: Labels, y: Tensor, drawn: Tensor | None) -> Iterator[Tensor]:
    """(n, C) gradients by the logits whose squares add up to the information: C - 1 of them, or p - e_y for one y per image.

    The squares Σ_y p_y·(p - e_y)(p - e_y)ᵀ = diag(p) - p·pᵀ = S·(I - s·sᵀ)·S, s = sqrt(p), S = diag(s), have rank C - 1: the
    reflection of s to -e_0 has s for its first row, up to the sign, and the others, r_k, are a basis of what is left: S·r_k.

    Args:
        drawn: (n,) uniform on [0, 1), for labels = "sampled".
    """
    p = logits.softmax(1)
    if labels == "all":
        s = p.sqrt()
        first = F.one_hot(torch.zeros_like(y), p.shape[1])
        for k in range(1, p.shape[1]):
            unit = F.one_hot(torch.full_like(y, k), p.shape[1])
            yield s * (unit - s[:, k : k + 1] * (s + first) / (1 + s[:, :1]))
    else:
        if drawn is not None:
            below = p.double().cumsum(1) <= drawn.to(p.device)[:, None]
            y = below.sum(1).clamp(max=p.shape[1] - 1)
        yield p - F.one_hot(y, p.shape[1])


@contextmanager
def recorded(model: nn.Module) -> Iterator[Calls]:
    """Record the layers that have parameters of their own, in the forward passes inside."""
    owners = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    for module in owners:
        if any(True for _ in module.children()):
            raise UnlearnError(f"a {type(module).__name__} holds parameters beside its layers; their gradients per image "
                               "are not known.", "take another method.")  # fmt: skip
    if sum(len(list(module.parameters(recurse=False))) for module in owners) > len(list(model.parameters())):
        raise UnlearnError("two layers of the network share a parameter; its gradients per image are not known.",
                           "take another method.")  # fmt: skip
    calls: Calls = defaultdict(list)

    def record(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        # The edge, not the output: a ReLU in place would put itself into the output's history.
        calls[module].append((operand(module, inputs[0], output.dtype), get_gradient_edge(output)))

    hooks = [module.register_forward_hook(record) for module in owners]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def squares(model: nn.Module, calls: Calls, outputs: Tensor, seed: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Σ_images ( ∂<seed, outputs>/∂θ )² by parameter name, in one backward pass that keeps the graph.

    Args:
        outputs: (n, C), of a forward pass that was recorded.
        seed: (n, C) gradient by the outputs.
    """
    edges = [edge for made in calls.values() for _, edge in made]
    grads = iter(torch.autograd.grad(outputs, edges, seed, retain_graph=True, allow_unused=True))
    pairs = {module: [(x, g) for (x, _), g in zip(made, grads, strict=False) if g is not None] for module, made in calls.items()}
    with torch.no_grad():
        for prefix, module in model.named_modules():
            if pairs.get(module):
                for name, part in _squares(module, pairs[module]).items():
                    yield f"{prefix}.{name}" if prefix else name, part


def _squares(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Of one layer; the gradients of several calls in a forward pass add up before they are squared."""
    own = dict(module.named_parameters(recurse=False))
    dtype = next(iter(own.values())).dtype
    many = max(1, CHUNK // sum(p.numel() for p in own.values()))
    total = dict.fromkeys(own, 0)
    for first in range(0, len(calls[0][0]), many):
        parts = [per_image(module, *alike(x[first : first + many], g[first : first + many], dtype)) for x, g in calls]
        for name in own:
            total[name] += reduce(torch.add, (part[name].to(dtype) for part in parts)).square_().sum(0)
    if isinstance(module, nn.Conv2d):
        total["weight"] = total["weight"].movedim(-1, 1)
    return total


def alike(x: Tensor, g: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Both factors of a product in bfloat16, if that is what the layer computed in, else in the parameters' type."""
    return (x, g) if x.dtype == g.dtype == torch.bfloat16 else (x.to(dtype), g.to(dtype))


def operand(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    """What a layer's weights are multiplied with, from what went in: the same for every backward pass.

    Args:
        dtype: of what came out; bfloat16 only if the layer computed in it.
    """
    x = x.detach()
    half = dtype == torch.bfloat16 and isinstance(module, (nn.Conv2d, nn.Linear))
    x = x.to(dtype if half else next(module.parameters()).dtype)
    if isinstance(module, nn.Conv2d):
        return patches(module, x)
    if isinstance(module, nn.Linear):  # (n, vectors, inputs)
        return x.reshape(len(x), -1, x.shape[-1])
    if isinstance(module, _BatchNorm):  # (n, channels, places): in eval mode it is a scale and a shift
        if module.running_mean is None:
            raise UnlearnError("a BatchNorm layer without running statistics mixes the images.", "take another method.")
        scale = torch.rsqrt(module.running_var + module.eps)
        return (x.reshape(len(x), x.shape[1], -1) - module.running_mean[:, None]) * scale[:, None]
    return x


def patches(module: nn.Conv2d, x: Tensor) -> Tensor:
    """(n, groups, places, patch): the patches that the kernel sees, a patch by rows, columns, channels.

    In that order a row of a patch lies in one piece where the network keeps its images by places, so that this is copied fast.
    """
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice, mode)
    size = [(of - d * (k - 1) - 1) // s + 1 for of, k, d, s in
            zip(x.shape[2:], module.kernel_size, module.dilation, module.stride, strict=True)]  # fmt: skip
    n, channel, *place = x.stride()
    depth = x.shape[1] // module.groups
    step = [a * b for a, b in zip(place, module.stride, strict=True)]
    inner = [a * b for a, b in zip(place, module.dilation, strict=True)]
    shape = len(x), module.groups, *size, *module.kernel_size, depth
    return x.as_strided(shape, (n, depth * channel, *step, *inner, channel)).reshape(len(x), module.groups, math.prod(size), -1)


def per_image(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """(n, *shape) gradients by a layer's parameters, image by image; of a kernel with its channels last.

    Args:
        x: (n, ..) operand.
        g: (n, ..) gradient by what came out of the layer.
    """
    if isinstance(module, nn.Conv2d):
        g = g.flatten(2)
        weight = (g.unflatten(1, (module.groups, -1)) @ x).reshape(len(x), module.out_channels, *module.kernel_size, -1)
        return {"weight": weight, "bias": g.sum(2)}
    if isinstance(module, nn.Linear):
        g = g.reshape(len(g), -1, g.shape[-1])
        return {"weight": g.transpose(1, 2) @ x, "bias": g.sum(1)}
    if isinstance(module, _BatchNorm):
        g = g.reshape(len(g), g.shape[1], -1)
        return {"weight": (g * x).sum(2), "bias": g.sum(2)}
    return _through(module, x, g)


def _through(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """Of any other layer: through it once more, image by image under torch.func."""
    from torch.func import functional_call, grad, vmap

    def inner(parameters: dict[str, Tensor], x: Tensor, g: Tensor) -> Tensor:
        return (functional_call(module, parameters, (x[None],)) * g[None]).sum()

    own = {name: p.detach() for name, p in module.named_parameters(recurse=False)}
    return vmap(grad(inner), (None, 0, 0))(own, x, g)
