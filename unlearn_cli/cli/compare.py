"""`unlearn compare`."""

from typing import Annotated

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run
from unlearn_cli.errors import UnlearnError

Methods = Annotated[
    str | None,
    o.option("--methods", help="Methods to run on the one checkpoint: lau,mask,fine-tune.", panel=o.ASKED, metavar="NAMES"),
]
Seeds = Annotated[
    int,
    o.option("--seeds", help="How many seeds each method runs with.", panel=o.RUN, min=1, metavar="N", show_default=True),
]
Fresh = Annotated[bool, o.option("--fresh", help="Run methods again where their runs were kept from before.", panel=o.RUN)]
Verify = Annotated[
    str | None,
    o.option("--verify", help="Judge each row by the built-in policy, full or output; the exit code stays 0.", panel=o.RESULT,
             metavar="LEVEL"),
]  # fmt: skip
Sort = Annotated[
    str | None,
    o.option("--sort", help="The metric that orders the unlearned rows, best first.", panel=o.RESULT, metavar="METRIC"),
]
AllMetrics = Annotated[
    bool, o.option("--all-metrics", help="Show every metric, not only those that matter most.", panel=o.RESULT)
]


def compare(
    checkpoints: o.Checkpoints,
    methods: Methods = None,
    seeds: Seeds = 1,
    fresh: Fresh = False,
    reference: o.References = None,
    verify: Verify = None,
    sort: Sort = None,
    all_metrics: AllMetrics = False,
    classes: o.Classes = None,
    instances: o.Instances = None,
    images: o.Images = None,
    column: o.Column = None,
    strict: o.Strict = False,
    with_duplicates: o.WithDuplicates = False,
    forgotten: o.Forgotten = None,
    evidence: o.Evidence = None,
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
    """Show checkpoints side by side, or run methods on one and show the results; code 0 whatever they are.

    Example: unlearn compare model.safetensors --class 3 --methods lau,mask,fine-tune --seeds 3
    """
    from unlearn_cli.metrics import policy, requirements

    run.no_two_formats(json, format)
    names = [name.strip() for name in (methods or "").split(",") if name.strip()]
    if methods is not None and not names:
        raise UnlearnError(f"--methods '{methods}' names no method.", "write it as --methods lau,mask.")
    if seeds > 1 and not names:
        raise UnlearnError("--seeds repeats methods, and none is named.", "add --methods lau,mask.")
    if fresh and not names:
        raise UnlearnError("--fresh runs methods again, and none is named.", "add --methods lau,mask.")
    policy.check(verify)
    if sort is not None:
        requirements.metric_called(sort)
    with run.options(device, precision, seed, False, cache_limit, quiet) as options:
        from unlearn_cli import jobs
        from unlearn_cli.settings import from_text

        report = jobs.compare(
            checkpoints,
            run_methods=names,
            seeds=seeds,
            fresh=fresh,
            references=run.files(reference),
            verify=verify,
            sort=sort,
            all_metrics=all_metrics,
            request=run.request(classes, instances, images, column, strict, with_duplicates),
            lists=run.lists(forgotten, column),
            evidence=evidence,
            settings=from_text(settings or []),
            plain=run.plain(arch, data, size, mean, std, head, test_fraction, class_names, labels),
            options=options,
        )
    run.finish(report, json, format)
