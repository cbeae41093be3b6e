"""`unlearn train`."""

from typing import Annotated

import typer

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run
from unlearn_cli.errors import UnlearnError

Folder = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="Images as train/<class>/ and test/<class>/, or as <class>/; not needed with --like."),
]
Target = Annotated[
    str,
    o.option("--output", "-o", help="Where to write; - is standard output.", panel=o.RESULT, metavar="FILE"),
]
Arch = Annotated[
    str | None,
    o.option("--arch", help="Architecture: resnet18 (the default), compact, allcnn, vit, a paper's as vgg16, torchvision/NAME, "
             "timm/NAME, or FILE.py:NAME, your own code.", panel=o.MODEL, metavar="ARCH"),
]  # fmt: skip
Epochs = Annotated[
    int | None,
    o.option("--epochs", help="Passes over the training images.", panel=o.RUN, min=1, metavar="N"),
]
Without = Annotated[
    list[str] | None,
    o.option("--without-class", help="A class to leave out; repeats.", panel=o.ASKED, metavar="CLASS"),
]
WithoutFile = Annotated[
    str | None,
    o.option("--without", help="A list of images to leave out: paths or patterns, one per line, CSV or JSON; - is standard input.",
             panel=o.ASKED, metavar="FILE"),
]  # fmt: skip
WithoutForgotten = Annotated[
    bool,
    o.option("--without-forgotten", help="Leave out all that the checkpoint of --like was ever asked to forget.", panel=o.ASKED),
]
References = Annotated[
    int | None,
    o.option("--references", help="Train so many that differ in their seeds alone: those after --seed, but for that of --like. For "
             "-o NAME.safetensors they are NAME-seed1.safetensors and so on; those already there are kept.", panel=o.RUN, min=1,
             metavar="N"),
]  # fmt: skip
Like = Annotated[
    str | None,
    o.option("--like", help="Train as this checkpoint was: its architecture, recipe, input size and images.", panel=o.MODEL,
             metavar="CHECKPOINT"),
]  # fmt: skip
Weights = Annotated[
    str | None,
    o.option("--weights", help="Begin with the weights, architecture and input of this checkpoint, a file or a folder; "
             "its head is new where classes are. Beside --like: where that lies that it began with.", panel=o.MODEL,
             metavar="FILE"),
]  # fmt: skip
Pretrained = Annotated[
    bool,
    o.option("--pretrained", help="Begin with the weights that torchvision or timm has for --arch: downloads them, if need be. "
             "Beside --like: with those that it began with.", panel=o.MODEL),
]  # fmt: skip
Recipe = Annotated[
    str | None,
    o.option("--recipe", help="The set-up of a paper's own models, for all that is not given: lau, suli, tmu, unsir, gli.",
             panel=o.MODEL, metavar="PAPER"),
]  # fmt: skip
Channels = Annotated[int | None, o.option("--channels", help="1 for grey, 3 for colour.", panel=o.MODEL, metavar="N")]
Resume = Annotated[
    bool,
    o.option("--resume", help="Go on where a killed training of the same command stopped.", panel=o.RUN),
]


def train(
    data: Folder = None,
    output: Target = ...,
    arch: Arch = None,
    epochs: Epochs = None,
    without_class: Without = None,
    without: WithoutFile = None,
    column: o.Column = None,
    strict: o.Strict = False,
    with_duplicates: o.WithDuplicates = False,
    without_forgotten: WithoutForgotten = False,
    forgotten: o.Forgotten = None,
    evidence: o.Evidence = None,
    references: References = None,
    like: Like = None,
    weights: Weights = None,
    pretrained: Pretrained = False,
    recipe: Recipe = None,
    size: o.Size = None,
    channels: Channels = None,
    test_fraction: o.TestFraction = 0.2,
    settings: o.Settings = None,
    config: o.Config = None,
    resume: Resume = False,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    cache_limit: o.CacheLimit = "4GB",
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Train a classifier on a folder of images; with --without-class, the reference that never saw a class, or several.

    Example: unlearn train photos/ -o model.safetensors --arch compact
    """
    run.no_two_on_stdout(output, json)
    if evidence is not None and like is None:
        raise UnlearnError("--evidence is of the checkpoint of --like, and none is named.", "add --like CHECKPOINT.")
    with run.options(device, precision, seed, force, cache_limit, quiet) as options:
        from unlearn_cli import jobs
        from unlearn_cli.settings import from_text

        report = jobs.train(
            data,
            output,
            arch=arch,
            epochs=epochs,
            without=run.left_out(without_class, without, column, strict, with_duplicates),
            without_forgotten=without_forgotten,
            lists=run.lists(forgotten, column),
            evidence=evidence,
            references=references,
            like=like,
            weights=weights,
            pretrained=pretrained,
            recipe=recipe,
            chosen=from_text(settings or []),
            size=run.size(size),
            channels=channels,
            test_fraction=test_fraction,
            resume=resume,
            options=options,
        )
    run.finish(report, json)
