"""A checkpoint written as the folder that it came from, so that its library loads it: whole or not at all."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from unlearn_cli.checkpoints import card, configurations, folders
from unlearn_cli.checkpoints.record import KEY, Record
from unlearn_cli.checkpoints.store import apart, claim, reason, umask
from unlearn_cli.errors import UnlearnError


def write_folder(
    name: str, tensors: dict[str, Tensor], record: Record, source: Path, origin: str, *, force: bool = False
) -> list[str]:
    """Write a checkpoint folder, and say what of its source was not copied.

    A crash leaves at most a hidden temporary folder beside it, or the former one under such a name.

    Args:
        tensors: under the names that the source has for them.
        source: the folder of the checkpoint that this one was made from.
        origin: what that is called.

    Raises:
        UnlearnError: it may not be written, or could not be.
    """
    taken, left = folders.companions(source)
    config = folders.config_of(source)
    text = card.text(record, config or {}, origin, card.front_matter(source / folders.CARD))
    target = Path(claim(name, force=force, folder=True))
    new, old = (target.parent / f".{target.name}.{os.getpid()}.{end}" for end in ("tmp", "old"))
    try:
        new.mkdir()
        save_file(apart(tensors), new / folders.WEIGHTS, {"format": "pt", KEY: record.to_json()})
        if config is not None:
            (new / folders.CONFIG).write_text(_as_json(configurations.mended(config, record.classes)), encoding="utf-8")
        for file in taken:
            shutil.copyfile(file, new / file.name)
        (new / folders.CARD).write_text(text, encoding="utf-8")
        _settle(new)
        _put(new, target, old)
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise UnlearnError(f"{name} could not be written: {why}.", "free some space or name another folder.") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return _said(left, source)


def _settle(folder: Path) -> None:
    """Flush every file, with the permissions that any new file has."""
    mode = ~umask()
    for file in folder.iterdir():
        os.chmod(file, 0o666 & mode)
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())


def _put(new: Path, target: Path, old: Path) -> None:
    """Put a folder under the target's name; one of the name was claimed before and goes, but only once the new one is there."""
    if not target.exists() or not any(target.iterdir()):
        os.replace(new, target)
        return
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old)


def _as_json(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _said(left: Sequence[str], source: Path) -> list[str]:
    if not left:
        return []
    shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return [f"not copied from {source.name}, as it may hold weights that still know what was forgotten: {shown}"]
