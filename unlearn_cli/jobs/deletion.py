"""Writing the deletion record of an evaluation: the same evaluation writes the same bytes."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from unlearn_cli.cases.case import Asked as Whole
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.cases.unlearning import what_happened
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.deletion import (
    Asked,
    Data,
    Deletion,
    Evaluation,
    File,
    Measured,
    Original,
    digest_of,
    relative,
    sources_of,
)
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.data.cache import read_index
from unlearn_cli.data.folder import Folder, fingerprint_of
from unlearn_cli.engine.launch import launched
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.report import Report, Row, finite, measures_as_dict


def claim(name: str, inputs: Sequence[str], options: Options) -> None:
    """Check before anything is measured that a record of these checkpoints may be written to NAME."""
    if store.PIPE in inputs:
        raise UnlearnError("a record names files, and standard input has no name.", "save the checkpoint to a file first.")
    store.claim(name, force=options.force, inputs=tuple(inputs), option="--record")


def write(
    name: str, report: Report, case: Whole, unlearned: Loaded, original: Loaded | None, references: Sequence[Loaded],
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
        request=asked(case.request, folder, case.forget.tolist()),
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
    if launched().first:
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
