"""What a presented network is made of (`presenting`): changes of its forward and head, in place, and its tensors in files:

    1x1 convolution at the end     the linear layer that it is on one pixel
    heads that are averaged        one linear layer on their inputs side by side: a pair that learned by distillation
    (log-)softmax at the end       left out: the logits are what went into it
    an output with `logits`        these alone; of a tuple, the first; of (n, C, 1, 1), its one pixel
    names of its own in files      the library's (`written_as`), which its code has called otherwise since
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
JOINED = "joined_heads"


class Pixel(nn.Linear):
    """A 1x1 convolution on one pixel; its input and output keep the pixel's two dimensions where they have them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).reshape(len(x), self.out_features, *x.shape[2:])


class Joined(nn.Linear):
    """The average of several heads, whose weights lie side by side: W = (W_1 | W_2 ..) / m,  b = Σ b_i / m.

    Args:
        parts: the heads' names.
        widths: the numbers of their inputs.
    """

    def __init__(self, parts: list[str], heads: list[nn.Linear]):
        widths = [head.in_features for head in heads]
        super().__init__(sum(widths), heads[0].out_features, bias=heads[0].bias is not None, device="meta")
        self.parts, self.widths = parts, widths
        self.weight = nn.Parameter(_side_by_side([head.weight.detach() for head in heads]))
        if self.bias is not None:
            self.bias = nn.Parameter(mean_of([head.bias.detach() for head in heads]))


class _Part(nn.Module):
    """One of the heads that were joined: it keeps what reaches it, and its output is not looked at."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes
        self.reached: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.reached.append(x)
        return x.new_zeros(len(x), self.classes)


def answers_alone(model: nn.Module) -> nn.Module:
    """Let the network's forward give (n, C) logits where it gives an object, a tuple or a pixel of them; in place."""

    class Alone(type(model)):
        def forward(self, *inputs, **more):
            return _logits(super().forward(*inputs, **more))

    return _become(model, Alone)


def gives_what_the_head_gives(model: nn.Module, head: str) -> nn.Module:
    """Let the network's forward give the output of its head, whatever comes after it; in place."""

    class Before(type(model)):
        def forward(self, *inputs, **more):
            given: list[Tensor] = []
            hook = self.get_submodule(head).register_forward_hook(lambda _, x, output: given.append(output))
            try:
                super().forward(*inputs, **more)
            finally:
                hook.remove()
            return given[-1].flatten(1)

    return _become(model, Before)


def join(model: nn.Module, parts: list[str]) -> nn.Module:
    """Let the average of heads be one layer; in place."""
    heads = [model.get_submodule(part) for part in parts]
    setattr(model, JOINED, Joined(parts, [head if isinstance(head, nn.Linear) else as_pixel(head) for head in heads]))
    for part, head in zip(parts, heads, strict=True):
        put(model, part, _Part(head.out_features))

    class One(type(model)):
        def forward(self, *inputs, **more):
            reached = [self.get_submodule(part).reached for part in parts]
            try:
                super().forward(*inputs, **more)
                features = torch.cat([x[-1].flatten(1) for x in reached], 1)
            finally:
                for x in reached:
                    x.clear()
            return self.get_submodule(JOINED)(features)

    return _become(model, One)


def _become(model: nn.Module, kind: type[nn.Module]) -> nn.Module:
    kind.__name__, kind.__qualname__ = type(model).__name__, type(model).__qualname__
    model.__class__ = kind
    return model


def _logits(output):
    if isinstance(getattr(output, "logits", None), Tensor):
        output = output.logits
    elif isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        output = output[0]
    one_pixel = isinstance(output, Tensor) and output.dim() > 2 and output.shape[2:].numel() == 1
    return output.flatten(1) if one_pixel else output


def as_pixel(conv: nn.Conv2d) -> Pixel:
    layer = Pixel(conv.in_channels, conv.out_channels, bias=conv.bias is not None, device="meta")
    layer.weight = nn.Parameter(conv.weight.detach().flatten(1).clone())
    if conv.bias is not None:
        layer.bias = nn.Parameter(conv.bias.detach().clone())
    return layer


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    setattr(model.get_submodule(above), last, module.train(model.training))


def as_library(tensors: Tensors, model: nn.Module, before: Tensors | None = None) -> Tensors:
    """A presented network's tensors under the names and shapes that its library has for them.

    Args:
        before: the library's tensors from which the network's came; the parts of a joined head that is the same keep theirs.
    """
    names = names_in_files(model)
    if not names and not any(isinstance(module, (Pixel, Joined)) for module in model.modules()):
        return tensors
    before = _renamed(before, {there: own for own, there in names.items()}) if before is not None else None
    found = dict(tensors)
    for name, module in model.named_modules():
        if isinstance(module, Pixel):
            found[f"{name}.weight"] = found[f"{name}.weight"][:, :, None, None]
        elif isinstance(module, Joined):
            mean, bias = found.pop(f"{name}.weight"), found.pop(f"{name}.bias", None)
            many, same = len(module.parts), False
            if before is not None:
                joined = _joined(before, model)
                same = torch.equal(joined[f"{name}.weight"], mean) and (bias is None or torch.equal(joined[f"{name}.bias"], bias))
            for part, weight in zip(module.parts, mean.split(module.widths, 1), strict=True):
                keys = [f"{part}.weight", *([f"{part}.bias"] if bias is not None else [])]
                own = (weight * many, None if bias is None else bias.clone())  # a file has no two names of one memory
                found |= {key: before[key] for key in keys} if same else dict(zip(keys, own, strict=False))
    return _renamed(found, names)


def as_network(tensors: Tensors, model: nn.Module) -> Tensors:
    """A library's tensors under the names and shapes of the presented network."""
    return _joined(_renamed(tensors, {there: own for own, there in names_in_files(model).items()}), model)


def written_as(model: nn.Module, names: dict[str, str]) -> nn.Module:
    """Let a network's tensors have other names in files: those of its own that differ, to the names there; in place."""
    model.names_in_files = dict(names)
    return model


def names_in_files(model: nn.Module) -> dict[str, str]:
    return getattr(model, "names_in_files", {})


def _renamed(tensors: Tensors, names: dict[str, str]) -> Tensors:
    return {names.get(key, key): tensor for key, tensor in tensors.items()} if names else tensors


def _joined(tensors: Tensors, model: nn.Module) -> Tensors:
    if not any(isinstance(module, (Pixel, Joined)) for module in model.modules()):
        return tensors
    found = dict(tensors)
    for name, module in model.named_modules():
        if isinstance(module, Pixel):
            found[f"{name}.weight"] = found[f"{name}.weight"].flatten(1)
        elif isinstance(module, Joined):
            found[f"{name}.weight"] = _side_by_side([found.pop(f"{part}.weight").flatten(1) for part in module.parts])
            if module.bias is not None:
                found[f"{name}.bias"] = mean_of([found.pop(f"{part}.bias") for part in module.parts])
    return found


def take(model: nn.Module, tensors: Tensors) -> None:
    """Load exactly these tensors, with the versions of the model's layers: files keep none, and some layers ask for theirs."""
    state = model.state_dict()
    for key in [key for key in state if key not in tensors]:
        del state[key]
    state.update(tensors)
    model.load_state_dict(state)


def _side_by_side(weights: list[Tensor]) -> Tensor:
    return torch.cat(weights, 1) / len(weights)


def mean_of(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)
