"""The diagonal of the Fisher information: squares of per-image gradients, without a loop over the images.

A layer's weight gradient for one image is made of what went in and of the gradient that came back. The one is recorded for a
whole batch, the other comes with each backward pass, which stops at the layers' outputs; they are multiplied image by
image, and squares are summed at once.

Parameters of which that does not tell, `Layers.rest`, are given a copy per image that holds no memory, and the network runs
on all images at once under torch.func, each with its own copies; the copies' gradients are the images'.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearn_cli.ops.per_image import gradients, operand, squared

LARGEST = 1 << 26
"""Numbers of per-image gradients of the rest that exist at a time, but for those of one image: 256 MiB in float32."""
Labels = Literal["all", "sampled", "own"]
Calls = dict[nn.Module, list[tuple[Tensor, GradientEdge]]]
"""The operand of a layer and the place that its output has in the graph, for each call in a forward pass."""


@dataclass(frozen=True)
class Layers:
    """How the gradients of single images are found in a network.

    Args:
        telling: the layers whose input and output gradient tell those of their parameters.
        rest: the names of all other parameters.
        batched: whether the rest's come from all images at once, or from one image after the other.
    """

    telling: Sequence[nn.Module]
    rest: Sequence[str]
    batched: bool


def information(
    model: nn.Module, layers: Layers, x: Tensor, y: Tensor, labels: Labels, drawn: Tensor | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Σ_images Σ_y p_y·( ∂CE(f(x), y)/∂θ )² in parts that add up, by parameter name; the model is in eval mode.

    Args:
        layers: of this network, by `examined`.
        x: (n, C, H, W); it is made to require a gradient.
        y: (n,) labels, for labels = "own".
        drawn: (n,) uniform on [0, 1), for labels = "sampled".
    """
    with recorded(layers.telling) as calls, torch.enable_grad():
        logits = model(x.requires_grad_())
    for seed in seeds(logits.detach(), labels, y, drawn):
        yield from _of_layers(model, calls, logits, seed)
    if layers.rest:
        yield from _of_rest(model, layers, x.detach(), lambda logits, part: seeds(
            logits, labels, y[part], None if drawn is None else drawn[part]))  # fmt: skip


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


def examined(model: nn.Module, x: Tensor) -> Layers:
    """How this network's gradients are found, by trying it on two and on three copies of one image.

    A layer tells them if it has no layers inside, takes one tensor and gives one, both with a row per image, whatever the number
    of images, and is the only one that uses its parameters. Not so, for instance, class tokens, position embeddings, the
    weights of nn.MultiheadAttention, and linear layers on windows of images.

    Where torch.func cannot run the network on all images at once (in-place steps on what all images share, control flow that
    looks at values), or gives other gradients than a plain backward pass, the rest's come from a loop over the images.

    Args:
        x: (n, C, H, W), of which the first image is taken; the model is in eval mode.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    able = [module for module in model.modules() if module._parameters.keys() and not any(True for _ in module.children())]
    able = [module for module in able if (own := list(module.parameters())) and all(owners[id(p)] == 1 for p in own)]
    for n in (2, 3):
        able = _telling(model, able, x[:1].detach().expand(n, *x.shape[1:]).clone())
    told = {id(p) for module in able for p in module.parameters()}
    rest = [name for key, name in names.items() if key not in told]
    return Layers(able, rest, batched=not rest or _agree(model, rest, x[:1].detach().expand(2, *x.shape[1:]).clone()))


def _agree(model: nn.Module, rest: Sequence[str], x: Tensor) -> bool:
    """Whether all images at once give the gradients that a plain backward pass gives."""
    from torch.func import functional_call

    shared = {name: p.detach().requires_grad_() for name, p in model.named_parameters() if name in set(rest)}
    try:
        with torch.enable_grad():
            plain = functional_call(model, shared, (x,))
            plain = torch.autograd.grad(plain.sum(), list(shared.values()), allow_unused=True)
            copies = {name: p.detach().expand(len(x), *p.shape).requires_grad_() for name, p in shared.items()}
            each = torch.autograd.grad(_each(model, copies, x, True).sum(), list(copies.values()), allow_unused=True)
    except RuntimeError:
        return False
    if [g is None for g in plain] != [g is None for g in each]:
        return False
    pairs = [(one.double(), other.double().sum(0)) for one, other in zip(plain, each, strict=True) if one is not None]
    off, size = (sum(float(t.square().sum()) for t in of) for of in ([a - b for a, b in pairs], [a for a, _ in pairs]))
    return off <= 1e-3 * size  # half precision rounds; a step that torch.func leaves out is more


def _telling(model: nn.Module, able: Sequence[nn.Module], x: Tensor) -> list[nn.Module]:
    """Which of the layers tell the gradients of their parameters for these images."""
    n, entered, unfit = len(x), {}, set()
    made: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    flags = [(p, p.requires_grad) for p in model.parameters()]

    def enter(module: nn.Module, inputs: tuple, keywords: dict) -> None:
        entered[module] = inputs[0]._version if len(inputs) == 1 and isinstance(inputs[0], Tensor) and not keywords else None
        for p in module.parameters():
            p.requires_grad_(False)  # so that a gradient which still arrives came by another way than through this layer

    def leave(module: nn.Module, inputs: tuple, keywords: dict, output: object) -> None:
        rows = entered[module] is not None and isinstance(output, Tensor) and len(inputs[0]) == len(output) == n
        if rows and inputs[0]._version == entered[module]:
            made[module] = inputs[0].detach(), output.detach()
        else:
            unfit.add(module)
        for p in module.parameters():
            p.requires_grad_(True)

    hooks = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in able]
    hooks += [module.register_forward_hook(leave, with_kwargs=True) for module in able]
    try:
        for p, _ in flags:
            p.requires_grad_(True)
        with torch.enable_grad():
            reached = torch.autograd.grad(model(x.requires_grad_()).sum(), [p for p, _ in flags], allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
        for p, flag in flags:
            p.requires_grad_(flag)
    elsewhere = {id(p) for (p, _), gradient in zip(flags, reached, strict=True) if gradient is not None}
    fit = [module for module in able if module in made and module not in unfit]
    return [module for module in fit if not any(id(p) in elsewhere for p in module.parameters()) and _known(module, *made[module])]


def _known(module: nn.Module, x: Tensor, output: Tensor) -> bool:
    """Whether the layer's gradients can be computed from its input and output."""
    with suppress(RuntimeError), torch.no_grad():
        gradients(module, operand(module, x, output.dtype), output)
        return True
    return False


@contextmanager
def recorded(telling: Sequence[nn.Module]) -> Iterator[Calls]:
    """Record these layers in the forward passes inside."""
    calls: Calls = defaultdict(list)

    def record(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        # The edge, not the output: a ReLU in place would put itself into the output's history.
        calls[module].append((operand(module, inputs[0], output.dtype), get_gradient_edge(output)))

    hooks = [module.register_forward_hook(record) for module in telling]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _of_layers(model: nn.Module, calls: Calls, outputs: Tensor, seed: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Σ_images ( ∂<seed, outputs>/∂θ )² by parameter name, in one backward pass that keeps the graph.

    Args:
        outputs: (n, C), of a forward pass that was recorded.
        seed: (n, C) gradient by the outputs.
    """
    edges = [edge for made in calls.values() for _, edge in made]
    if not edges:
        return
    grads = iter(torch.autograd.grad(outputs, edges, seed, retain_graph=True, allow_unused=True))
    pairs = {module: [(x, g) for (x, _), g in zip(made, grads, strict=False) if g is not None] for module, made in calls.items()}
    with torch.no_grad():
        for prefix, module in model.named_modules():
            if pairs.get(module):
                for name, part in squared(module, pairs[module]).items():
                    yield f"{prefix}.{name}" if prefix else name, part


def _of_rest(
    model: nn.Module, layers: Layers, x: Tensor, seeded: Callable[[Tensor, slice], Iterator[Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """The same of all other parameters, for a few images at a time; `seeded` gives the seeds of a slice of the images."""
    shared = {name: p.detach() for name, p in model.named_parameters() if name in set(layers.rest)}
    many = max(1, LARGEST // sum(p.numel() for p in shared.values()))
    for first in range(0, len(x), many):
        part = slice(first, first + many)
        images = x[part]
        own = {name: p.expand(len(images), *p.shape).requires_grad_() for name, p in shared.items()}
        with torch.enable_grad():
            outputs = _each(model, own, images, layers.batched)
        for seed in seeded(outputs.detach(), part):
            grads = torch.autograd.grad(outputs, list(own.values()), seed, retain_graph=True, allow_unused=True)
            for (name, p), g in zip(shared.items(), grads, strict=True):
                if g is not None:
                    yield name, g.to(p.dtype).square().sum(0)


def _each(model: nn.Module, own: dict[str, Tensor], x: Tensor, batched: bool) -> Tensor:
    """(n, C) outputs for images of which each has parameters of its own, (n, *shape) by name."""
    from torch.func import functional_call, vmap

    def one(own: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, own, (image[None],))[0]

    if batched:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # it has no gradients, and does not see that some are wanted here
        try:
            with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")
                return vmap(one, randomness="different")(own, x)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
    return torch.stack([one({name: p[i] for name, p in own.items()}, x[i]) for i in range(len(x))])
