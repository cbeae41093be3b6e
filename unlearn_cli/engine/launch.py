"""Which of several processes this one is, by the environment that torchrun sets; the one place that reads it. No torch here."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from unlearn_cli.errors import UnlearnError

HINT = "start several processes with torchrun; for one, unset WORLD_SIZE."
MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What several processes cannot find each other without."""


class Launch(NamedTuple):
    """Process `rank` of `world`; `local` counts those of this machine, None where nobody said or there is only one."""

    rank: int = 0
    world: int = 1
    local: int | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """This process among those that were started together.

    Where WORLD_SIZE is 1, empty or absent this process is the only one, whatever else is set: a pod or an array job may
    number its tasks by RANK, and each of them has the whole work to do.

    Raises:
        UnlearnError: WORLD_SIZE is no number of processes, or does not go with the other variables.
    """
    given = {name: environment.get(name, "").strip() for name in ("WORLD_SIZE", "LOCAL_RANK", *MEETING)}
    world = whole("WORLD_SIZE", given["WORLD_SIZE"] or "1")
    if world < 1:
        raise UnlearnError(f"WORLD_SIZE is {world}, and there is one process at least.", HINT)
    if world == 1:
        return Launch()
    missing = [name for name in MEETING if not given[name]]
    if missing:
        raise UnlearnError(f"WORLD_SIZE is {world}, which needs {' and '.join(missing)} as well.", HINT)
    rank = whole("RANK", given["RANK"])
    if not 0 <= rank < world:
        raise UnlearnError(f"RANK is {rank}, and {world} processes are numbered 0 to {world - 1}.", HINT)
    if not 0 <= whole("MASTER_PORT", given["MASTER_PORT"]) < 1 << 16:
        raise UnlearnError(f"MASTER_PORT is {given['MASTER_PORT']}, which is no port.", HINT)
    local = whole("LOCAL_RANK", given["LOCAL_RANK"]) if given["LOCAL_RANK"] else None
    if local is not None and local < 0:
        raise UnlearnError(f"LOCAL_RANK is {local}, and processes are numbered from 0.", HINT)
    return Launch(rank, world, local)


def whole(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise UnlearnError(f"{name} is '{text}', which is no number of processes." if name == "WORLD_SIZE"
                           else f"{name} is '{text}', which is no whole number.", HINT)  # fmt: skip
    return int(text)
