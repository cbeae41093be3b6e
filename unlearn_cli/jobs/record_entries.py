"""The entries of a deletion record, each held against the file or the images that it names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from unlearn_cli.cases import requests
from unlearn_cli.cases.folders import decoding
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.deletion import Asked, Deletion, File, Original, digest_of, sources_of
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.data.folder import fingerprint_of, read_anew
from unlearn_cli.engine.progress import Silent
from unlearn_cli.errors import UnlearnError, one_line


class Differs(Exception):
    """What is there is not what the record says."""


class Found(NamedTuple):
    """What became of one entry: "matches", "differs", "missing" (cannot be read), or "named only" (nothing to read)."""

    name: str
    outcome: str
    words: str


def entries(told: Deletion, path: Path, progress: Silent) -> list[Found]:
    """The record's own digest, its checkpoints, its request and its images, looked for from the folder the record lies in."""
    base = path.resolve().parent
    found = [outcome("record", path.name, lambda: compare_itself(told)), look(told, base, "unlearned", told.unlearned)]
    if told.original is not None:
        found.append(look(told, base, "original", told.original))
    many = len(told.references) > 1
    found += [look(told, base, f"reference_{i}" if many else "reference", file) for i, file in enumerate(told.references, 1)]
    return found + look_at_data(told, base, progress)


def compare_itself(told: Deletion) -> None:
    if told.of_itself() != told.digest:
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
        path = existing(base, file.path, Path.is_file)
        read = store.read(str(path))
        lineage = read.record.lineage if read.record else []
        if read.digest != file.digest:
            raise Differs(f"its tensors have the digest {read.digest[:16]}, the record has {file.digest[:16]}")
        if lineage != file.lineage:
            raise Differs("the tensors match, but the file tells another history of them than the record")

    return outcome(role, file.path or file.name, compare)


def look_at_data(told: Deletion, base: Path, progress: Silent) -> list[Found]:
    """The request's own words, then every image of the folder, read afresh."""
    asked, listing, digests = told.request, None, None

    def compare_request() -> None:
        names = asked.classes or asked.instances
        if digest_of(names) != asked.digest:
            raise Differs(f"its digest is {digest_of(names)[:16]}, the record has {asked.digest[:16]}")

    def compare_data() -> None:
        nonlocal listing, digests
        root = existing(base, told.data.path, Path.is_dir)
        listing, digests = read_anew(root, told.data.test_fraction, decoding(progress))
        fingerprint, test = fingerprint_of(listing.paths, digests), int(listing.test.sum())
        counts = (len(listing.paths) - test, test)
        if fingerprint != told.data.fingerprint or counts != (told.data.train, told.data.test):
            raise Differs(
                f"{counts[0]:,} train and {counts[1]:,} test images with the fingerprint {fingerprint[:16]}, "
                f"the record has {told.data.train:,} and {told.data.test:,} with {told.data.fingerprint[:16]}"
            )

    def compare_images() -> None:
        if listing is None:
            raise UnlearnError("the data folder cannot be read.")
        chosen = positions(asked, listing)
        fingerprint = fingerprint_of([listing.paths[i] for i in chosen], digests[chosen])
        if len(chosen) != asked.images or fingerprint != asked.images_fingerprint:
            raise Differs(
                f"{len(chosen):,} images with the fingerprint {fingerprint[:16]}, "
                f"the record has {asked.images:,} with {asked.images_fingerprint[:16]}"
            )

    request = outcome("request", in_words(asked), compare_request)
    data = outcome("data", told.data.path, compare_data)
    return [request, data, outcome("images_to_forget", f"{asked.images:,} images", compare_images)]


def positions(asked: Asked, listing) -> list[int]:
    """Where the training images that the request means stand in the listing; those that went away are left out."""
    if asked.classes:
        chosen = {i for i, name in enumerate(listing.classes) if name in asked.classes}
        return [i for i, label in enumerate(listing.labels.tolist()) if label in chosen and not listing.test[i]]
    wanted = set(asked.instances)
    return [i for i, path in enumerate(listing.paths) if path in wanted and not listing.test[i]]


def existing(base: Path, path: str, kind: Callable[[Path], bool]) -> Path:
    """The path, where something of that kind lies; a device or a pipe in its place is never opened."""
    place = base / path
    try:
        if kind(place):
            return place
    except OSError:  # a name too long for any file
        pass
    raise UnlearnError("no such " + ("file." if kind is Path.is_file else "folder."))


def outcome(name: str, what: str, compare: Callable[[], None]) -> Found:
    what = one_line(what)
    try:
        compare()
    except Differs as difference:
        return Found(name, "differs", f"{what}: DIFFERS: {difference}")
    except UnlearnError as error:
        return Found(name, "missing", f"{what}: NOT READ: {one_line(error.problem).removesuffix('.')}")
    return Found(name, "matches", f"{what}: matches")


def in_words(asked: Asked) -> str:
    return one_line(requests.in_words(RequestRecord(classes=asked.classes, instances_count=len(asked.instances))))
