"""`unlearn forget`."""

from typing import Annotated

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run

Method = Annotated[
    str,
    o.option("--method", "-m", help="How to forget; `unlearn methods` lists them.", panel=o.ASKED, metavar="NAME"),
]

Log = Annotated[
    str | None,
    o.option("--log", help="Write loss, accuracies, images read and seconds per epoch to this CSV file.", panel=o.RESULT,
             metavar="FILE"),
]  # fmt: skip
KeepEvidence = Annotated[
    bool,
    o.option("--keep-evidence", help="Write which images all its requests mean beside the output, for when these are erased.",
             panel=o.RESULT),
]  # fmt: skip
SelectionFraction = Annotated[
    float,
    o.option("--selection-fraction", help="Share of the test images set aside where a method or --log needs some to choose by.",
             panel=o.ASKED, show_default=True, min=0, max=0.9),
]  # fmt: skip


def forget(
    checkpoint: o.Checkpoint,
    method: Method,
    classes: o.Classes = None,
    instances: o.Instances = None,
    images: o.Images = None,
    column: o.Column = None,
    strict: o.Strict = False,
    with_duplicates: o.WithDuplicates = False,
    forgotten: o.Forgotten = None,
    evidence: o.Evidence = None,
    data: o.Data = None,
    output: o.Output = None,
    log: Log = None,
    keep_evidence: KeepEvidence = False,
    selection_fraction: SelectionFraction = 0.2,
    settings: o.Settings = None,
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
    json: o.Json = False,
) -> None:
    """Write a copy of CHECKPOINT without the influence of the named classes or images.

    Example: unlearn forget --method lau --class 3 model.safetensors
    """
    run.no_two_on_stdout(output, json)
    with run.options(device, precision, seed, force, cache_limit, quiet) as options:
        from unlearn_cli import jobs
        from unlearn_cli.settings import from_text

        report = jobs.forget(
            checkpoint,
            method,
            run.request(classes, instances, images, column, strict, with_duplicates),
            output=output,
            settings=from_text(settings or []),
            log=log,
            keep_evidence=keep_evidence,
            selection_fraction=selection_fraction,
            lists=run.lists(forgotten, column),
            evidence=evidence,
            plain=run.plain(arch, data, size, mean, std, head, test_fraction, class_names, labels),
            options=options,
        )
    run.finish(report, json)
