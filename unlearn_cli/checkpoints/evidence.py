"""Evidence: what later steps need to know of images that were forgotten and may be gone, in a JSON file beside a checkpoint.

The checkpoint's record has the digest of this file, and this file the digest of the checkpoint's tensors, so that neither
can stand beside another. Images are known by where they lay and by the SHA-256 of their files; nothing of them is in it.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from unlearn_cli.checkpoints import documents
from unlearn_cli.checkpoints.record import Digest, Part, RequestRecord
from unlearn_cli.errors import UnlearnError

SCHEMA = 1
KIND = "evidence"
LARGEST = 512 << 20
"""Bytes that are read: two million images fit."""
WRITER = "unlearn forget --keep-evidence"


def written(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("a name is not empty and has no zero byte")
    return text


class Image(Part):
    """One image that a request means.

    Args:
        path: relative to the data folder; class_name: of the folder that it lay in.
    """

    path: Annotated[str, AfterValidator(written)]
    digest: Digest
    split: Literal["train", "test"]
    class_name: Annotated[str, AfterValidator(written)]


class Meant(Part):
    """A request of the lineage, with all the paths of its list if they are known, and the images that were seen of it.

    Of a class these are the training and the test images, of a list the training images.
    """

    request: RequestRecord
    images: list[Image]

    @property
    def key(self) -> tuple:
        return self.request.key


class Evidence(Part):
    """The whole document; `requests` are those of the lineage, oldest first, and `digest` is SHA-256 over the rest."""

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA)] = SCHEMA
    kind: Literal["evidence"] = KIND
    checkpoint: Digest
    requests: list[Meant]
    digest: Digest | None = None

    @property
    def lists(self) -> list[list[str]]:
        """The paths of the lists that are known in full."""
        return [meant.request.instances for meant in self.requests if meant.request.instances]

    def of(self, request: RequestRecord) -> list[Image]:
        """The images that were seen of a request."""
        return next((meant.images for meant in self.requests if meant.key == request.key), [])

    def signed(self) -> "Evidence":
        return self.model_copy(update={"digest": documents.digest_of(self.model_dump())})

    def to_json(self) -> bytes:
        return documents.as_bytes(self.model_dump())


def read(name: str) -> Evidence:
    """Read evidence with suspicion.

    Raises:
        UnlearnError: no such file, too large, not JSON, of another kind or version, changed since it was written, or any
            field that cannot be right.
    """
    document = documents.read(name, LARGEST, WRITER)
    found = checked(document, name)
    own = documents.digest_of(document)
    if found.digest != own:
        raise UnlearnError(
            f"{name} was changed after it was written: its digest is {own[:16]}, and it says {(found.digest or 'none')[:16]}.",
            "restore it, or take it away: without it, images that were erased are unknown.",
        )
    return found


def checked(document: Any, name: str) -> Evidence:
    return documents.checked(document, name, Evidence, KIND, "evidence of what was forgotten", SCHEMA, WRITER)
