"""`FILE.py:NAME`: the user's own class or function. It runs their code, so only the command line may name it."""

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.inputs import Size
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import general

COUNTS = ("num_classes", "classes", "n_classes", "nb_classes", "num_labels", "out_features")
"""What people call the number of classes; it is passed where the code takes it."""

CHANNELS = ("in_channels", "channels", "in_chans", "num_channels")


def find(name: str, *, typed: bool) -> Architecture:
    """The architecture that the code at PATH defines; recorded as the file's name, which says nothing of where it lies."""
    path, _, member = name.rpartition(":")
    if not typed:
        raise UnlearnError(f"its architecture is {name}: code that only the command line may name, never a file.",
                           f"pass --arch PATH/{name}, if you trust that file.")  # fmt: skip
    module, digest = _run(path)
    kind = getattr(module, member, None)
    if kind is None or not callable(kind):
        own = [key for key, one in vars(module).items() if callable(one) and getattr(one, "__module__", "") == module.__name__]
        hint = did_you_mean(member, own) or (f"it defines {', '.join(own)}." if own else "it defines no class and no function.")
        raise UnlearnError(f"{path} defines no class or function called '{member}'.", hint)
    takes = inspect.signature(kind).parameters
    everything = any(one.kind is one.VAR_KEYWORD for one in takes.values())

    def construct(classes: int, channels: int, size: Size, settings: dict[str, Any]):
        from torch import nn

        if unknown := [key for key in settings if key not in takes and not everything]:
            raise UnlearnError(f"{member} of {path} takes no '{unknown[0]}'.", f"it takes {', '.join(takes) or 'nothing'}.")
        own = {key: classes for key in COUNTS if key in takes} | {key: channels for key in CHANNELS if key in takes}
        try:
            model = kind(**own | settings)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
            raise UnlearnError(f"{member} of {path} could not be built ({reason}).",
                               "mend it, or pass its settings after --arch.") from None  # fmt: skip
        if not isinstance(model, nn.Module):
            hint = "it has to be, or to return, a torch.nn.Module."
            raise UnlearnError(f"{member} of {path} gives a {type(model).__name__}.", hint)
        return model

    return Architecture(name=f"{Path(path).name}:{member}", construct=construct, recipe=general(False), settings=None,
                        channels=(1, 3), digest=digest)  # fmt: skip


def _run(path: str) -> tuple[Any, str]:
    """The module that a file makes, run once per process and content, and its digest."""
    try:
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UnlearnError(f"--arch {path} cannot be read: {(error.strerror or str(error)).lower()}.", "check the path.") from None
    name = f"unlearn_architecture_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name], digest
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # the user's code may raise anything, or leave
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
        raise UnlearnError(f"{path} could not be run ({reason}).", "mend the file.") from None
    return module, digest
