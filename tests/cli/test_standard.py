"""What becomes of a command whose standard output cannot take it, and in an encoding that cannot spell it."""

import csv
import errno
import json
import sys
from io import BytesIO, StringIO, TextIOWrapper

import pytest
import typer

from unlearn_cli import jobs
from unlearn_cli.cli import app
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.registry import columns
from unlearn_cli.metrics.report import Limit, Measure, Report, Row

FORMATS = ("table", "json", "markdown", "csv")
EVALUATE = ("evaluate", "model.safetensors", "--require", "test_accuracy>=0.5", "--format")
NAME = "猫 ±≤ 😀 \udcff.safetensors"


class Broken(StringIO):
    """A stream that fails, at the write or only when it is flushed."""

    def __init__(self, number, late):
        super().__init__()
        self.number, self.late = number, late

    def fail(self):
        raise OSError(self.number, "it broke") if self.number else ValueError("I/O operation on closed file")

    def write(self, text):
        return len(text) if self.late else self.fail()

    def flush(self):
        self.fail()


@pytest.fixture
def answers(monkeypatch):
    """An evaluation that measures nothing and ends with this exit code."""

    def set(code, name="model.safetensors"):
        outcome = "pass" if code == 0 else "fail"
        limit = Limit("test_accuracy>=0.5", "test_accuracy", ">=", 0.5, 0.9 if code == 0 else 0.1, outcome)
        report = Report("evaluate", f"{name}: forgot class 猫", {"data": name}, columns(["test_accuracy"]),
                        [Row(name, "unlearned", {"test_accuracy": Measure(0.9)})], [limit], "Held ±.", exit_code=code)  # fmt: skip
        monkeypatch.setattr(jobs, "evaluate", lambda *_, **__: report)
        return report

    return set


@pytest.fixture
def into(monkeypatch):
    """Run a command line with these standard streams."""

    def call(out, err, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = app.run(list(arguments))
            assert (sys.stdout, sys.stderr) == (out, err)
        return code

    return call


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("shape", FORMATS)
@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_reader_that_leaves_does_not_change_the_exit_code(into, answers, code, shape, late):
    answers(code)
    err = StringIO()
    assert into(Broken(errno.EPIPE, late), err, *EVALUATE, shape, "-q") == code
    assert err.getvalue() == ""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("shape", FORMATS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF, None])
def test_a_report_that_could_not_be_delivered_is_2_unless_a_limit_was_not_met(into, answers, number, shape, late):
    err = StringIO()
    answers(0)
    assert into(Broken(number, late), err, *EVALUATE, shape, "-q") == 2
    assert err.getvalue().startswith("Error: standard output could not be written: ")
    answers(1)
    assert into(Broken(number, late), err, *EVALUATE, shape, "-q") == 1
    answers(0)
    assert into(StringIO(), err, *EVALUATE, shape, "-q") == 0


@pytest.mark.parametrize("err", [None, Broken(errno.EPIPE, False), Broken(errno.ENOSPC, True)])
def test_messages_that_nobody_hears_change_nothing(into, answers, err):
    for code in (0, 1, 2):
        answers(code)
        out = StringIO()
        assert into(out, err, *EVALUATE, "json") == code
        assert json.loads(out.getvalue())["exit_code"] == code
    assert into(StringIO(), err, "evaluate", "nowhere.safetensors", "--methd") == 2


def test_with_no_standard_output_at_all_a_report_is_2_and_an_error_is_said(into, answers):
    answers(0)
    err = StringIO()
    assert into(None, err, *EVALUATE, "table", "-q") == 2
    assert "standard output could not be written: it is closed." in err.getvalue()
    assert into(None, None, *EVALUATE, "table") == 2
    answers(1)
    assert into(None, None, *EVALUATE, "table") == 1


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("methods",), ("methods", "--json"), ("inspect", "FILE"),
                                   ("inspect", "FILE", "--json")])  # fmt: skip
def test_what_only_shows_something_is_0_with_a_reader_that_leaves_and_2_on_a_full_disk(into, shipped, words):
    words = [str(shipped / "model.safetensors") if word == "FILE" else word for word in words]
    assert into(Broken(errno.EPIPE, False), StringIO(), *words) == 0
    assert into(Broken(errno.ENOSPC, False), StringIO(), *words) == 2
    out = StringIO()
    assert into(out, StringIO(), *words) == 0
    assert out.getvalue()


@pytest.mark.parametrize("raised", [
    SystemExit(1), SystemExit("gone"), typer.Exit(1), OSError(errno.EPIPE, "Broken pipe"), typer.Abort(), KeyboardInterrupt(),
    RuntimeError("x"), MemoryError(), UnlearnError("x"),
])  # fmt: skip
def test_1_is_never_the_end_of_anything_but_a_verdict(into, monkeypatch, raised):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(jobs, "evaluate", fail)
    err = StringIO()
    assert into(StringIO(), err, *EVALUATE, "json") in (2, 130)
    assert err.getvalue().startswith("Error: ")


def encoded(encoding, errors="strict"):
    return TextIOWrapper(BytesIO(), encoding=encoding, errors=errors, newline="")


def shown(stream):
    stream.flush()
    return stream.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("errors", ["strict", "ignore", "replace"])
@pytest.mark.parametrize("code", [0, 1])
def test_json_reads_back_as_the_same_text_in_any_encoding(into, answers, code, encoding, errors):
    report = answers(code, NAME)
    out, err = encoded(encoding, errors), encoded(encoding, errors)
    assert into(out, err, *EVALUATE, "json") == code
    assert json.loads(shown(out).decode(encoding)) == report.as_dict()
    assert shown(err) in (b"", "".encode(encoding))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("shape", ["table", "markdown", "csv"])
@pytest.mark.parametrize("code", [0, 1])
def test_what_an_encoding_cannot_spell_is_escaped(into, answers, code, shape, encoding):
    answers(code, NAME)
    out, err = encoded(encoding), encoded("ascii", "backslashreplace")
    assert into(out, err, *EVALUATE, shape) == code
    text = shown(out).decode(encoding)
    assert ("猫" in text) == (encoding == "utf-8")
    assert "\\u732b" in text.replace("\\\\", "\\") or encoding == "utf-8"
    assert "\\udcff" in text.replace("\\\\", "\\")
    if shape == "csv":
        assert list(csv.reader(StringIO(text)))[1][-1] == "0.9"
    if shape == "table":
        assert ("───" in text) == (encoding == "utf-8") and "\\u2500" not in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_an_error_is_said_in_any_encoding(into, encoding):
    out, err = encoded(encoding), encoded(encoding)
    assert into(out, err, "evaluate", "猫±.safetensors") == 2
    text = shown(err).decode(encoding)
    assert text.startswith("Error: ") and ("猫" in text or "\\u732b" in text)
    assert shown(out) == b""


def test_a_stream_without_a_known_encoding_is_written_as_it_is(into, answers):
    report = answers(0, "猫")
    out = StringIO()
    assert out.encoding is None
    assert into(out, StringIO(), *EVALUATE, "json") == 0
    assert "猫" in out.getvalue() and json.loads(out.getvalue()) == report.as_dict()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_the_path_that_was_written_is_said_in_any_encoding(into, place, encoding):
    output = str(place / "猫.safetensors")
    out, err = encoded(encoding), encoded(encoding)
    assert into(out, err, "forget", "-m", "mask", "--class", "3", str(place / "model.safetensors"), "-o", output) == 0
    assert shown(out).decode(encoding) == (output if encoding == "utf-8" else output.replace("猫", "\\u732b")) + "\n"
    assert (place / "猫.safetensors").exists()
