"""`FILE.py:NAME`: the user's own class or function. It runs their code, so only the command line may name it.

The file may import what lies beside it, as `import layers` or `from .layers import Block`: that is part of its digest.
"""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.inputs import Size
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import general

COUNTS = ("num_classes", "classes", "n_classes", "nb_classes", "num_labels", "out_features")
"""What people call the number of classes; it is passed where the code takes it."""

CHANNELS = ("in_channels", "channels", "in_chans", "num_channels")

PACKAGE = "unlearn_architecture_"
"""What begins the names of the packages that files are run in."""

_RUN: dict[str, tuple[ModuleType, str]] = {}
"""What was run in this process, by place and content: the module, and the digest of all its code."""


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

        if isinstance(kind, nn.Module):
            raise UnlearnError(f"{member} of {path} is a network that is made already.",
                               "name its class, or a function that returns one.")  # fmt: skip
        if unknown := [key for key in settings if key not in takes and not everything]:
            raise UnlearnError(f"{member} of {path} takes no '{unknown[0]}'.", f"it takes {', '.join(takes) or 'nothing'}.")
        own = {key: classes for key in COUNTS if key in takes} | {key: channels for key in CHANNELS if key in takes}
        try:
            with _at_home(Path(path)):
                model = kind(**own | settings)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything, or leave
            raise UnlearnError(f"{member} of {path} could not be built ({_reason(error)}).",
                               "mend it, or pass its settings after --arch.") from None  # fmt: skip
        if not isinstance(model, nn.Module):
            hint = "it has to be, or to return, a torch.nn.Module."
            raise UnlearnError(f"{member} of {path} gives a {type(model).__name__}.", hint)
        return model

    return Architecture(name=f"{Path(path).name}:{member}", construct=construct, recipe=general(False), settings=None,
                        channels=(1, 3), digest=digest)  # fmt: skip


def _run(path: str) -> tuple[ModuleType, str]:
    """The module that a file makes, run once per process and content, and the digest of its code."""
    try:
        code = Path(path).read_bytes()
    except OSError as error:
        raise UnlearnError(f"--arch {path} cannot be read: {(error.strerror or str(error)).lower()}.", "check the path.") from None
    place = Path(path).resolve()
    package = f"{PACKAGE}{hashlib.sha256(bytes(place) + code).hexdigest()[:16]}"
    if package not in _RUN:
        home = ModuleType(package)  # for `from .layers import ..`
        home.__path__ = [str(place.parent)]
        module = ModuleType(f"{package}.{place.stem}")
        module.__file__, module.__package__ = str(place), package
        sys.modules |= {package: home, module.__name__: module}
        try:
            with _at_home(place) as beside:
                exec(compile(code, str(place), "exec"), vars(module))  # the very bytes of which the digest is
        except BaseException as error:  # the user's code may raise anything, or leave
            for name in [name for name in sys.modules if _top(name) == package]:
                del sys.modules[name]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise UnlearnError(f"{path} could not be run ({_reason(error)}).", "mend the file.") from None
        _RUN[package] = module, _digest(code, beside)
    return _RUN[package]


@contextmanager
def _at_home(place: Path) -> Iterator[dict[str, Path]]:
    """While the user's code runs it imports from its own folder first, leaves no bytecode there, and prints beside our output.

    Gives the files beside it that it imported, by name, once it has run. Two networks may each have a `layers`: what was
    imported by such a name is forgotten, and imported again by the next.
    """
    folder = place.resolve().parent
    path, cached, before = list(sys.path), sys.dont_write_bytecode, set(sys.modules)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    beside: dict[str, Path] = {}
    try:
        with redirect_stdout(sys.stderr):
            yield beside
    finally:
        sys.path[:], sys.dont_write_bytecode = path, cached
        for name in sorted(set(sys.modules) - before):
            ours = name.startswith(PACKAGE)
            own = name.partition(".")[2] if ours else name
            file = _lies_at(folder.joinpath(*own.split(".")), sys.modules[name]) if own else None
            if file is None or (not ours and _top(name) in before):
                continue
            if file.is_file():
                beside[own] = file
            if not ours:
                del sys.modules[name]


def _lies_at(place: Path, module: ModuleType) -> Path | None:
    """The module's file, or its folder where it has none, if that is the one at PLACE."""
    file = getattr(module, "__file__", None)
    found = [Path(one) for one in ([file] if file else getattr(module, "__path__", ()))]
    return next((one for one in found if one in (place.with_suffix(".py"), place / "__init__.py", place)), None)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _digest(code: bytes, beside: dict[str, Path]) -> str:
    """SHA-256 of the file's bytes; where it imports what lies beside it, of those files too."""
    if not beside:
        return hashlib.sha256(code).hexdigest()
    total = hashlib.sha256(hashlib.sha256(code).digest())
    for name, file in sorted(beside.items()):
        total.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
