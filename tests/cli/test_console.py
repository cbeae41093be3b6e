import subprocess
import sys
import time
from io import StringIO

import pytest
from rich.console import Console

from unlearn_cli.cli import console as streams
from unlearn_cli.cli.console import Progress


@pytest.fixture
def err(monkeypatch):
    file = StringIO()
    monkeypatch.setattr(streams, "err", Console(stderr=True, file=file, width=60, highlight=False))
    monkeypatch.setattr(streams, "_quiet", False)
    return file


def terminal():
    file = StringIO()
    return file, Console(file=file, width=120, force_terminal=True)


def fail():
    raise AssertionError("asked for the loss between refreshes")


def test_off_a_terminal_a_phase_is_one_line_without_control_codes(err):
    with streams.progress() as p:
        p.start("forgetting", 300)
        for _ in range(3):
            p.advance(100, lambda: 0.25)
        assert err.getvalue() == ""
        p.end()
    line = err.getvalue()
    assert line.startswith("forgetting: 300 images in ")
    assert line.endswith(" images/s, loss 0.25\n")
    assert line.count("\n") == 1
    assert "\x1b" not in line


def test_quiet_silences_messages_and_progress_but_not_errors(err):
    streams.be_quiet()
    with streams.progress() as p:
        p.start("forgetting", 10)
        p.advance(10)
        p.end()
    streams.say("hello")
    assert err.getvalue() == ""
    streams.error("no method called 'scrubb'.", "did you mean 'scrub'?")
    assert err.getvalue() == "Error: no method called 'scrubb'.\nHint: did you mean 'scrub'?\n"
    streams.be_quiet(False)


def test_messages_are_neither_folded_nor_read_as_markup(err):
    path = "/models/[red]/" + "x" * 200
    streams.say(f"wrote {path}")
    assert err.getvalue() == f"wrote {path}\n"


def test_an_error_without_a_hint_is_one_line(err):
    streams.error("interrupted.")
    assert err.getvalue() == "Error: interrupted.\n"


def test_on_a_terminal_a_bar_shows_phase_rate_and_loss(monkeypatch):
    monkeypatch.setattr(streams, "REFRESH_SECONDS", 0.0)
    file, console = terminal()
    with Progress(console, quiet=False) as p:
        p.start("epoch 1 of 2", 200)
        p.advance(100, 0.125)
        p.end()
    text = file.getvalue()
    assert all(part in text for part in ("epoch 1 of 2", "50%", "images/s", "loss 0.125"))


def test_between_refreshes_the_loss_is_never_asked_for():
    file, console = terminal()
    with Progress(console, quiet=False) as p:
        p.start("epoch", 1000)
        p.shown = time.perf_counter() + 60
        before = len(file.getvalue())
        for _ in range(1000):
            p.advance(1, fail)
        assert len(file.getvalue()) == before
        p.loss = None
        p.end()


def test_the_screen_is_given_back_when_a_phase_fails():
    file, console = terminal()
    with pytest.raises(KeyboardInterrupt), Progress(console, quiet=False) as p:
        p.start("epoch", 10)
        raise KeyboardInterrupt
    assert file.getvalue().rfind("\x1b[?25h") > file.getvalue().rfind("\x1b[?25l")        # the cursor is back


def test_a_phase_of_unknown_length_and_one_without_images_are_fine(err):
    with streams.progress() as p:
        p.start("reading", None)
        p.advance(5)
        p.end()
        p.start("nothing", 0)
        p.end()
    assert err.getvalue().startswith("reading: 5 images in ")
    assert "nothing" not in err.getvalue()


def test_a_phase_inside_a_phase_is_not_shown(err):
    with streams.progress() as p:
        p.start("relearning", 500)
        p.start("reading", 1000)
        p.advance(1000)
        p.end()
        p.advance(500, float("nan"))
        p.end()
    assert err.getvalue().startswith("relearning: 500 images in ")
    assert err.getvalue().count("\n") == 1
    assert "nan" not in err.getvalue()


def test_a_batch_costs_microseconds():
    for console in (Console(file=StringIO()), terminal()[1]):
        with Progress(console, quiet=True) as p:
            p.start("epoch", None)
            began = time.perf_counter()
            for _ in range(10_000):
                p.advance(128, None)
            assert time.perf_counter() - began < 0.5


def test_a_file_is_wider_than_eighty_and_columns_is_heeded(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert streams.make().width == streams.LOG_WIDTH
    monkeypatch.setenv("COLUMNS", "72")
    assert streams.make().width == 72


@pytest.mark.parametrize("text", ["", "0", "1", "-5", "abc", "²", "1e3", "80.5", "9" * 30])
def test_a_width_that_no_screen_has_counts_as_not_set(monkeypatch, text):
    monkeypatch.setenv("COLUMNS", text)
    monkeypatch.setenv("LINES", text)
    assert set(streams.odd_sizes()) == {"COLUMNS", "LINES"}
    assert streams.make().width == streams.LOG_WIDTH
    monkeypatch.setenv("COLUMNS", "80")
    assert streams.odd_sizes() == ["LINES"]
    assert streams.make().width == 80


@pytest.mark.parametrize("text", ["", "0", "1", "yes"])
@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_pipe_is_no_terminal_whatever_the_environment_says(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    assert not streams.make().is_terminal


def test_no_color_is_heeded(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert streams.make().no_color


def test_the_command_line_parts_load_without_torch():
    code = "import sys; from unlearn_cli.cli import console, render; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
