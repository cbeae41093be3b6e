"""A file of `torch.save` as tensors and the containers that they lie in. It is read with `weights_only`: nothing it names is run.

What is no tensor and only data (a command line's arguments, paths, dates, numpy's numbers) is not built either: an object that
keeps nothing stands in its place. Whatever else a file needs is refused by the name of its class.
"""

import os
import pickle
import pickletools
import re
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from unlearn_cli.errors import UnlearnError, one_line

ZIP, PICKLE = b"PK\x03\x04", b"\x80"


class Nothing:
    """Stands where a file has a value that is no tensor: takes whatever it is given and keeps none of it."""

    def __new__(cls, *_: object):
        return object.__new__(cls)

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


class Entries:
    """Stands for a kind of mapping; what is made of it is an ordered one."""

    def __new__(cls, *_: object):
        return OrderedDict()


_NUMPY = ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
VALUES = (
    "argparse.Namespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local")
      for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"builtins.{name}" for name in ("dict", "list", "int", "float", "str", "bool")),
    *(f"numpy.{core}.{name}" for core in ("core", "_core") for name in _NUMPY),
    "numpy.ndarray", "numpy.dtype",
)  # fmt: skip
"""What a file may name beside tensors, as pickle spells it; numpy's own functions would trust a file's word on memory."""

MAPPINGS = (
    "collections.defaultdict",
    *(f"{module}.AttributeDict" for module in (
        "lightning.fabric.utilities.data", "lightning_fabric.utilities.data", "lightning.pytorch.utilities.parsing",
        "pytorch_lightning.utilities.parsing")),
)  # fmt: skip


def read(name: str) -> Any:
    """What the file holds: tensors in dictionaries, lists and numbers.

    Raises:
        UnlearnError: no such file, another kind of file, a damaged one, or one that only full unpickling reads.
    """
    path = Path(name)
    if path.is_dir():
        raise UnlearnError(f"{name} is a folder.", "give the checkpoint's file; the other commands take a folder as timm or "
                           "transformers saves it as it is.")  # fmt: skip
    if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
        raise UnlearnError(f"{name} is a device or a pipe, not a file.", "give the checkpoint's file.")
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise UnlearnError(f"{name}: {reason}.", "check the path and its permissions.") from None
    if not start:
        raise UnlearnError(f"{name} is empty.", "give a file of torch.save.")
    if start[8:9] == b"{":
        raise UnlearnError(f"{name} is no file of torch.save; it looks like safetensors.",
                           "give it to the other commands as it is.")  # fmt: skip
    zipped = start.startswith(ZIP)
    if not zipped and not start.startswith(PICKLE):
        raise UnlearnError(f"{name} is no file of torch.save.", "give a .pth, .pt, .bin or .ckpt file that PyTorch wrote.")
    if zipped:
        _check_zip(name, path)
    return _load(name, path, zipped)


def _load(name: str, path: Path, zipped: bool) -> Any:
    mapped = zipped and path.suffix != ".safetensors"  # by which torch would take it for one
    known = [_named(place, Nothing) for place in VALUES] + [_named(place, Entries) for place in MAPPINGS]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(known), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # of pickle's protocols and torch's own old names
            return torch.load(os.fspath(path) if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged or hostile pickle gets anything raised, and none of it is our mistake
        raise _refusal(name, path, zipped, error) from None


def _named(place: str, stand_in: type) -> type:
    """The stand-in under the name that a file calls it by."""
    module, _, name = place.rpartition(".")
    return type(name, (stand_in,), {"__module__": module})


def _check_zip(name: str, path: Path) -> None:
    """Refuse an archive of another kind, and one of which a byte is not what was written: PyTorch looks at no checksum."""
    damaged = UnlearnError(f"{name} is not a whole file of torch.save.", "it is truncated or damaged: restore it.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename.partition("/")[2] for entry in entries}
            if "constants.pkl" in names:
                raise UnlearnError(f"{name} is a TorchScript archive: a program, and no weights alone.",
                                   _recipe(f"import torch; found = torch.jit.load({name!r}, map_location='cpu')"))  # fmt: skip
            if "data.pkl" not in names:
                raise UnlearnError(f"{name} is a zip archive, and none of torch.save.", "give a file that PyTorch wrote.")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or archive.testzip() is not None:
                raise damaged
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError):
        raise damaged from None


def _refusal(name: str, path: Path, zipped: bool, error: Exception) -> UnlearnError:
    """Why a file could not be read, and how its weights come out of it where it is trusted."""
    look, reason = _look(path, zipped), _reason(error)
    found = re.search(r"GLOBAL (\S+) (?:was not|whose)", reason)
    refused = found[1] if found else ""
    if harm := next((one for one in look.named if one in HARMFUL or one.partition(".")[0] in HARMFUL), None):
        return UnlearnError(f"{name} has {one_line(harm, 100)} called when it is unpickled, as no checkpoint needs.",
                            "do not unpickle it; ask for the weights as safetensors.")  # fmt: skip
    for library, line in LIBRARIES.items():
        if one := next((one for one in [refused, *look.named] if one.startswith(f"{library}.")), None):
            model = line.format(name=name)
            return UnlearnError(f"{name} needs full unpickling, of {one_line(one, 100)}.", _recipe(model))
    load = f"import torch; found = torch.load({name!r}, map_location='cpu', weights_only=False)"
    if refused and not look.is_dict:
        return UnlearnError(f"{name} is a whole pickled object, of {one_line(refused, 100)}.", _recipe(load, "found.state_dict()"))
    if refused:
        return UnlearnError(f"{name} needs full unpickling, of {one_line(refused, 100)}.",
                            _recipe(f"{load}; print(list(found))", "found['state_dict']"))  # fmt: skip
    if not zipped and not look.by_torch:
        return UnlearnError(f"{name} is a pickle that torch.save did not write.",
                            _recipe(f"import pickle, torch; found = pickle.load(open({name!r}, 'rb'))", "found"))  # fmt: skip
    if look.protocol > 2 or isinstance(error, pickle.UnpicklingError):
        form = f"by protocol {look.protocol}" if look.protocol > 2 else one_line(reason, 160)
        return UnlearnError(f"{name} is pickled in a form that only full unpickling reads ({form}).",
                            _recipe(load, "found.state_dict() if hasattr(found, 'state_dict') else found"))  # fmt: skip
    return UnlearnError(f"{name} is not a whole file of torch.save ({one_line(reason, 160)}).",
                        "it is truncated or damaged: restore it.")  # fmt: skip


LIBRARIES = {
    "ultralytics": "import torch; from ultralytics import YOLO; found = YOLO({name!r}).model",
    "fastai": "import torch; from fastai.learner import load_learner; found = load_learner({name!r}).model",
}
"""Libraries whose files hold whole objects, and how each opens its own."""

HARMFUL = ("os", "posix", "nt", "sys", "subprocess", "runpy", "builtins.eval", "builtins.exec", "builtins.compile",
           "builtins.__import__", "builtins.open")  # fmt: skip
"""Modules and functions that a pickle names to run a program, not to keep weights."""


def _recipe(line: str, state: str = "found.state_dict()") -> str:
    """Two lines of Python that leave a file which can be imported."""
    return (
        "where you trust the file, run this in Python where its library is installed, then `unlearn import weights.pth`:\n"
        f"  {line}\n  torch.save({state}, 'weights.pth')"
    )


def _reason(error: Exception) -> str:
    """What torch says is wrong, without its advice to unpickle all the same."""
    lines = [line.strip() for line in str(error).rpartition("WeightsUnpickler error:")[2].splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Weights only load failed", "Check the documentation"))]
    return telling[0].rstrip(".") if telling else type(error).__name__


@dataclass
class Look:
    """What a pickle shows of itself without being followed.

    Args:
        named: the classes and functions that it names; is_dict: what it makes is a dictionary.
        by_torch: the older form of torch.save, which begins with a number of its own.
    """

    named: list[str] = field(default_factory=list)
    protocol: int = 0
    is_dict: bool = False
    by_torch: bool = False


def _look(path: Path, zipped: bool) -> Look:
    look = Look()
    with suppress(Exception), open(path, "rb") as file:  # of a damaged one, what was seen is all there is
        for number, text in enumerate(_pickles(file, zipped)):
            made, words = "", []
            for instruction, argument, _ in pickletools.genops(text):
                if instruction.name == "PROTO":
                    look.protocol = max(look.protocol, argument)
                elif instruction.name.endswith("UNICODE"):
                    words.append(argument)
                elif instruction.name in ("GLOBAL", "STACK_GLOBAL"):  # the latter takes two words from before
                    named = str(argument or ".".join(words[-2:])).replace(" ", ".").replace("__builtin__.", "builtins.")
                    look.named.append(named)
                    made = made or named
                elif instruction.name not in ("FRAME", "MEMOIZE"):
                    made = made or instruction.name
            look.by_torch |= number == 0 and made == "LONG1"
            look.is_dict = made in ("EMPTY_DICT", "collections.OrderedDict")
    return look


def _pickles(file: BinaryIO, zipped: bool) -> Iterator[bytes | BinaryIO]:
    """The pickles of a file: one in an archive; in the older form, three of a few numbers come before the one."""
    if zipped:
        with zipfile.ZipFile(file) as archive:
            yield archive.read(next(entry for entry in archive.namelist() if entry.partition("/")[2] == "data.pkl"))
    else:
        yield from (file for _ in range(4))
