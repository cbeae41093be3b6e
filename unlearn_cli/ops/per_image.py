"""Gradients of single images by a layer's parameters, from what went into the layer and the gradient that came back.

Convolutions, linear layers, batch, layer and group norms have closed forms; any other layer is run once more under torch.func.
"""

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlearn_cli.errors import UnlearnError

CHUNK = 1 << 20
"""So few that they stay in a core's cache between the product and the sum."""
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
CLOSED = (nn.Conv2d, nn.Linear, *NORMS)


def closed(module: nn.Module) -> type[nn.Module] | None:
    """The kind of layer whose closed form holds for this one; none for a subclass that computes something else.

    A class of another library may standardise its kernel, pad by the image's size, or have the activation inside.
    """
    made = type(module)
    kind = next((kind for kind in CLOSED if isinstance(module, kind)), None)
    if kind is None or made.forward not in (kind.forward, nn.SyncBatchNorm.forward):
        return None
    if kind is nn.Conv2d and made._conv_forward is not kind._conv_forward:
        return None
    plain = {name for name, _ in module.named_parameters(recurse=False)} <= {"weight", "bias"}
    return kind if plain else None


def operand(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    """What a layer's weights are multiplied with, from what went in: the same for every backward pass.

    Args:
        dtype: of what came out; bfloat16 only if the layer computed in it.
    """
    kind = closed(module)
    x = x.detach()
    half = dtype == torch.bfloat16 and kind in (nn.Conv2d, nn.Linear)
    x = x.to(dtype if half else next(module.parameters()).dtype)
    if isinstance(module, _BatchNorm) and module.running_mean is None:
        raise UnlearnError("a BatchNorm layer without running statistics mixes the images.", "take another method.")
    if kind is nn.Conv2d:
        return patches(module, x)
    if kind is nn.Linear:  # (n, vectors, inputs)
        return x.reshape(len(x), -1, x.shape[-1])
    if kind is _BatchNorm:  # (n, channels, places): in eval mode it is a scale and a shift
        scale = torch.rsqrt(module.running_var + module.eps)
        return (x.reshape(len(x), x.shape[1], -1) - module.running_mean[:, None]) * scale[:, None]
    if kind is nn.GroupNorm:
        return F.group_norm(x, module.num_groups, eps=module.eps).reshape(len(x), x.shape[1], -1)
    if kind is nn.LayerNorm:  # (n, vectors, *shape)
        return F.layer_norm(x, module.normalized_shape, eps=module.eps).reshape(len(x), -1, *module.normalized_shape)
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


def squared(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Σ_images of squared gradients, by the parameter's name in the layer, CHUNK numbers of gradients at a time.

    Args:
        calls: operand and gradient by what came out, for each call in a forward pass; they add up before they are squared.
    """
    own = dict(module.named_parameters(recurse=False))
    dtype = next(iter(own.values())).dtype
    many = max(1, CHUNK // sum(p.numel() for p in own.values()))
    total = dict.fromkeys(own, 0)
    for first in range(0, len(calls[0][0]), many):
        parts = [gradients(module, *alike(x[first : first + many], g[first : first + many], dtype)) for x, g in calls]
        for name in own:
            total[name] += reduce(torch.add, (part[name].to(dtype) for part in parts)).square_().sum(0)
    if closed(module) is nn.Conv2d:
        total["weight"] = total["weight"].movedim(-1, 1)
    return total


def alike(x: Tensor, g: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Both factors of a product in bfloat16, if that is what the layer computed in, else in the parameters' type."""
    return (x, g) if x.dtype == g.dtype == torch.bfloat16 else (x.to(dtype), g.to(dtype))


def gradients(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """(n, *shape) gradients by a layer's parameters, image by image; of a kernel with its channels last.

    Args:
        x: (n, ..) operand.
        g: (n, ..) gradient by what came out of the layer.
    """
    kind = closed(module)
    if kind is nn.Conv2d:
        g = g.flatten(2)
        weight = (g.unflatten(1, (module.groups, -1)) @ x).reshape(len(x), module.out_channels, *module.kernel_size, -1)
        return {"weight": weight, "bias": g.sum(2)}
    if kind is nn.Linear:
        g = g.reshape(len(g), -1, g.shape[-1])
        return {"weight": g.transpose(1, 2) @ x, "bias": g.sum(1)}
    if kind in NORMS:
        g = g.reshape(x.shape)
        over = 1 if kind is nn.LayerNorm else 2
        return {"weight": (g * x).sum(over), "bias": g.sum(over)}
    return _through(module, x, g)


def _through(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """Of any other layer: through it once more, image by image under torch.func."""
    from torch.func import functional_call, grad, vmap

    def inner(parameters: dict[str, Tensor], x: Tensor, g: Tensor) -> Tensor:
        return (functional_call(module, parameters, (x[None],)) * g[None]).sum()

    own = {name: p.detach() for name, p in module.named_parameters(recurse=False)}
    return vmap(grad(inner), (None, 0, 0))(own, x, g)
