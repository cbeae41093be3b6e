"""The Typer app: its commands, and the one place that prints an error and leaves."""

import os
import sys

import typer
from typer.core import TyperCommand

from unlearn_cli import __version__
from unlearn_cli.cli import console, standard
from unlearn_cli.cli.compare import compare
from unlearn_cli.cli.evaluate import evaluate
from unlearn_cli.cli.forget import forget
from unlearn_cli.cli.import_ import import_
from unlearn_cli.cli.inspect import inspect
from unlearn_cli.cli.methods import methods
from unlearn_cli.cli.options import PANELS
from unlearn_cli.cli.relearn import relearn
from unlearn_cli.cli.run import Verdict
from unlearn_cli.cli.train import train
from unlearn_cli.cli.verify_record import verify_record
from unlearn_cli.errors import UnlearnError

app = typer.Typer(name="unlearn", no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
INTERRUPTED = 130


class Command(TyperCommand):
    """A command whose words are all meant: none of its options is empty, and none replaces one given before it.

    Its help has the options in one order in every command: arguments, then panel by panel.
    """

    def __init__(self, name, **settings):
        super().__init__(name, **settings)
        self.params.sort(key=place)

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            given, _, order = self.make_parser(ctx).parse_args(list(args))
            for param in self.params:
                values = given.get(param.name)
                values = values if isinstance(values, list | tuple) else [values]
                if any(isinstance(value, str) and not value.strip() for value in values):
                    raise UnlearnError(f"{spelt(param)} was given without a value.", "give it one, or leave it out.")
                if order.count(param) > 1 and not (getattr(param, "multiple", False) or getattr(param, "is_flag", False)):
                    raise UnlearnError(f"{spelt(param)} was given twice.", "it takes one value: leave one of them out.")
        return super().parse_args(ctx, args)


def place(param) -> int:
    """Where a parameter stands in the help: arguments first."""
    return PANELS.index(param.rich_help_panel) if param.param_type_name == "option" else -1


def spelt(param) -> str:
    """An option by its long name, an argument by what the help calls it."""
    return max(param.opts, key=len) if param.param_type_name == "option" else param.metavar or param.name


for command in (train, forget, evaluate, relearn, compare, verify_record, methods, inspect, import_):
    app.command(command.__name__.rstrip("_").replace("_", "-"), cls=Command)(command)


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
    hold_descriptors()
    for name in console.odd_sizes():
        del os.environ[name]  # Typer's help would take it for a width
    os._exit(run(sys.argv[1:]))


def hold_descriptors() -> None:
    """Where standard input, output or error was closed, open nothing in its place, so that no file of ours becomes it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # empty, as a command that reads it will say


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. 1 means that a limit was not met and nothing else, so that every
    other end, a crash of ours included, is 2 (130 when interrupted)."""
    with standard.outlets() as outlets:
        return standard.settled(answer(arguments), *outlets)


def answer(arguments: list[str]) -> int:
    """The exit code, but for what becomes of the output."""
    usage_error = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of Typer keeps it
    try:
        code = app(arguments, prog_name="unlearn", standalone_mode=False) or 0
        if code == INTERRUPTED:  # Typer has caught the KeyboardInterrupt by itself
            console.error("interrupted.", "no unfinished output was written.")
        if code not in (0, INTERRUPTED):
            raise SystemExit(code)  # a library's 1 is no verdict
        return code
    except Verdict as verdict:
        return verdict.code
    except UnlearnError as error:
        console.error(error.problem, error.hint)
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            context = getattr(error, "ctx", None)
            help_for = context.command_path if context else "unlearn"
            console.error(error.format_message(), f"`{help_for} --help` shows what there is.")
    except (typer.Abort, KeyboardInterrupt):
        console.error("interrupted.", "no unfinished output was written.")
        return INTERRUPTED
    except SystemExit as left:
        if not left.code:
            return 0
        console.error(f"stopped before there was an answer ({left.code}).", "a library gave up; what it said stands above.")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        console.error(f"{place}{(error.strerror or str(error)).lower()}.", "check the path, its permissions and the free space.")
    except Exception as error:
        console.error(f"this is our mistake: {type(error).__name__}: {error}", "run it with UNLEARN_TRACEBACK=1 and report it.")
        if os.environ.get("UNLEARN_TRACEBACK"):
            import traceback

            traceback.print_exc()
    return 2
