"""`unlearn evaluate`."""

from typing import Annotated

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run

Require = Annotated[
    list[str] | None,
    o.option("--require", help="A limit: 'forget_test_accuracy<=0.01', 'forget_accuracy=reference±0.05'; repeats.",
             panel=o.RESULT, metavar="LIMIT"),
]  # fmt: skip


def evaluate(
    checkpoint: o.Checkpoint,
    original: o.Original = None,
    reference: o.References = None,
    require: Require = None,
    classes: o.Classes = None,
    instances: o.Instances = None,
    data: o.Data = None,
    config: o.Config = None,
    arch: o.Arch = None,
    size: o.Size = None,
    mean: o.Mean = None,
    std: o.Std = None,
    head: o.Head = None,
    test_fraction: o.TestFraction = 0.2,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    seed: o.Seed = 0,
    cache_limit: o.CacheLimit = "4GB",
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Measure what CHECKPOINT still knows, and leave with code 1 if a limit is not met.

    Example: unlearn evaluate model.lau-class-3.safetensors --reference without-3.safetensors --require 'forget_test_accuracy<=0.01'
    """
    from unlearn_cli.metrics import verdict

    verdict.parse(require or [])
    with run.options(device, precision, seed, False, cache_limit, quiet) as options:
        from unlearn_cli import jobs

        report = jobs.evaluate(
            checkpoint,
            original=original,
            references=reference or (),
            require=require or (),
            request=run.request(classes, instances),
            plain=run.plain(arch, data, size, mean, std, head, test_fraction),
            options=options,
        )
    run.finish(report, json)
