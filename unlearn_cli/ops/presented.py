"""Any classifier, presented as what every method reads: a forward that gives (n, C) logits, by one `nn.Linear` on features.

Most networks are that already. Those that are not are changed in place, and what files hold of them is translated:

    1x1 convolution at the end     the linear layer that it is on one pixel
    heads that are averaged        one linear layer on their inputs side by side: a pair that learned by distillation
    (log-)softmax at the end       left out: the logits are what went into it
    an output with `logits`        these alone; of a tuple, the first; of (n, C, 1, 1), its one pixel
    names of its own in files      the library's (`written_as`), which its code has called otherwise since
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UnlearnError, did_you_mean

Tensors = dict[str, Tensor]
JOINED = "joined_heads"


@dataclass(frozen=True)
class Presented:
    """The head's name, what was changed, in words, and the names of other classifiers of its classes that no answer is made of."""

    head: str
    notes: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


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
            self.bias = nn.Parameter(_mean([head.bias.detach() for head in heads]))


class _Part(nn.Module):
    """One of the heads that were joined: it keeps what reaches it, and its output is not looked at."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes
        self.reached: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.reached.append(x)
        return x.new_zeros(len(x), self.classes)


def present(model: nn.Module, sample: Tensor, what: str, name: str | None = None) -> Presented:
    """Find the head of a network, whatever it is, and present the network by it; in place.

    Every layer that could be the head gives random numbers in place of its output, and the network's output tells which of
    them it is made of. All else that is learned is another in this trial than in a new network, where a scale of one or equal
    shares of several heads would look like none: no weight can hide what is done with the heads.

    Args:
        sample: (2, C, H, W) images.
        what: the network, as messages call it.
        name: of the head, where it is known.

    Raises:
        UnlearnError: it cannot take such images, or its output is no linear layer's.
    """
    answers_alone(model)
    layers = {key: module for key, module in model.named_modules() if _could_be(module)}
    if name is not None and name not in layers:
        hint = did_you_mean(name, layers) or "linear layers: " + ", ".join(layers)
        raise UnlearnError(f"the network has no linear layer called '{name}'.", hint)
    given, output = _tried(model, layers, sample, what)
    last = next(reversed(given), None)
    given = {key: values.flatten(1) for key, values in given.items() if values.numel() == output.numel()}
    found = [key for key, values in given.items() if values.shape == output.shape]
    for key in [one for one in reversed(found) if name in (None, one)]:
        notes = []
        if not torch.equal(given[key], output):
            made = next((words for words, f in ENDS.items() if torch.allclose(f(given[key], 1), output, atol=1e-6)), None)
            if made is None:
                continue
            gives_what_the_head_gives(model, key)
            notes.append(f"the {made} at the end of {what} is left out: logits are what goes into it")
        _check_linear(key, layers[key], what)
        idle = _idle(model, layers, given, [key], sample, what)
        if isinstance(layers[key], nn.Conv2d):
            _put(model, key, _as_pixel(layers[key]))
        return Presented(key, notes, idle)
    if name is None and (averaged := _averaged(given, found, output)):
        for key in averaged:
            _check_linear(key, layers[key], what)
        idle = _idle(model, layers, given, averaged, sample, what)
        join(model, averaged)
        return Presented(JOINED, [f"the heads {' and '.join(averaged)} of {what}, whose scores are averaged, count as one"], idle)
    if name is not None:
        raise UnlearnError(f"the output of the layer '{name}' is not the output of {what}.", "name the right layer with --head.")
    ran = f" (more is done after '{last}', the last that runs)" if last else ": it has none"
    raise UnlearnError(f"the scores of {what} are not the output of a linear layer{ran}.",
                       "methods and metrics need one as the last step: features times weights.")  # fmt: skip


ENDS = {"log-softmax": torch.log_softmax, "softmax": torch.softmax}


def _could_be(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        flat = module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
        return flat and module.padding in ((0, 0), "valid", "same")
    return isinstance(module, nn.Linear)


def _averaged(given: Tensors, found: list[str], output: Tensor) -> list[str]:
    """The layers whose average the output is: all that fit it, or two of them."""
    for some in (found, *combinations(found, 2)):
        if len(some) > 1 and torch.allclose(_mean([given[key] for key in some]), output, atol=1e-6):
            return list(some)
    return []


@torch.no_grad()
def _check_linear(key: str, layer: nn.Linear | nn.Conv2d, what: str) -> None:
    """Refuse a head that is one by name alone: a class of its own may scale, or standardise, what it multiplies with."""
    plain = "weight" in layer._parameters
    if plain:
        weight = layer.weight.flatten(1)
        x = torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
        given = layer(x if isinstance(layer, nn.Linear) else x[:, :, None, None]).flatten(1)
        plain = torch.allclose(given, nn.functional.linear(x, weight, layer.bias), rtol=1e-4, atol=1e-5)
    if not plain:
        raise UnlearnError(f"the head of {what}, '{key}', is a {type(layer).__name__} that is not features times its weights.",
                           "methods and metrics need a plain linear layer as the last step.")  # fmt: skip


@torch.no_grad()
def _idle(model: nn.Module, layers: dict[str, nn.Module], given: Tensors, heads: list[str], sample: Tensor, what: str) -> list[str]:
    """What has a row per class and no answer is made of, as classifiers that help a training: what they know is not judged."""
    rows, kept, able, found = len(layers[heads[0]].weight), set(model.state_dict()), [], []
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):  # of attention, which reads it uncalled
            continue
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            is_kept = name not in heads and f"{name}.{key}".lstrip(".") in kept and not nn.parameter.is_lazy(tensor)
            if is_kept and tensor.is_floating_point() and tensor.dim() > 1 and len(tensor) == rows:
                able.append((name or key, module, tensor))
    if not able:
        return []
    modes, ran = [(module, module.training) for module in model.modules()], set()
    reached: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda module, x, output: ran.add(module)) for _, module, _ in able]
    hooks += [layers[key].register_forward_pre_hook(lambda module, x: reached.append(x[0])) for key in heads]

    def features() -> list[Tensor]:  # a new head may be zero, and give nothing away
        reached.clear()
        model(sample)
        return list(reached)

    model.eval()
    plain = features()
    for name, module, tensor in able:
        if module in ran and not any(module.children()):  # scores depend on it, unless it gives others of their shape
            if name not in given or given[name].shape != given[heads[0]].shape:
                continue
            same = torch.equal(_tried(model, {}, sample, what)[1], _tried(model, {name: module}, sample, what)[1])
        else:  # it may be read without being called
            own = tensor.data
            tensor.data = own + 1
            same = all(map(torch.equal, plain, features()))
            tensor.data = own
        found += [name] if same else []
    for hook in hooks:
        hook.remove()
    for module, mode in modes:
        module.training = mode
    return found


@torch.no_grad()
def _tried(model: nn.Module, layers: dict[str, nn.Module], sample: Tensor, what: str) -> tuple[Tensors, Tensor]:
    """What the layers gave in a pass, random numbers in the order in which they ran, and the (n, C) output."""
    given: Tensors = {}
    draw = torch.Generator().manual_seed(0)

    def instead(key: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            given.pop(key, None)
            given[key] = torch.randn(output.shape, generator=draw).to(output)
            return given[key]

        return hook

    modes = [(module, module.training) for module in model.modules()]
    others = [one for one in (*model.parameters(), *model.buffers()) if _may_scale(one)]
    kept = [one.data for one in others]
    for one in others:
        one.data = one.data + 0.5 + torch.rand(one.shape, generator=draw).to(one)
    hooks = [module.register_forward_hook(instead(key)) for key, module in layers.items()]
    try:
        output = model.eval()(sample)
    except Exception as error:  # noqa: BLE001 - a library's or a user's forward may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        height, width = sample.shape[2:]
        raise UnlearnError(f"{what} does not take images of {height} x {width} pixels and {sample.shape[1]} channels ({reason}).",
                           "pass the --size that it was made for.") from None  # fmt: skip
    finally:
        for one, own in zip(others, kept, strict=True):
            one.data = own
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != len(sample):
        kind = f"numbers of the shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UnlearnError(f"{what} gives {kind} for {len(sample)} images, not a score per image and class.",
                           "it has to be a classifier.")  # fmt: skip
    return given, output


def _may_scale(one: Tensor) -> bool:
    """Whether scores could be multiplied with it, or be added to it; kernels and matrices of a million numbers are left alone."""
    return not nn.parameter.is_lazy(one) and one.is_floating_point() and one.numel() <= 1 << 20


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
    setattr(model, JOINED, Joined(parts, [head if isinstance(head, nn.Linear) else _as_pixel(head) for head in heads]))
    for part, head in zip(parts, heads, strict=True):
        _put(model, part, _Part(head.out_features))

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


def _as_pixel(conv: nn.Conv2d) -> Pixel:
    layer = Pixel(conv.in_channels, conv.out_channels, bias=conv.bias is not None, device="meta")
    layer.weight = nn.Parameter(conv.weight.detach().flatten(1).clone())
    if conv.bias is not None:
        layer.bias = nn.Parameter(conv.bias.detach().clone())
    return layer


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
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
                found[f"{name}.bias"] = _mean([found.pop(f"{part}.bias") for part in module.parts])
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


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)
