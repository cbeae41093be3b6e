"""What every command does around its job: options become values, progress is shown, the report is rendered."""

import os
import re
from contextlib import contextmanager
from glob import glob, has_magic

from unlearn_cli.errors import UnlearnError


class Verdict(Exception):
    """A command leaves with the exit code of its report. No library raises this, so that a 1 can only be a limit not met."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


@contextmanager
def options(device: str, precision: str, seed: int, force: bool, cache_limit: str, quiet: bool):
    """The engine's options for the length of a job, with progress on stderr."""
    from unlearn_cli.cli import console

    console.be_quiet(quiet or not first())

    from unlearn_cli.engine.memory import keep_freed_memory
    from unlearn_cli.engine.precision import find_precision
    from unlearn_cli.jobs import Options

    keep_freed_memory()
    with console.progress() as progress:
        chosen = Options(device, precision, seed, force, in_bytes(cache_limit), progress)
        find_precision(precision, chosen.place())  # before any image is read
        yield chosen


def finish(report, json: bool, format: str | None = None) -> None:
    """Show the report and leave with its exit code; only the first of several processes speaks.

    Raises:
        Verdict: the report's exit code is not 0.
    """
    if first():
        if json or format not in (None, "table"):
            from unlearn_cli.cli.formats import write

            write(report, "json" if json else format)
        else:
            from unlearn_cli.cli.render import render

            render(report)
    if report.exit_code:
        raise Verdict(report.exit_code)


def first() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    from unlearn_cli.engine.launch import launched

    return launched().first


def request(classes: list[str] | None, instances: str | None = None, images: list[str] | None = None, column: str | None = None,
            strict: bool = False, with_duplicates: bool = False):  # fmt: skip
    """What is to be forgotten, as typed."""
    from unlearn_cli.data.lists import read_list
    from unlearn_cli.jobs import Request

    named = (("--class", classes), ("--instances", instances), ("--images", images))
    given = [name for name, value in named if value not in (None, [])]
    if len(given) > 1:
        raise UnlearnError(f"{' and '.join(given)} exclude each other.", "ask for one, then for the other.")
    lone = [name for name, value in (("--strict", strict), ("--with-duplicates", with_duplicates)) if value]
    if lone and not (instances or images):
        raise UnlearnError(f"{lone[0]} goes with listed images, and none are listed.", "add --instances FILE, or leave it out.")
    listed = None if instances is None else read_list(instances, column)
    return Request(tuple(classes or ()), tuple(images or ()), listed, strict, with_duplicates)


def left_out(classes: list[str] | None, instances: str | None, column: str | None, strict: bool, with_duplicates: bool):
    """What a training leaves out, which may be classes and images at once."""
    from unlearn_cli.data.lists import read_list
    from unlearn_cli.jobs import Request

    lone = [name for name, value in (("--strict", strict), ("--with-duplicates", with_duplicates)) if value]
    if lone and instances is None:
        raise UnlearnError(f"{lone[0]} goes with listed images, and none are listed.", "add --without FILE, or leave it out.")
    listed = None if instances is None else read_list(instances, column)
    return Request(tuple(classes or ()), (), listed, strict, with_duplicates)


def lists(names: list[str] | None, column: str | None = None) -> list:
    """Lists that earlier steps forgot."""
    from unlearn_cli.data.lists import read_list
    from unlearn_cli.jobs import Request

    return [Request(listed=read_list(name, column)) for name in names or ()]


def files(names: list[str] | None) -> list[str]:
    """File names as typed, a pattern such as `without-3-seed*.safetensors` as the files that match; a file's own name wins."""
    return [file for name in names or () for file in ([name] if os.path.lexists(name) else matching(name))]


def matching(pattern: str) -> list[str]:
    """The files that a pattern names; a name that is no pattern stands for itself."""
    found = sorted(glob(pattern)) or [pattern]
    if has_magic(pattern) and found == [pattern]:
        raise UnlearnError(f"no file matches {pattern}.", "check the folder and the pattern.")
    return found


def plain(arch, data, pixels, mean, std, head, test_fraction, class_names, labels):
    from unlearn_cli.jobs import Plain

    mean, std = numbers("--mean", mean), numbers("--std", std)
    ordered, outputs = names(class_names, "--class-names"), names(labels, "--labels")
    return Plain(arch, data, size(pixels), mean, std, head, test_fraction, ordered, outputs)


def size(text: str | None):
    """`224`, or height and width as `224x196`."""
    if text is None:
        return None
    from unlearn_cli.inputs import sized

    sides = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", str(text).strip())
    if sides is None:
        raise UnlearnError(f"--size {text} is no size.", "write it as 224, or as 224x196: height, then width.")
    if any(side is not None and int(side) == 0 for side in sides.groups()):
        raise UnlearnError(f"{text} is not an image size.", "it is a side in pixels, from 1 to 4096.")
    return sized(int(sides[1]), int(sides[2] or sides[1]))


def names(text: str | None, option: str) -> tuple[str, ...] | None:
    """Class names, one per line of the file that TEXT names, or written out with commas."""
    if text is None:
        return None
    if os.path.isfile(text):
        try:
            with open(text, encoding="utf-8-sig") as file:
                found = [line for line in file.read().split("\n") if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise UnlearnError(f"{option} {text} cannot be read as text.", "write a class name per line, in UTF-8.") from None
    elif "," in text:
        found = [part.strip() for part in text.split(",")]
    else:
        raise UnlearnError(f"{option} {text}: no such file, and no list of names.", "write the names as a,b,c.")
    if not all(found) or not found:
        raise UnlearnError(f"{option} {text} has an empty name.", "name every output once.")
    return tuple(found)


def numbers(name: str, text: str | None) -> list[float] | None:
    """`0.49,0.48,0.45` as a list."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UnlearnError(f"{name} '{text}' is no list of numbers.", "write it as 0.49,0.48,0.45.") from None


def no_two_on_stdout(output: str | None, json: bool) -> None:
    if output == "-" and json:
        raise UnlearnError("-o - and --json both want standard output.", "write the checkpoint to a file.")


def no_two_formats(json: bool, format: str | None) -> None:
    if json and format not in (None, "json"):
        raise UnlearnError(f"--json and --format {format} exclude each other.", "choose one.")


def in_bytes(text: str) -> int:
    """`500MB`, `4 GB` or plain bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UnlearnError(f"--cache-limit '{text}' is no size.", "write it as 500MB or 4GB.")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
