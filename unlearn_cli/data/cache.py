"""The user's cache folder: an index per data folder, the pixels per fingerprint. Losing any of it costs time only."""

import hashlib
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from unlearn_cli.inputs import Resize, Size, sized

LAYOUT = 1  # raise when the same files would give other pixels or another index
HEADER_BYTES = 4096  # of a pixel file: one page, so that the pixels start on the next
DAMAGED = (OSError, SafetensorError, KeyError, ValueError, TypeError)


def cache_folder() -> Path:
    if chosen := os.environ.get("UNLEARN_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "unlearn"
    try:
        home = Path.home()
    except RuntimeError:  # a container's user without a name
        return Path(tempfile.gettempdir()) / "unlearn"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "unlearn"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "unlearn"
    return home / ".cache" / "unlearn"


@dataclass(frozen=True, eq=False)
class Index:
    """What a data folder held when it was last read."""

    names: str  # the paths, joined by zero bytes
    stat: np.ndarray  # (N, 3) int64, as in a Listing
    digests: np.ndarray  # (N, 32) uint8: SHA-256 of each file
    fingerprint: str
    sample: dict  # the defaults taken from a sample of the images, and what they depend on

    def holds(self, names: str, stat: np.ndarray) -> bool:
        return self.names == names and np.array_equal(self.stat, stat)


def read_index(root: str) -> Index | None:
    try:
        with safe_open(_index_path(root), framework="numpy") as file:
            told = json.loads(file.metadata()["index"])
            names, stat, digests = (file.get_tensor(key) for key in ("names", "stat", "digests"))
            names = names.tobytes().decode(errors="surrogatepass")
    except DAMAGED:
        return None
    whole = names.count("\0") + 1 == len(stat) and stat.shape[1:] == (3,) and digests.shape == (len(stat), 32)
    return Index(names, stat, digests, told["fingerprint"], told["sample"]) if whole else None


def write_index(root: str, index: Index) -> None:
    told = json.dumps({"root": root, "fingerprint": index.fingerprint, "sample": index.sample})
    tensors = {"names": np.frombuffer(index.names.encode(errors="surrogatepass"), np.uint8)}
    tensors |= {"stat": index.stat, "digests": index.digests}
    path = _index_path(root)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path.parent)
        try:
            temporary.write_bytes(save(tensors, metadata={"index": told}))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _index_path(root: str) -> Path:
    digest = hashlib.sha256(root.encode(errors="surrogatepass")).hexdigest()
    return cache_folder() / f"index-{LAYOUT}-{digest[:32]}.safetensors"


def read_pixels(fingerprint: str, shape: tuple[int, ...], resize: Resize | None = None) -> Tensor | None:
    """The cached pixels, mapped and not read: a page comes from the disk when an image on it is asked for."""
    try:
        with safe_open(_pixels_path(fingerprint, shape, resize), framework="pt") as file:
            stored = file.get_slice("pixels")
            told = (stored.get_dtype(), tuple(stored.get_shape()), file.metadata()["fingerprint"])
            return file.get_tensor("pixels") if told == ("U8", shape, fingerprint) else None
    except DAMAGED:
        return None


def drop_pixels(fingerprint: str) -> None:
    """Remove the cached pixels of a folder's former contents, at every size, however resized."""
    for path in cache_folder().glob(f"pixels-{LAYOUT}-{fingerprint[:32]}-*.safetensors"):
        with suppress(OSError):  # still mapped, on some systems
            path.unlink()


class PixelFile:
    """Pixels being filled in: straight in a cache file, or in memory where the cache folder cannot take them."""

    def __init__(self, shape: tuple[int, ...], resize: Resize | None = None):
        self._resize = resize
        self._temporary = None
        size = int(np.prod(shape))
        try:
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            self._temporary = _temporary(folder)
            with open(self._temporary, "r+b") as file:
                if hasattr(os, "posix_fallocate"):  # a full disk must show now: later, in the map, it would kill us
                    os.posix_fallocate(file.fileno(), 0, HEADER_BYTES + size)
                file.truncate(HEADER_BYTES + size)
            self.pixels = np.memmap(self._temporary, np.uint8, "r+", HEADER_BYTES, shape)
        except OSError:
            self.discard()
            self.pixels = np.empty(shape, np.uint8)

    def commit(self, fingerprint: str) -> Tensor:
        """Put the file, complete, under its name, and map it."""
        shape = self.pixels.shape
        if self._temporary is None:
            return torch.from_numpy(self.pixels)
        self.pixels.flush()
        self.pixels = None  # some systems rename no file that is still mapped
        try:
            with open(self._temporary, "r+b") as file:
                file.write(_header(fingerprint, shape))
            os.replace(self._temporary, _pixels_path(fingerprint, shape, self._resize))
        except OSError:
            kept = np.fromfile(self._temporary, np.uint8, offset=HEADER_BYTES).reshape(shape)
            self.discard()
            return torch.from_numpy(kept)
        return read_pixels(fingerprint, shape, self._resize)

    def discard(self) -> None:
        self.pixels = None
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            self._temporary = None


def _header(fingerprint: str, shape: tuple[int, ...]) -> bytes:
    """A safetensors header for one uint8 tensor, padded with spaces as the format allows."""
    tensor = {"dtype": "U8", "shape": shape, "data_offsets": [0, int(np.prod(shape))]}
    text = json.dumps({"__metadata__": {"fingerprint": fingerprint}, "pixels": tensor}).encode()
    return (HEADER_BYTES - 8).to_bytes(8, "little") + text.ljust(HEADER_BYTES - 8)


def _pixels_path(fingerprint: str, shape: tuple[int, ...], resize: Resize | None) -> Path:
    """Named by all that pixels depend on: a shorter side of 256 is 256, and both sides of 256 are 256x256."""
    how = "" if resize is None else f"-{resize.interpolation}-{_short(resize.to)}" + "-down" * (resize.half == "down")
    size = _short(sized(shape[1], shape[2]))
    return cache_folder() / f"pixels-{LAYOUT}-{fingerprint[:32]}-{size}-{shape[3]}{how}.safetensors"


def _short(size: Size) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def _temporary(folder: Path) -> Path:
    handle, name = tempfile.mkstemp(suffix=".tmp", dir=folder)
    os.close(handle)
    return Path(name)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left behind a day ago or earlier."""
    for path in folder.glob("*.tmp"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - 86_400:
                path.unlink()
