"""Any classifier, presented as what every method reads: a forward that gives (n, C) logits, by one `nn.Linear` on features.

Most networks are that already; a trial shows which, and what has to be changed (`presented`).
"""

from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UnlearnError, did_you_mean, reason_of
from unlearn_cli.ops.presented import JOINED, Tensors, answers_alone, as_pixel, gives_what_the_head_gives, join, mean_of, put

ENDS = {"log-softmax": torch.log_softmax, "softmax": torch.softmax}


@dataclass(frozen=True)
class Presented:
    """The head's name, what was changed, in words, and the names of other classifiers of its classes that no answer is made of."""

    head: str
    notes: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


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
            put(model, key, as_pixel(layers[key]))
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


def _could_be(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        flat = module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
        return flat and module.padding in ((0, 0), "valid", "same")
    return isinstance(module, nn.Linear)


def _averaged(given: Tensors, found: list[str], output: Tensor) -> list[str]:
    """The layers whose average the output is: all that fit it, or two of them."""
    for some in (found, *combinations(found, 2)):
        if len(some) > 1 and torch.allclose(mean_of([given[key] for key in some]), output, atol=1e-6):
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
        height, width = sample.shape[2:]
        hint = "pass the --size that it was made for, or mend its code."
        raise UnlearnError(f"{what} does not take images of {height} x {width} pixels and {sample.shape[1]} channels "
                           f"({reason_of(error)}).", hint) from None  # fmt: skip
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
