"""Checkpoint folders, as timm and transformers save them: which files hold what, and what of them may be copied."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from unlearn_cli.checkpoints import configurations, documents
from unlearn_cli.checkpoints.described import Described
from unlearn_cli.checkpoints.record import KEY
from unlearn_cli.errors import UnlearnError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, PROCESSOR, PROCESSORS, CARD = "config.json", "preprocessor_config.json", "processor_config.json", "README.md"
LARGEST = 32 << 20
"""Bytes of a JSON file that are read: a sharded index or the names of many classes fit."""
SMALL = 4 << 20
"""Bytes of a file that is copied along."""
WRITER = "save_pretrained"

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LEGAL = ("license", "notice", "copying")


def is_one(path: Path) -> bool:
    """Whether a folder holds weights in safetensors under the names that the libraries give them."""
    return path.is_dir() and any((path / name).is_file() for name in (WEIGHTS, INDEX))


def is_ours(path: Path) -> bool:
    """Whether a folder was written here and holds no file that was not: only then it may be replaced."""
    files = list(path.iterdir())
    if not all(file.is_file() and not file.is_symlink() for file in files) or not (path / WEIGHTS).is_file():
        return False
    if not all(file.name in (WEIGHTS, CARD) or file.suffix == ".json" or _is_licence(file) for file in files):
        return False
    try:
        with safe_open(path / WEIGHTS, "pt") as opened:
            return KEY in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def weights(folder: Path, shown: str) -> dict[Path, set[str] | None]:
    """The files with the tensors, and the names that each has to hold by the index; None where there is no index.

    Raises:
        UnlearnError: there are none, or a shard lies elsewhere, is missing, or the index cannot be right.
    """
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: None}
    if not (folder / INDEX).is_file():
        raise _without_weights(folder, shown)
    index = documents.read(str(folder / INDEX), LARGEST, WRITER)
    places = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(places, Mapping) or not places or not all(isinstance(file, str) for file in places.values()):
        raise UnlearnError(f"{shown}/{INDEX} does not say which tensor lies in which file.", "it is damaged: restore it.")
    found: dict[Path, set[str]] = {}
    for tensor, file in places.items():
        if file != Path(file).name or file in ("", ".", "..") or "\\" in file or not file.endswith(".safetensors"):
            raise UnlearnError(f"{shown}/{INDEX} names the file {file!r}, which is not one in the folder.",
                               "a shard lies beside its index.")  # fmt: skip
        found.setdefault(folder / file, set()).add(tensor)
    if missing := sorted(path.name for path in found if not path.is_file()):
        raise UnlearnError(f"{shown} lacks {missing[0]}, one of the {len(found)} files with its weights.",
                           "copy the whole folder.")  # fmt: skip
    return found


def _without_weights(folder: Path, shown: str) -> UnlearnError:
    names = sorted(path.name for path in folder.iterdir())
    if pickled := next((name for name in names if name.endswith(PICKLES)), None):
        return UnlearnError(f"{shown} has its weights in {pickled} only, a pickled file, and nothing is ever unpickled here.",
                            f"take them out of it: unlearn import {shown}/{pickled} -o {shown}/{WEIGHTS}")  # fmt: skip
    if any(name.startswith("adapter_") for name in names):
        return UnlearnError(f"{shown} holds an adapter, not a model.", "merge it into its model first.")
    if other := next((name for name in names if name.endswith(".safetensors")), None):
        return UnlearnError(f"{shown} is a folder without {WEIGHTS}.", f"give one checkpoint: {shown}/{other}")
    what = f"it has {CONFIG}, and no {WEIGHTS}" if CONFIG in names else f"it has neither {CONFIG} nor {WEIGHTS}"
    return UnlearnError(f"{shown} is a folder that holds no checkpoint: {what}.", "give a safetensors file, or the folder of one.")


def described(folder: Path, shown: str) -> Described:
    """What the configurations in a folder say of its network.

    Raises:
        UnlearnError: there is none, or it is of no classifier that is known here.
    """
    if not (folder / CONFIG).is_file():
        raise UnlearnError(f"{shown} has no {CONFIG}, which would say what network its weights are of.",
                           f"add it; or give {shown}/{WEIGHTS}, and pass --arch.")  # fmt: skip
    return configurations.described(_object(folder / CONFIG), _processor(folder), shown)


def config_of(folder: Path) -> dict[str, Any] | None:
    return _object(folder / CONFIG) if (folder / CONFIG).is_file() else None


def _processor(folder: Path) -> dict[str, Any] | None:
    """How images are prepared: in a file of its own, or as part of one for all kinds of input."""
    if (folder / PROCESSOR).is_file():
        return _object(folder / PROCESSOR)
    whole = _object(folder / PROCESSORS) if (folder / PROCESSORS).is_file() else {}
    part = whole.get("image_processor")
    return part if isinstance(part, dict) else None


def _object(path: Path) -> dict[str, Any]:
    found = documents.read(str(path), LARGEST, WRITER)
    if not isinstance(found, dict):
        raise UnlearnError(f"{path} is not a JSON object.", "it is damaged: restore it.")
    return found


def companions(folder: Path) -> tuple[list[Path], list[str]]:
    """The files beside the weights that know nothing of any image and are copied along, and the names of all others.

    Copied are small JSON files and licences. Any other file may hold weights that still know what is forgotten: pickles, other
    formats, adapters, states of an optimizer.
    """
    taken, left, own = [], [], {path.name for path in weights(folder, folder.name)}
    for path in sorted(folder.iterdir()):
        if path.name in (INDEX, CONFIG, CARD, *own) or path.name.startswith("."):
            continue
        if path.is_file() and path.stat().st_size <= SMALL and _is_plain(path):
            taken.append(path)
        else:
            left.append(path.name + "/" * path.is_dir())
    return taken, left


def _is_licence(path: Path) -> bool:
    return path.name.lower().split(".")[0] in LEGAL and path.suffix.lower() in ("", ".txt", ".md")


def _is_plain(path: Path) -> bool:
    """A licence, or JSON as the libraries write it; an index of weights elsewhere is of no use without them."""
    if _is_licence(path):
        return True
    if path.suffix != ".json" or path.name.endswith(".index.json") or path.name.startswith("adapter_"):
        return False
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return True
