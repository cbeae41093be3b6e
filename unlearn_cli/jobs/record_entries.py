"""The entries of a deletion record, each held against the file or the images that it names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unlearn_cli.cases import requests
from unlearn_cli.cases.folders import decoding
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.deletion import Asked, Deletion, File, Original, digest_of, sources_of
from unlearn_cli.checkpoints.folders import is_one
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.data.folder import fingerprint_of, read_anew
from unlearn_cli.engine.progress import Silent
from unlearn_cli.errors import UnlearnError, one_line


class Differs(Exception):
    """What is there is not what the record says."""


class Found(NamedTuple):
    """What became of one entry: "matches", "erased" (gone as it was to be), "differs", "missing" (cannot be read), or "named only"
    (nothing to read)."""

    name: str
    outcome: str
    words: str


def entries(told: Deletion, digest: str, path: Path, progress: Silent) -> list[Found]:
    """The record's own digest, its checkpoints, its request and its images, looked for from the folder the record lies in.

    Args:
        digest: of what stands in the record's file.
    """
    base = path.resolve().parent
    found = [outcome("record", path.name, lambda: compare_itself(told, digest)), look(told, base, "unlearned", told.unlearned)]
    if told.original is not None:
        found.append(look(told, base, "original", told.original))
    many = len(told.references) > 1
    found += [look(told, base, f"reference_{i}" if many else "reference", file) for i, file in enumerate(told.references, 1)]
    return found + look_at_data(told, base, progress)


def compare_itself(told: Deletion, digest: str) -> None:
    if digest != told.digest:
        raise Differs("it was changed after it was written, or is damaged: its own digest is another")


def look(told: Deletion, base: Path, role: str, file: File | Original) -> Found:
    """One checkpoint: its tensors, and what it says of its own past."""
    sources = sources_of(told.unlearned.lineage)
    stranger = role == "original" and sources and file.digest not in sources
    if file.path is None and not stranger:
        return Found(role, "named only", f"{one_line(file.name)}, known by its digest {file.digest[:16]} only: not looked at")

    def compare() -> None:
        if stranger:
            raise Differs("it is none of the models that the unlearned one was made from")
        path = existing(base, file.path, _is_checkpoint)
        read = store.read(str(path))
        lineage = read.record.lineage if read.record else []
        if read.digest != file.digest:
            raise Differs(f"its tensors have the digest {read.digest[:16]}, the record has {file.digest[:16]}")
        if lineage != file.lineage:
            raise Differs("the tensors match, but the file tells another history of them than the record")

    return outcome(role, file.path or file.name, compare)


class Listed(NamedTuple):
    """A folder as it was read afresh: of each image its path, its file's digest, and whether it is a test image.

    Args:
        parts: positions of the training images that the request names, of the test images of its classes, and of all others.
    """

    paths: list[str]
    digests: np.ndarray
    test: list[bool]
    parts: tuple[list[int], list[int], list[int]]

    def fingerprint(self, positions: Sequence[int]) -> str:
        return fingerprint_of([self.paths[i] for i in positions], self.digests[positions])


def look_at_data(told: Deletion, base: Path, progress: Silent) -> list[Found]:
    """The request's own words, then every image of the folder, read afresh."""
    asked, listed, is_erased = told.request, None, False

    def compare_request() -> None:
        if digest_of(asked.names) != asked.digest:
            raise Differs(f"its digest is {digest_of(asked.names)[:16]}, the record has {asked.digest[:16]}")

    def compare_data() -> str | None:
        nonlocal listed, is_erased
        listed = read_folder(told, base, progress)
        every, test = range(len(listed.paths)), sum(listed.test)
        fingerprint, counts = listed.fingerprint(every), (len(listed.paths) - test, test)
        if fingerprint == told.data.fingerprint and counts == (told.data.train, told.data.test):
            return None
        if words := without_the_erased(told, listed):
            is_erased = True
            return words
        raise Differs(
            f"{counts[0]:,} train and {counts[1]:,} test images with the fingerprint {fingerprint[:16]}, "
            f"the record has {told.data.train:,} and {told.data.test:,} with {told.data.fingerprint[:16]}"
        )

    def compare_images() -> str | None:
        if listed is None:
            raise UnlearnError("the data folder cannot be read.")
        chosen = listed.parts[0]
        fingerprint = listed.fingerprint(chosen)
        if len(chosen) == asked.images and fingerprint == asked.images_fingerprint:
            return None
        if is_erased and not chosen:
            return "erased"
        if told.schema_version > 1 and 0 < len(chosen) < asked.images:
            gone = asked.images - len(chosen)
            raise UnlearnError(f"{gone:,} of them are gone, and whether the other {len(chosen):,} are the same cannot be told.")
        raise Differs(
            f"{len(chosen):,} images with the fingerprint {fingerprint[:16]}, "
            f"the record has {asked.images:,} with {asked.images_fingerprint[:16]}"
        )

    request = outcome("request", in_words(asked), compare_request)
    data = outcome("data", told.data.path, compare_data)
    return [request, data, outcome("images_to_forget", f"{asked.images:,} images", compare_images)]


def read_folder(told: Deletion, base: Path, progress: Silent) -> Listed:
    """The data folder, in which classes that were forgotten may be missing; version 1 cannot say what is left without them."""
    asked, lineage = told.request, told.unlearned.lineage
    forgotten = [*asked.classes, *(name for step in lineage if step.request for name in step.request.classes)]
    root = existing(base, told.data.path, Path.is_dir)
    may_lack = forgotten if told.schema_version > 1 else ()
    # A folder that may be a part of a data set is read as far as it goes: fingerprints tell whether it is what it was.
    listing, digests = read_anew(root, told.data.test_fraction, decoding(progress), may_lack, partial=told.schema_version > 1)
    names, test = [listing.classes[i] for i in listing.labels.tolist()], listing.test.tolist()
    return Listed(listing.paths, digests, test, requests.named(asked.classes, asked.instances, listing.paths, names, test))


def without_the_erased(told: Deletion, listed: Listed) -> str:
    """What to say of a folder from which images to forget were erased and nothing else changed; nothing where that is not so.

    Raises:
        UnlearnError: some of them are left, and nobody can tell whether these are the same.
    """
    asked, data = told.request, told.data
    trained, tested, others = listed.parts
    if told.schema_version == 1 or (len(others), listed.fingerprint(others)) != (data.others, data.others_fingerprint):
        return ""
    halves = (
        ("training", trained, asked.images, asked.images_fingerprint),
        ("test", tested, asked.test_images, asked.test_images_fingerprint),
    )
    changed = [half for half in halves if (len(half[1]), listed.fingerprint(half[1])) != half[2:]]
    if not changed or any(len(found) >= count for _, found, count, _ in changed):
        return ""
    for name, found, count, _ in changed:
        if found:
            raise UnlearnError(f"{count - len(found):,} of the {count:,} {name} images to forget are gone, and whether the others "
                               "are the same cannot be told.")  # fmt: skip
    gone = "the images to forget" if not trained and not tested else f"the {changed[0][0]} images to forget"
    return f"{gone} were erased, all {data.others:,} others are as they were"


def existing(base: Path, path: str, kind: Callable[[Path], bool]) -> Path:
    """The path, where something of that kind lies; a device or a pipe in its place is never opened."""
    place = base / path
    try:
        if kind(place):
            return place
    except OSError:  # a name too long for any file
        pass
    raise UnlearnError("no such " + ("folder." if kind is Path.is_dir else "file."))


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() or is_one(path)


def outcome(name: str, what: str, compare: Callable[[], str | None]) -> Found:
    """What became of an entry; `compare` gives words where what is missing was erased, as it was to be."""
    what = one_line(what)
    try:
        erased = compare()
    except Differs as difference:
        return Found(name, "differs", f"{what}: DIFFERS: {difference}")
    except UnlearnError as error:
        return Found(name, "missing", f"{what}: NOT READ: {one_line(error.problem).removesuffix('.')}")
    return Found(name, "erased", f"{what}: {erased}") if erased else Found(name, "matches", f"{what}: matches")


def in_words(asked: Asked) -> str:
    return one_line(requests.in_words(RequestRecord(classes=asked.classes, instances_count=len(asked.instances))))
