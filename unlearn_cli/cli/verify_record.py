"""`unlearn verify-record`."""

from typing import Annotated

import typer

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run

File = Annotated[str, typer.Argument(metavar="FILE", help="A deletion record, as `unlearn evaluate --record FILE` writes it.")]


def verify_record(file: File, quiet: o.Quiet = False, json: o.Json = False) -> None:
    """Hold a deletion record against the checkpoints and images that it names; code 1, as for a limit not met, if one differs.

    Every file is read afresh, as seen from the record's folder. Code 2: a file is missing, or the record cannot be right.
    Nothing is measured again; `unlearn evaluate` does that.

    Example: unlearn verify-record deletion.json
    """
    from unlearn_cli.cli import console

    console.be_quiet(quiet or not run.first())
    from unlearn_cli import jobs

    with console.progress() as progress:
        report = jobs.verify_record(file, progress=progress)
    run.finish(report, json)
