"""The Typer app: its commands, and the one place that prints an error and leaves."""

import os
import sys
from contextlib import suppress

import typer

from unlearn_cli import __version__
from unlearn_cli.cli import console
from unlearn_cli.cli.compare import compare
from unlearn_cli.cli.evaluate import evaluate
from unlearn_cli.cli.forget import forget
from unlearn_cli.cli.inspect import inspect
from unlearn_cli.cli.methods import methods
from unlearn_cli.cli.relearn import relearn
from unlearn_cli.cli.train import train
from unlearn_cli.cli.verify_record import verify_record
from unlearn_cli.errors import UnlearnError

app = typer.Typer(name="unlearn", no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
INTERRUPTED = 130
for command in (train, forget, evaluate, relearn, compare, verify_record, methods, inspect):
    app.command(command.__name__.replace("_", "-"))(command)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"unlearn {__version__}")
        raise typer.Exit


@app.callback()
def top(version: bool = typer.Option(False, "--version", help="Show the version.", callback=show_version, is_eager=True)) -> None:
    """Make a trained image classifier forget, and show whether it did.

    Exit codes: 0 done, or every limit held; 1 a limit was not met; 2 anything that prevented an answer; 130 interrupted.
    """


def main() -> None:
    """The console script. Leaves without taking torch's modules apart one by one, a third of a second for nothing."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. 1 means that a limit was not met and nothing else, so that every
    other end, a crash of ours included, is 2 (130 when interrupted)."""
    usage_error = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of Typer keeps it
    try:
        code = app(arguments, prog_name="unlearn", standalone_mode=False) or 0
        if code == INTERRUPTED:  # Typer has caught the KeyboardInterrupt by itself
            console.error("interrupted.", "no unfinished output was written.")
        return code
    except UnlearnError as error:
        console.error(error.problem, error.hint)
    except usage_error as error:
        error.show()
    except (typer.Abort, KeyboardInterrupt):
        console.error("interrupted.", "no unfinished output was written.")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        console.error(f"{place}{(error.strerror or str(error)).lower()}.", "check the path, its permissions and the free space.")
    except Exception as error:
        console.error(f"this is our mistake: {type(error).__name__}: {error}", "run it with UNLEARN_TRACEBACK=1 and report it.")
        if os.environ.get("UNLEARN_TRACEBACK"):
            import traceback

            traceback.print_exc()
    return 2
