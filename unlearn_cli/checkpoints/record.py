"""What a checkpoint says of itself: one JSON document under the safetensors metadata key `unlearn`."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Input, Interpolation, Resize, Size

SCHEMA = 3
"""2: a step may withhold earlier requests, and a training may leave out classes and images at once.
3: networks of other libraries, their input, and folders with fewer classes than the head."""
KEY = "unlearn"
LIST_LIMIT = 100
"""Instance lists up to this length are kept in the record itself; longer ones by their digest alone."""

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Value = None | bool | int | Finite | str


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class DataRecord(Part):
    """Which images the model was trained on: the folder as seen from the checkpoint, and what it held.

    `classes` are those that it held, where the head has more: then it is a folder of the user's, not the training set.
    """

    folder: str
    fingerprint: Digest
    train: Count
    test: Count
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    classes: list[str] | None = None


class ResizeRecord(Part):
    """`inputs.Resize`: how an image is resized before the input is cut from its centre."""

    to: Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)]
    interpolation: Interpolation
    half: Literal["even", "down"] = "even"


class RequestRecord(Part):
    """What was to be forgotten: class names, or images by the digest of their sorted list (and the list, if short)."""

    classes: list[str] = []
    instances_digest: Digest | None = None
    instances_count: Count = 0
    instances: list[str] | None = None

    @model_validator(mode="after")
    def asks_for_something(self):
        if not self.classes and not self.instances_count:
            raise ValueError("a request names classes or images")
        if self.instances is not None and len(self.instances) != self.instances_count:
            raise ValueError("instances_count is not the length of instances")
        return self

    @property
    def key(self) -> tuple:
        """What makes two requests the same, whether their paths are kept or not."""
        return tuple(self.classes), self.instances_digest, self.instances_count


class Source(Part):
    """The checkpoint a step started from: its file name at the time, and the digest that identifies it.

    `weights` is that of the network's own tensors (`fitting.weights_digest`): the file may have held more, or other types.
    Of one that a training began with, also the classes of its head, and the fingerprint of the images that its record names.
    """

    name: str
    digest: Digest
    weights: Digest | None = None
    classes: list[str] | None = None
    data: Digest | None = None


class Step(Part):
    """One thing that was done to the weights.

    `withheld` counts the earlier requests of the lineage whose images it was not given either; version 1 knew none.
    `evidence` is the digest of the file that keeps what images they mean (`checkpoints.evidence`), where one was written.
    """

    operation: Literal["train", "forget", "relearn"]
    method: str
    settings: dict[str, Value | list[Value]]
    request: RequestRecord | None = None
    selection_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: int
    seconds: Annotated[Finite, Field(ge=0)]
    images_read: dict[str, Count] = {}
    stopped_by: str = ""
    notes: list[str] = []
    device: str
    precision: str
    versions: dict[str, str]
    source: Source | None = None
    withheld: Count = 0
    evidence: Digest | None = None


class Record(Part):
    """The whole document; `lineage` lists the steps, oldest first.

    `architecture_config` is another library's own description of the network, `architecture_digest` that of the user's code.
    """

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA)] = SCHEMA
    architecture: str
    architecture_settings: dict[str, Value] = {}
    architecture_config: dict[str, Any] | None = None
    architecture_digest: Digest | None = None
    task: Literal["classes", "labels"] = "classes"
    classes: Annotated[list[str], Field(min_length=2)]
    size: Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)]
    resize: ResizeRecord | None = None
    channels: Literal[1, 3]
    mean: list[Finite]
    std: list[Annotated[Finite, Field(gt=0)]]
    head: str | None = None
    data: DataRecord | None = None
    lineage: list[Step] = []

    @model_validator(mode="after")
    def fits_together(self):
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError("mean and std need one number per channel")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names repeat")
        return self

    @property
    def input(self) -> Input:
        """What the network is fed."""
        resize = None if self.resize is None else Resize(as_size(self.resize.to), self.resize.interpolation, self.resize.half)
        return Input(as_size(self.size), tuple(self.mean), tuple(self.std), resize)

    def after(self, step: Step) -> "Record":
        return self.model_copy(update={"schema_version": SCHEMA, "lineage": [*self.lineage, step]})

    @property
    def request(self) -> RequestRecord | None:
        """The request of the last forgetting step, or of the training that left something out."""
        asked = [step.request for step in self.lineage if step.request]
        return asked[-1] if asked else None

    @property
    def last(self) -> Step | None:
        return self.lineage[-1] if self.lineage else None

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, allow_nan=False)


def as_size(recorded: int | list[int]) -> Size:
    return recorded if isinstance(recorded, int) else (recorded[0], recorded[1])


def recorded_size(size: Size) -> int | list[int]:
    return size if isinstance(size, int) else list(size)


def recorded_resize(resize: Resize | None) -> ResizeRecord | None:
    if resize is None:
        return None
    return ResizeRecord(to=recorded_size(resize.to), interpolation=resize.interpolation, half=resize.half)


def from_json(text: str, path: str) -> Record:
    """Parse and check a record; every mistake in it is one clear line that names the field."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnlearnError(f"{path}: its record is not JSON ({error}).", "the file is damaged: restore it.") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise UnlearnError(
            f"{path}: its record has version {version}, this program reads up to {SCHEMA}.", "upgrade unlearn-cli."
        )
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "record"
        raise UnlearnError(
            f"{path}: its record is not valid: {field}: {first['msg']}.", "the file is damaged or not ours: restore it."
        ) from None


def folder_from(checkpoint: Path | None, folder: str) -> Path:
    """Where the record's data folder lies, seen from the checkpoint's place (the working folder for a pipe)."""
    base = checkpoint.resolve().parent if checkpoint else Path.cwd()
    return base / folder


def folder_to(checkpoint: Path | None, root: Path) -> str:
    """The data folder as the record names it: relative where it lies below or beside the checkpoint."""
    base = checkpoint.resolve().parent if checkpoint else Path.cwd()
    root = root.resolve()
    return Path(os.path.relpath(root, base)).as_posix() if root.is_relative_to(base) else str(root)
