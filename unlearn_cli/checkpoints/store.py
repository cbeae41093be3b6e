"""Checkpoints on disk: read with suspicion, write whole or not at all, never over what the user did not name."""

import errno
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from unlearn_cli.checkpoints import folders, hub
from unlearn_cli.checkpoints.described import Described
from unlearn_cli.checkpoints.record import KEY, Record, from_json
from unlearn_cli.errors import UnlearnError

PIPE = "-"
COUNTER = "num_batches_tracked"
"""What BatchNorm calls its count of batches: in float16 it overflows after 65,504 of them, and no output changes by it."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: its tensors, its record (None for a plain state dict), its digest, its place.

    The digest is that of the file: it stays when a network takes the tensors under other names (`fitting`). `described` is
    what another library's configuration beside it says, and `folder` where that lies: mostly the path itself. What was
    fetched from a hub has its name there as `origin`, and nothing lies at its path.
    """

    tensors: dict[str, Tensor]
    record: Record | None
    digest: str
    path: Path | None
    described: Described | None = None
    folder: Path | None = None
    origin: str | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.path else "stdin"


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, sorted by name, as 64 hex digits.

    Over the tensors and not the file: two safetensors files with the same tensors may differ in their headers.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        if tensor.numel():  # one without numbers may have a stride that no view takes
            total.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return total.hexdigest()


def read(name: str) -> Checkpoint:
    """Read a safetensors file (`-`: standard input), or a folder with one and its configuration. Nothing is ever unpickled.

    `hf://ORGANISATION/NAME` is a folder that is downloaded first; it counts as one of that name in the working folder.

    Raises:
        UnlearnError: no such file, not safetensors, a broken header or record, or weights that are not finite.
    """
    if name.startswith(hub.SCHEME):
        return replace(_read_folder(hub.fetched(name), name, Path(hub.own_name(name))), origin=name)
    if name == PIPE:
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
            file.flush()
            return _read(Path(file.name), "standard input", None)
    path = Path(name)
    if path.is_dir():
        return _read_folder(path, name.rstrip("/") or name, path if path.name not in ("", "..") else path.resolve())
    return _read(path, name, path)


def _read(path: Path, shown: str, place: Path | None) -> Checkpoint:
    tensors, metadata = _tensors(path, shown, named=place is not None)
    return Checkpoint(tensors, _record(metadata, shown), digest(tensors), place)


def _read_folder(folder: Path, shown: str, place: Path) -> Checkpoint:
    """All tensors of a folder as those of one file would be."""
    tensors, metadata = {}, {}
    for file, told in folders.weights(folder, shown).items():
        found, more = _tensors(file, f"{shown}/{file.name}", named=True)
        if twice := sorted(tensors.keys() & found.keys()):
            raise UnlearnError(f"{shown} holds the tensor {twice[0]} in two files.", "one of them is of another checkpoint.")
        if told is not None and told != found.keys():
            odd = sorted(told ^ found.keys())[0]
            raise UnlearnError(f"{shown}/{file.name} is not as its index says: {odd} is in one of them only.",
                               "copy the whole folder.")  # fmt: skip
        tensors |= found
        metadata |= more
    record = _record(metadata, shown)
    told = folders.described(folder, shown) if record is None else None
    return Checkpoint(tensors, record, digest(tensors), place, told, folder)


def _record(metadata: dict[str, str], shown: str) -> Record | None:
    return from_json(metadata[KEY], shown) if KEY in metadata else None


def _tensors(path: Path, shown: str, named: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's tensors and what it says of itself.

    Args:
        named: whether the file has a name that the user knows.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise UnlearnError(f"{shown}: {reason(error)}.", "check the path and its permissions.") from None
    if not start:
        raise UnlearnError(f"{shown} is empty.", "give a safetensors file.")
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):  # where safetensors has its header's length
        raise UnlearnError(
            f"{shown} is a pickled PyTorch file, and nothing is ever unpickled here.",
            f"`unlearn import {shown}` takes its weights out of it." if named else "name the file: `unlearn import FILE`.",
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
    except (SafetensorError, ValueError, MemoryError, UnicodeDecodeError, OSError) as error:
        raise UnlearnError(
            f"{shown} is not a whole safetensors file ({str(error).splitlines()[0]}).",
            "it may be truncated or of another kind: restore it.",
        ) from None
    except AttributeError as error:  # safetensors asks torch for a type that an older one does not have
        raise UnlearnError(f"{shown} holds a type of numbers that torch {torch.__version__} does not know ({error}).",
                           "save it as float32 or bfloat16.") from None  # fmt: skip
    if not tensors:
        raise UnlearnError(f"{shown} holds no tensors.", "give the checkpoint of a trained model.")
    for key, tensor in tensors.items():
        try:
            finite = key.endswith(COUNTER) or not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
        except RuntimeError:  # packed formats of less than a byte; any of a byte in an older torch
            raise UnlearnError(f"{shown}: the tensor {key} holds {tensor.dtype}.", "save it as float32 or bfloat16.") from None
        if not finite:
            raise UnlearnError(f"{shown}: the tensor {key} has values that are not finite.", "the training diverged.")
    return tensors, metadata


def claim(name: str, *, force: bool, inputs: tuple[str, ...] = (), option: str = "--output", folder: bool = False) -> str:
    """Check that NAME may be written, before any work is done for it; returns the name.

    Args:
        option: by which it was given; only a checkpoint (`--output`) may go to standard output.
        folder: whether it is to be a checkpoint folder. One that is there is replaced if it was written here, and by force.

    Raises:
        UnlearnError: it exists (and no force), is a folder or an input, or its folder is missing or read-only.
    """
    if name == PIPE:
        if option != "--output":
            raise UnlearnError(f"{option} cannot be standard output.", "give it a file name.")
        return name
    path = Path(name)
    if any(given != PIPE and path.exists() and os.path.exists(given) and path.samefile(given) for given in inputs):
        raise UnlearnError(f"{name} is the input.", f"pass another {option}: an input is never written over.")
    above = path.resolve().parents
    if inside := next((given for given in inputs if os.path.isdir(given) and Path(given).resolve() in above), None):
        raise UnlearnError(f"{name} lies in the input {inside}.", f"pass another {option}: an input is never changed.")
    if name.endswith("/") and not folder:
        raise UnlearnError(f"{name} names a folder, and a file is to be written.", f"give {option} a file name.")
    if path.is_dir() and not folder:
        raise UnlearnError(f"{name} is a folder.", f"give {option} a file name.")
    if folder and path.is_symlink():
        raise UnlearnError(f"{name} is a link.", f"pass another {option}.")
    if folder and path.is_dir():
        _claim_folder(path, name, option, force)
    elif path.exists() and not path.is_file():
        hint = f"pass another {option}" + ("; - is standard output." if option == "--output" else ".")
        raise UnlearnError(f"{name} is a device or a pipe, not a file.", hint)
    elif folder and os.path.lexists(path):
        raise UnlearnError(f"{name} is no folder, and a folder is to be written.", f"pass another {option}.")
    elif os.path.lexists(path) and not force:
        raise UnlearnError(f"{name} already exists.", f"pass another {option}, or --force to replace it.")
    if not path.parent.is_dir():
        raise UnlearnError(f"{name}: its folder does not exist.", f"make it first: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UnlearnError(f"{name}: no permission to write there.", f"pass another {option}.")
    return name


def _claim_folder(path: Path, name: str, option: str, force: bool) -> None:
    """An empty folder is filled; one that was written here, and holds nothing else, may be replaced; no other."""
    there = list(path.iterdir())
    if not there:
        return
    if not folders.is_ours(path):
        raise UnlearnError(f"{name} is a folder with other files, and none of them is replaced.",
                           f"name one that does not exist: {option} {path / 'NAME'}")  # fmt: skip
    if not force:
        raise UnlearnError(f"{name} already exists.", f"pass another {option}, or --force to replace it.")


def write(name: str, tensors: dict[str, Tensor], record: Record, *, force: bool = False) -> str:
    """Write a checkpoint atomically: a temporary file in the same folder, flushed, then renamed.

    A crash leaves at most a hidden temporary file, never a partial one under the output's name. `-` goes to stdout.
    """
    return _write(name, tensors, {KEY: record.to_json()}, force)


def write_plain(name: str, tensors: dict[str, Tensor], *, force: bool = False) -> str:
    """Write a state dict that says nothing of itself, as `write` does."""
    return _write(name, tensors, {}, force)


def _write(name: str, tensors: dict[str, Tensor], said: dict[str, str], force: bool) -> str:
    tensors, metadata = apart(tensors), {"format": "pt"} | said
    if name == PIPE:
        try:
            sys.stdout.buffer.write(save(tensors, metadata))
            sys.stdout.buffer.flush()
        except OSError as error:
            raise UnlearnError(f"standard output could not be written: {reason(error)}.", "name a file with --output.") from None
        return name

    def fill(temporary: Path) -> None:
        save_file(tensors, temporary, metadata)

    replace_whole(claim(name, force=force), fill)
    return name


def apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and each with memory of its own: a file has no tied weights, only equal ones."""
    apart, taken = {}, set()
    for key, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        apart[key] = tensor.clone() if place in taken else tensor
        taken.add(place)
    return apart


def replace_whole(name: str, fill) -> None:
    """Let `fill(temporary)` write a file beside NAME, then put it under NAME in one step, or leave nothing."""
    path = Path(name)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        fill(temporary)
        os.chmod(temporary, 0o666 & ~umask())  # safetensors 0.8 writes with mode 0600
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise UnlearnError(f"{name} could not be written: {why}.", "free some space or name another file.") from None
    finally:
        temporary.unlink(missing_ok=True)


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def reason(error: OSError) -> str:
    known = {errno.ENOENT: "no such file", errno.EACCES: "no permission", errno.ENOSPC: "no space left on the disk"}
    return known.get(error.errno, (error.strerror or str(error)).lower())
