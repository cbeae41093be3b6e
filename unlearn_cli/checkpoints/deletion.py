"""The deletion record: what was asked, how it was done, and what was measured, in one JSON file that names its evidence.

No time of day, no absolute path, keys in order, numbers in their shortest exact form. A record is evidence;
`jobs.verify_record` holds it against the files that it names.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from unlearn_cli.checkpoints.record import Count, Digest, Finite, Part, Positive, Step, Value

SCHEMA = 1
KIND = "deletion record"


def relative(path: str) -> str:
    """A path as a record may name it: relative to the record's folder, so that no record points at a fixed place."""
    if not path or "\0" in path or path.startswith("/") or Path(path).is_absolute() or Path(path).drive:
        raise ValueError("a path is relative to the record's folder")
    return path


RelativePath = Annotated[str, AfterValidator(relative)]


class Asked(Part):
    """The request: class names, or image paths relative to the data folder, sorted.

    `digest` is SHA-256 over the names joined by newlines, `images` counts the training images that they mean, and
    `images_fingerprint` is SHA-256 over path, zero byte and SHA-256 of the file of each, by path.
    """

    classes: list[str] = []
    instances: list[str] = []
    digest: Digest
    images: Positive
    images_fingerprint: Digest

    @model_validator(mode="after")
    def asks_for_one_kind(self):
        if bool(self.classes) == bool(self.instances):
            raise ValueError("a request names classes or images, one of the two")
        return self


class File(Part):
    """A checkpoint: where it lay, the digest of its tensors, and what it says was done to them."""

    path: RelativePath
    digest: Digest
    lineage: list[Step]


class Original(Part):
    """The model before it forgot; without a path where only the unlearned model's lineage tells of it."""

    name: str
    path: RelativePath | None
    digest: Digest
    lineage: list[Step]


class Data(Part):
    """The images that were measured on: SHA-256 over path, zero byte and SHA-256 of the file of each, by path."""

    path: RelativePath
    fingerprint: Digest
    train: Positive
    test: Count
    test_fraction: Annotated[float, Field(gt=0, lt=1)]


class Evaluation(Part):
    """What the numbers were measured with."""

    seed: int
    device: str
    precision: str
    threads: Positive
    versions: dict[str, str]


class Measured(Part):
    """One model's numbers; null has its reason."""

    label: str
    role: Literal["original", "reference", "unlearned", "evaluated"]
    metrics: dict[str, Finite | None]
    reasons: dict[str, str]
    details: dict[str, dict[str, Value | list[Value]]]


class Deletion(Part):
    """The whole document; `digest` is SHA-256 over the rest of it, against slips of the hand and not against forgers."""

    schema_version: Annotated[int, Field(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    kind: Literal["deletion record"] = KIND
    request: Asked
    unlearned: File
    original: Original | None
    references: list[File]
    data: Data
    evaluation: Evaluation
    measured: list[Measured]
    limits: list[dict[str, Value]]
    verdict: str
    exit_code: Annotated[int, Field(ge=0, le=2)]
    digest: Digest | None = None

    def of_itself(self) -> str:
        """The digest that the document should have."""
        return hashlib.sha256(self.to_json("digest")).hexdigest()

    def to_json(self, *without: str) -> bytes:
        document = self.model_dump(mode="json", exclude=set(without))
        return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"


def digest_of(names: Sequence[str]) -> str:
    """Of a request; for images, the digest that the checkpoint's own record has."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def sources_of(lineage: Sequence[Step]) -> list[str]:
    """Digests of the models that the steps started from, oldest first."""
    return [step.source.digest for step in lineage if step.source]
