"""The deletion record: what was asked, how it was done, and what was measured, in one JSON file that names its evidence.

No time of day, no absolute path, keys in order, numbers in their shortest exact form. A record is evidence;
`jobs.verify_record` holds it against the files that it names.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from unlearn_cli.checkpoints import documents
from unlearn_cli.checkpoints.record import Count, Digest, Finite, Part, Positive, Step, Value

SCHEMA = 2
"""2: classes and images at once, a verdict for each request, and what the images that stay are known by."""
KIND = "deletion record"
LAYOUT = {"ensure_ascii": False, "indent": 2}
"""Of the file: it is made to be read by people too."""


def relative(path: str) -> str:
    """A path as a record may name it: relative to the record's folder, so that no record points at a fixed place."""
    if not path or "\0" in path or path.startswith("/") or Path(path).is_absolute() or Path(path).drive:
        raise ValueError("a path is relative to the record's folder")
    return path


RelativePath = Annotated[str, AfterValidator(relative)]


class Asked(Part):
    """All that was asked: class names, and image paths relative to the data folder, sorted.

    `digest` is SHA-256 over the names joined by newlines, `images` counts the training images that they mean, and
    `images_fingerprint` is SHA-256 over path, zero byte and SHA-256 of the file of each, by path. `test_images` are those
    of the classes; version 1 does not have them.
    """

    classes: list[str] = []
    instances: list[str] = []
    digest: Digest
    images: Count
    images_fingerprint: Digest
    test_images: Count | None = None
    test_images_fingerprint: Digest | None = None

    @property
    def names(self) -> list[str]:
        return [*self.classes, *self.instances]

    @model_validator(mode="after")
    def asks_for_something(self):
        if not self.names:
            raise ValueError("a request names classes or images")
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
    """The images that were measured on: SHA-256 over path, zero byte and SHA-256 of the file of each, by path.

    `others` counts those that no request means, which stay when the others are erased; version 1 does not have them.
    """

    path: RelativePath
    fingerprint: Digest
    train: Positive
    test: Count
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    others: Count | None = None
    others_fingerprint: Digest | None = None


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


class Judged(Part):
    """What the limits made of one request of several, or of all those of one kind; `request` is in words."""

    request: str
    limits: list[dict[str, Value]]
    verdict: str
    exit_code: Annotated[int, Field(ge=0, le=2)]


class Deletion(Part):
    """The whole document; `digest` is SHA-256 over the rest of it, against slips of the hand and not against forgers."""

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA)] = SCHEMA
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
    parts: list[Judged] = []
    digest: Digest | None = None

    @model_validator(mode="after")
    def has_what_its_version_has(self):
        asked, data = self.request, self.data
        added = (asked.test_images, asked.test_images_fingerprint, data.others, data.others_fingerprint)
        if self.schema_version == 1 and (bool(asked.classes) == bool(asked.instances) or any(x is not None for x in added)):
            raise ValueError("version 1 names classes or images, one of the two, and no others")
        if self.schema_version > 1 and any(x is None for x in added):
            raise ValueError("the test images to forget and the images that stay have counts and fingerprints")
        return self

    def of_itself(self) -> str:
        """The digest that the document should have."""
        return documents.digest_of(self.model_dump(mode="json"), **LAYOUT)

    def to_json(self) -> bytes:
        return documents.as_bytes(self.model_dump(mode="json"), **LAYOUT)


def digest_of(names: Sequence[str]) -> str:
    """Of a request; for images, the digest that the checkpoint's own record has."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def sources_of(lineage: Sequence[Step]) -> list[str]:
    """Digests of the models that forgot in its steps, oldest first."""
    return [step.source.digest for step in lineage if step.source and step.operation != "train"]
