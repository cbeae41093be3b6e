"""Writing the deletion record of an evaluation: the same evaluation writes the same bytes."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from unlearn_cli.cases import requests
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
    Judged,
    Measured,
    Original,
    digest_of,
    relative,
    sources_of,
)
from unlearn_cli.data.copies import digests_of
from unlearn_cli.data.folder import Folder, fingerprint_of
from unlearn_cli.engine.launch import launched
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.report import Limit, Report, Row, finite, measures_as_dict


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
    request, others, others_fingerprint = asked(case, folder)
    data = Data(
        path=place(folder.root, base),
        fingerprint=folder.fingerprint,
        train=len(folder.images) - test,
        test=test,
        test_fraction=unlearned.record.data.test_fraction if unlearned.record.data else test_fraction,
        others=others,
        others_fingerprint=others_fingerprint,
    )
    used = {key: run[key] for key in ("seed", "device", "precision", "versions")}
    document = Deletion(
        request=request,
        unlearned=file(unlearned, base),
        original=source(unlearned, original, base),
        references=[file(reference, base) for reference in references],
        data=data,
        evaluation=Evaluation(threads=torch.get_num_threads(), **used),
        measured=[measured(row) for row in report.rows],
        limits=plain(report.limits),
        verdict=report.verdict,
        exit_code=report.exit_code,
        parts=[
            Judged(request=one.request, limits=plain(one.limits), verdict=one.verdict, exit_code=one.exit_code)
            for one in report.parts
        ],
    )
    if launched().first:
        text = document.model_copy(update={"digest": document.of_itself()}).to_json()
        store.replace_whole(name, lambda temporary: temporary.write_bytes(text))


def asked(case: Whole, folder: Folder) -> tuple[Asked, int, str]:
    """All that was asked, in full, with the images that it names; and how many images stay, and their fingerprint."""
    images = folder.images
    targets = [one.target for one in case.cases[: case.kinds]]
    classes = sorted({name for target in targets for name in target.classes})
    instances = sorted({path for target in targets for path in target.paths})
    names = [folder.classes[i] for i in images.labels.tolist()]
    trained, tested, others = requests.named(classes, instances, images.paths, names, images.test.tolist())

    def fingerprint(positions: list[int]) -> str:
        return fingerprint_of([images.paths[i] for i in positions], digests_of(folder, positions))

    whole = Asked(
        classes=classes,
        instances=instances,
        digest=digest_of([*classes, *instances]),
        images=len(trained),
        images_fingerprint=fingerprint(trained),
        test_images=len(tested),
        test_images_fingerprint=fingerprint(tested),
    )
    return whole, len(others), fingerprint(others)


def file(model: Loaded, base: Path) -> File:
    if model.checkpoint.origin:
        raise UnlearnError(f"{model.name} lies in a cache, and a record names checkpoints by their place.",
                           "copy it into a folder of your own, and give that.")  # fmt: skip
    return File(path=place(model.checkpoint.path, base), digest=model.checkpoint.digest, lineage=model.record.lineage)


def source(unlearned: Loaded, original: Loaded | None, base: Path) -> Original | None:
    """The model before it forgot: as given, else as the lineage names it.

    Raises:
        UnlearnError: the one given is none of those that the lineage names.
    """
    sources = sources_of(unlearned.record.lineage)
    if original is None:
        first = next((step.source for step in unlearned.record.lineage if step.source and step.operation != "train"), None)
        return Original(name=first.name, path=None, digest=first.digest, lineage=[]) if first else None
    digest = original.checkpoint.digest
    if sources and digest not in sources:
        raise UnlearnError(
            f"{original.name} is not the model that {unlearned.name} was made from (digest {digest[:16]}, not {sources[0][:16]}).",
            "pass the --original that its record names: `unlearn inspect` shows it.",
        )
    path = None if original.checkpoint.origin else place(original.checkpoint.path, base)
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


def plain(limits: Sequence[Limit]) -> list[dict]:
    return [{key: finite(value) for key, value in vars(limit).items()} for limit in limits]


def measured(row: Row) -> Measured:
    found = measures_as_dict(row.measures)
    return Measured(label=row.label, role=row.role, reasons=found.pop("reasons"), details=found.pop("details"), metrics=found)
