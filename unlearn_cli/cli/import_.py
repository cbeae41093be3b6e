"""`unlearn import`."""

from typing import Annotated

import typer

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run

File = Annotated[str, typer.Argument(metavar="FILE", help="What torch.save wrote: .pth, .pt, .bin, .ckpt, .pth.tar; or .parquet.")]
Key = Annotated[
    str | None,
    o.option("--key", help="The dotted path of keys to the state dict, if not the usual one: state_dict_ema.", panel=o.MODEL,
             metavar="KEY"),
]  # fmt: skip


def import_(
    file: File, key: Key = None, output: o.Output = None, force: o.Force = False, quiet: o.Quiet = False, json: o.Json = False
) -> None:
    """Take the weights out of a pickled PyTorch file, a training checkpoint too, into a safetensors file, by default beside it.
    Nothing that FILE names is run; a file that needs full unpickling is refused with the way out. Images in Parquet files become
    a folder.

    Example: unlearn import model_best.pth.tar -o model.safetensors
    """
    run.no_two_on_stdout(output, json)
    if not run.first():
        return

    from unlearn_cli.cli import console

    console.be_quiet(quiet)
    from unlearn_cli import jobs

    run.finish(jobs.import_weights(file, output, key=key, force=force), json)
