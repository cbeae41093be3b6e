"""The options that several commands share, each declared once: same name, same meaning everywhere."""

from enum import StrEnum
from typing import Annotated

import typer

from unlearn_cli.cli.config import eager_config

ASKED, MODEL, RUN, RESULT = PANELS = "What to forget", "The checkpoint", "How to run", "Results"
"""The parts of every command's help, in their order."""


def option(*names: str, help: str, panel: str, **more):
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=more.pop("show_default", False), **more)


Checkpoint = Annotated[
    str,
    typer.Argument(metavar="CHECKPOINT", help="A safetensors file, a folder as timm or transformers saves it, or hf://ORG/NAME; - "
                   "reads standard input."),
]  # fmt: skip
Checkpoints = Annotated[list[str], typer.Argument(metavar="CHECKPOINT...", help="Safetensors files, or checkpoint folders.")]
Classes = Annotated[
    list[str] | None, option("--class", help="A class to forget, by name or index; repeats.", panel=ASKED, metavar="CLASS")
]
Instances = Annotated[
    str | None,
    option("--instances", help="A list of images: paths or patterns, one per line, CSV or JSON; - is standard input.", panel=ASKED,
           metavar="FILE"),
]  # fmt: skip
Images = Annotated[
    list[str] | None, option("--images", help="An image, or a quoted pattern: 'train/3/00*.png'; repeats.", panel=ASKED,
                             metavar="PATTERN")
]  # fmt: skip
Column = Annotated[
    str | None, option("--column", help="The column of a CSV or JSON list that holds the paths.", panel=ASKED, metavar="NAME")
]
Strict = Annotated[bool, option("--strict", help="Refuse a list with test images, instead of setting them apart.", panel=ASKED)]
WithDuplicates = Annotated[
    bool, option("--with-duplicates", help="Take in exact copies of the listed images that would stay.", panel=ASKED)
]
Forgotten = Annotated[
    list[str] | None,
    option("--forgotten", help="A long list that an earlier step forgot, of which the checkpoint keeps the digest; repeats.",
           panel=ASKED, metavar="FILE"),
]  # fmt: skip
Evidence = Annotated[
    str | None,
    option("--evidence", help="What --keep-evidence wrote when the checkpoint forgot, if it does not lie beside it.", panel=ASKED,
           metavar="FILE"),
]  # fmt: skip
OnlyLast = Annotated[bool, option("--only-last", help="Of several requests, look at the last alone.", panel=ASKED)]
Data = Annotated[
    str | None,
    option("--data", help="The image folder, if not the one the checkpoint names.", panel=MODEL, metavar="DIR"),
]
Arch = Annotated[
    str | None,
    option("--arch", help="Architecture of a plain state dict: resnet18,width=16, torchvision/NAME, timm/NAME, or FILE.py:NAME, "
           "your own code.", panel=MODEL, metavar="ARCH"),
]  # fmt: skip
Size = Annotated[
    str | None,
    option("--size", help="The model's input in pixels: the side of a square, or height and width as 224x196.", panel=MODEL,
           metavar="PIXELS"),
]  # fmt: skip
Mean = Annotated[
    str | None,
    option("--mean", help="Normalisation of a plain state dict, a number per channel: 0.49,0.48,0.45.", panel=MODEL),
]
Std = Annotated[str | None, option("--std", help="As --mean.", panel=MODEL)]
Head = Annotated[
    str | None,
    option("--head", help="Name of the classification layer, if not the last linear one.", panel=MODEL, metavar="LAYER"),
]
ClassNames = Annotated[
    str | None,
    option("--class-names", help="Class folders in the order of a plain state dict's outputs: a file, a name per line, or a,b,c.",
           panel=MODEL, metavar="NAMES"),
]  # fmt: skip
Labels = Annotated[
    str | None,
    option("--labels", help="Names of all outputs of a plain state dict's head in order, where the folder has some of them only: a "
           "file, a name per line, or a,b,c.", panel=MODEL, metavar="NAMES"),
]  # fmt: skip
TestFraction = Annotated[
    float,
    option("--test-fraction", help="Share of test images where the folder has no train and test.", panel=MODEL, show_default=True),
]
Original = Annotated[str | None, option("--original", help="The model before it forgot.", panel=MODEL, metavar="FILE")]
References = Annotated[
    list[str] | None,
    option("--reference", help="A model trained without the forget set, or a quoted pattern: 'without-3-*.safetensors'; repeats.",
           panel=MODEL, metavar="FILE"),
]  # fmt: skip
Output = Annotated[
    str | None,
    option("--output", "-o", help="Where to write; - is standard output.", panel=RESULT, metavar="FILE"),
]
Settings = Annotated[list[str] | None, option("--set", help="A setting; repeats.", panel=RUN, metavar="NAME=VALUE")]
Config = Annotated[
    str | None,
    option("--config", help="A YAML file of option defaults, by long name.", panel=RUN, metavar="FILE", is_eager=True,
           callback=eager_config),
]  # fmt: skip
Device = Annotated[str, option("--device", help="auto, cpu, cuda, cuda:1 or mps.", panel=RUN, show_default=True)]
Precision = Annotated[
    str, option("--precision", help="auto, float32, bfloat16, float16 or float64.", panel=RUN, show_default=True)
]
Seed = Annotated[int, option("--seed", help="Of every random number.", panel=RUN, show_default=True)]
CacheLimit = Annotated[
    str, option("--cache-limit", help="Decode images once and keep up to this many pixels, as 500MB or 4GB; more are streamed.",
                panel=RUN, metavar="SIZE", show_default=True)
]  # fmt: skip
Force = Annotated[bool, option("--force", help="Replace an existing output.", panel=RESULT)]
Quiet = Annotated[bool, option("--quiet", "-q", help="No messages and no progress.", panel=RESULT)]
Shape = StrEnum("Shape", ("table", "markdown", "csv", "json"))
Format = Annotated[
    Shape | None,
    option("--format", help="How to show the result: table (the default), markdown, csv or json.", panel=RESULT, metavar="FORMAT"),
]
Json = Annotated[bool, option("--json", help="One JSON document on standard output.", panel=RESULT)]
