"""The deletion record: what was asked, how it was done, and what was measured, in one JSON file that names its evidence.

The same evaluation writes the same bytes: no time of day, no absolute path, keys in order, numbers in their shortest
exact form. A record is evidence; `jobs.verify_record` holds it against the files that it names.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field, ValidationError, model_validator

from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Count, Digest, Finite, Part, Positive, RequestRecord, Step, Value
from unlearn_cli.data.cache import read_index
from unlearn_cli.data.folder import Folder, fingerprint_of
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError, one_line
from unlearn_cli.jobs.forget import what_happened
from unlearn_cli.jobs.loading import Loaded
from unlearn_cli.metrics.report import Report, Row, finite, measures_as_dict

if TYPE_CHECKING:
    from unlearn_cli.jobs.evaluate import Case

SCHEMA = 1
KIND = "deletion record"
LARGEST = 64 << 20
"""Bytes of a record that is read: a million listed images fit."""


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


def claim(name: str, inputs: Sequence[str], options: Options) -> None:
    """Check before anything is measured that a record of these checkpoints may be written to NAME."""
    if store.PIPE in inputs:
        raise UnlearnError("a record names files, and standard input has no name.", "save the checkpoint to a file first.")
    store.claim(name, force=options.force, inputs=tuple(inputs), option="--record")


def write(
    name: str, report: Report, case: "Case", unlearned: Loaded, original: Loaded | None, references: Sequence[Loaded],
    test_fraction: float, options: Options,
) -> None:  # fmt: skip
    """Write the record of an evaluation.

    Args:
        test_fraction: of the data folder, where the checkpoint's own record does not say.
    """
    base = Path(name).resolve().parent
    folder, run = unlearned.folder, what_happened(unlearned.run(options))
    test = int(folder.images.test.sum())
    data = Data(
        path=place(folder.root, base),
        fingerprint=folder.fingerprint,
        train=len(folder.images) - test,
        test=test,
        test_fraction=unlearned.record.data.test_fraction if unlearned.record.data else test_fraction,
    )
    used = {key: run[key] for key in ("seed", "device", "precision", "versions")}
    document = Deletion(
        request=asked(case.request, folder, case.splits["forget"].tolist()),
        unlearned=file(unlearned, base),
        original=source(unlearned, original, base),
        references=[file(reference, base) for reference in references],
        data=data,
        evaluation=Evaluation(threads=torch.get_num_threads(), **used),
        measured=[measured(row) for row in report.rows],
        limits=[{key: finite(value) for key, value in vars(limit).items()} for limit in report.limits],
        verdict=report.verdict,
        exit_code=report.exit_code,
    )
    if os.environ.get("RANK", "0") == "0":
        text = document.model_copy(update={"digest": document.of_itself()}).to_json()
        store.replace_whole(name, lambda temporary: temporary.write_bytes(text))


def asked(request: RequestRecord, folder: Folder, positions: list[int]) -> Asked:
    """The request in full, and the training images at these positions that it means."""
    paths = [folder.images.paths[i] for i in positions]
    classes, instances = sorted(request.classes), [] if request.classes else sorted(paths)
    return Asked(
        classes=classes,
        instances=instances,
        digest=digest_of(classes or instances),
        images=len(paths),
        images_fingerprint=fingerprint_of(paths, contents(folder, positions)),
    )


def digest_of(names: Sequence[str]) -> str:
    """Of a request; for images, the digest that the checkpoint's own record has."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def contents(folder: Folder, positions: list[int]) -> np.ndarray:
    """(n, 32) uint8: SHA-256 of some of the images' files, from the index that opening the folder left in the cache."""
    paths = folder.images.paths
    index = read_index(os.path.abspath(folder.root))
    if index is not None and index.fingerprint == folder.fingerprint and index.names == "\0".join(paths):
        return index.digests[positions]
    digests = [hashlib.sha256(Path(folder.root, paths[i]).read_bytes()).digest() for i in positions]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def file(model: Loaded, base: Path) -> File:
    return File(path=place(model.checkpoint.path, base), digest=model.checkpoint.digest, lineage=model.record.lineage)


def source(unlearned: Loaded, original: Loaded | None, base: Path) -> Original | None:
    """The model before it forgot: as given, else as the lineage names it.

    Raises:
        UnlearnError: the one given is none of those that the lineage names.
    """
    sources = sources_of(unlearned.record.lineage)
    if original is None:
        first = next((step.source for step in unlearned.record.lineage if step.source), None)
        return Original(name=first.name, path=None, digest=first.digest, lineage=[]) if first else None
    digest = original.checkpoint.digest
    if sources and digest not in sources:
        raise UnlearnError(
            f"{original.name} is not the model that {unlearned.name} was made from (digest {digest[:16]}, not {sources[0][:16]}).",
            "pass the --original that its record names: `unlearn inspect` shows it.",
        )
    path = place(original.checkpoint.path, base)
    return Original(name=original.name, path=path, digest=digest, lineage=original.record.lineage)


def sources_of(lineage: Sequence[Step]) -> list[str]:
    """Digests of the models that the steps started from, oldest first."""
    return [step.source.digest for step in lineage if step.source]


def place(path: Path, base: Path) -> str:
    """A path as seen from the record's folder, by the folder it really lies in and its own name."""
    path = Path(path)
    try:
        found = Path(os.path.relpath(path.parent.resolve() / path.name, base)).as_posix()
        found.encode()
        return relative(found)
    except UnicodeEncodeError:
        raise UnlearnError(f"{path.name!r} is not UTF-8, and a record is.", "rename it.") from None
    except ValueError:
        raise UnlearnError(f"{path} cannot be named from the record's folder.", "write the record beside it.") from None


def measured(row: Row) -> Measured:
    found = measures_as_dict(row.measures)
    return Measured(label=row.label, role=row.role, reasons=found.pop("reasons"), details=found.pop("details"), metrics=found)


def read(name: str) -> Deletion:
    """Read a record with suspicion.

    Raises:
        UnlearnError: no such file, too large, not JSON, of another kind or version, or any field that cannot be right.
    """
    path = Path(name)
    try:
        if not path.is_file():
            what = "is no file" if os.path.lexists(path) else "no such file"
            raise UnlearnError(f"{name}: {what}.", "give the JSON file that `unlearn evaluate --record` wrote.")
        if path.stat().st_size > LARGEST:
            raise UnlearnError(f"{name} has {path.stat().st_size:,} bytes, too many for a record.", "it is another file.")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UnlearnError(f"{name}: {(error.strerror or str(error)).lower()}.", "check its permissions.") from None
    except UnicodeDecodeError:
        raise UnlearnError(f"{name} is not a text file.", "give the file that `unlearn evaluate --record` wrote.") from None
    try:
        document = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UnlearnError(f"{name} is not JSON ({one_line(error)}).", "it is damaged: restore it.") from None
    return checked(document, name)


def checked(document: Any, name: str) -> Deletion:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UnlearnError(f"{name} is not a deletion record.", "give the file that `unlearn evaluate --record` wrote.")
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA:
        raise UnlearnError(
            f"{name} has version {one_line(version)}, this program reads up to {SCHEMA}.", "upgrade unlearn-cli."
        )
    try:
        return Deletion.model_validate(document)
    except (ValidationError, RecursionError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
        field = one_line(".".join(str(part) for part in first["loc"])) or "record"
        raise UnlearnError(f"{name} is not valid: {field}: {one_line(first['msg'])}.", "it is damaged: restore it.") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers may disagree on one that says a thing twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key repeats")
    return found


def no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")
