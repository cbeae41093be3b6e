"""`unlearn relearn`."""

from typing import Annotated

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run

Attack = Annotated[
    str,
    o.option("--attack", help="What to train on: epochs, all images until the forgotten is known again; few-shot, a few forgotten "
             "images; retain, retain images alone. The last two draw curves.", panel=o.RUN, metavar="NAME", show_default=True),
]  # fmt: skip


def relearn(
    checkpoint: o.Checkpoint,
    original: o.Original = None,
    reference: o.References = None,
    attack: Attack = "epochs",
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
    cache_limit: o.CacheLimit = "4GB",
    quiet: o.Quiet = False,
    format: o.Format = None,
    json: o.Json = False,
) -> None:
    """Train copies of CHECKPOINT and of references on, and see how soon the forgotten is known again.

    Example: unlearn relearn model.lau-class-3.safetensors --reference without-3.safetensors
    """
    run.no_two_formats(json, format)
    with run.options(device, precision, seed, False, cache_limit, quiet) as options:
        from unlearn_cli import jobs
        from unlearn_cli.settings import from_text

        report = jobs.relearn(
            checkpoint,
            original=original,
            references=run.files(reference),
            attack=attack,
            request=run.request(classes, instances, images, column, strict, with_duplicates),
            lists=run.lists(forgotten, column),
            evidence=evidence,
            only_last=only_last,
            settings=from_text(settings or []),
            plain=run.plain(arch, data, size, mean, std, head, test_fraction, class_names, labels),
            options=options,
        )
    run.finish(report, json, format)
