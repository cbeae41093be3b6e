"""`unlearn evaluate`."""

from pathlib import Path
from typing import Annotated

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run
from unlearn_cli.errors import UnlearnError

Require = Annotated[
    list[str] | None,
    o.option("--require", help="A limit: 'forget_test_accuracy<=0.01', 'forget_accuracy=reference±0.05'; repeats.",
             panel=o.RESULT, metavar="LIMIT"),
]  # fmt: skip
Shadow = Annotated[
    list[str] | None,
    o.option("--shadow", help="A model that forgot the same by the same method from another seed, or a quoted pattern; repeats.",
             panel=o.MODEL, metavar="FILE"),
]  # fmt: skip
Verify = Annotated[
    str | None,
    o.option("--verify", help="Judge by the built-in policy: full, or output alone for a method that knowingly edits the head.",
             panel=o.RESULT, metavar="LEVEL"),
]  # fmt: skip
Junit = Annotated[
    str | None,
    o.option("--junit", help="Write a JUnit XML file with a test case per limit.", panel=o.RESULT, metavar="FILE"),
]
Blocks = Annotated[
    bool,
    o.option("--blocks", help="Compare the network with the original and the references, block by block (CKA).", panel=o.RESULT),
]
Record = Annotated[
    str | None,
    o.option("--record", help="Write a deletion record (JSON): the request, the method, the models, the data and the numbers.",
             panel=o.RESULT, metavar="FILE"),
]  # fmt: skip


def evaluate(
    checkpoint: o.Checkpoint,
    original: o.Original = None,
    reference: o.References = None,
    shadow: Shadow = None,
    verify: Verify = None,
    require: Require = None,
    blocks: Blocks = False,
    junit: Junit = None,
    record: Record = None,
    classes: o.Classes = None,
    instances: o.Instances = None,
    images: o.Images = None,
    column: o.Column = None,
    strict: o.Strict = False,
    with_duplicates: o.WithDuplicates = False,
    forgotten: o.Forgotten = None,
    evidence: o.Evidence = None,
    only_last: o.OnlyLast = False,
    data: o.Data = None,
    config: o.Config = None,
    arch: o.Arch = None,
    size: o.Size = None,
    mean: o.Mean = None,
    std: o.Std = None,
    head: o.Head = None,
    class_names: o.ClassNames = None,
    labels: o.Labels = None,
    test_fraction: o.TestFraction = 0.2,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    cache_limit: o.CacheLimit = "4GB",
    quiet: o.Quiet = False,
    format: o.Format = None,
    json: o.Json = False,
) -> None:
    """Measure what CHECKPOINT still knows, and leave with code 1 if a limit is not met.

    Example: unlearn evaluate model.lau-class-3.safetensors --reference without-3.safetensors --require 'forget_test_accuracy<=0.01'
    """
    from unlearn_cli.metrics import requirements

    run.no_two_formats(json, format)
    requirements.parse(require or [])
    if junit is not None and not (require or verify):
        raise UnlearnError("--junit has a test case per limit, and no limit is given.", "add --verify or --require.")
    if junit is not None and record is not None and Path(junit).resolve() == Path(record).resolve():
        raise UnlearnError("--junit and --record name the same file.", "give each its own.")
    references, shadows = run.files(reference), run.files(shadow)
    with run.options(device, precision, seed, force, cache_limit, quiet) as options:
        from unlearn_cli import jobs
        from unlearn_cli.checkpoints import store

        if junit is not None:
            given = (checkpoint, *references, *([original] if original else ()))
            store.claim(junit, force=force, inputs=given, option="--junit")
        report = jobs.evaluate(
            checkpoint,
            original=original,
            references=references,
            shadows=shadows,
            verify=verify,
            require=require or (),
            blocks=blocks,
            record=record,
            request=run.request(classes, instances, images, column, strict, with_duplicates),
            lists=run.lists(forgotten, column),
            evidence=evidence,
            only_last=only_last,
            plain=run.plain(arch, data, size, mean, std, head, test_fraction, class_names, labels),
            options=options,
        )
    if junit is not None and run.first():
        from unlearn_cli.cli.formats import as_junit

        store.replace_whole(junit, lambda temporary: temporary.write_bytes(as_junit(report)))
    run.finish(report, json, format)
