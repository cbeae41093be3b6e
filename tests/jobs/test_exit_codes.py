"""The exit code of a process whose output goes nowhere: 1 is a limit that was not met, and nothing else."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shells and devices of Unix")
PROGRAM = f"{sys.executable} -m unlearn_cli"
EVALUATE = f"{PROGRAM} evaluate model.safetensors --class 3 --json -q --require 'forget_test_accuracy<="
FORGET = f"{PROGRAM} forget -m mask --class 3 model.safetensors"


def ends(place, command):
    """The exit code and stderr of the first command of a line for the shell."""
    done = subprocess.run(["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=place, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(("bound", "code"), [("0.99", 0), ("0.5", 1)])
def test_a_reader_that_leaves_sees_neither_a_failure_nor_a_success_that_is_none(place, bound, code):
    assert ends(place, f"{EVALUATE}{bound}' | true") == (code, "")


def test_a_verdict_that_cannot_be_written_is_2_and_a_missed_limit_stays_1(place):
    code, said = ends(place, f"{EVALUATE}0.99' >&-")
    assert code == 2 and said.startswith("Error: standard output could not be written: it is closed.")
    assert ends(place, f"{EVALUATE}0.5' >&- 2>&-") == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_2(place):
    code, said = ends(place, f"{PROGRAM} inspect model.safetensors >/dev/full")
    assert code == 2 and "no space left" in said


def test_a_checkpoint_that_nobody_reads_is_not_done_and_one_in_a_file_is(place):
    code, said = ends(place, f"{FORGET} -o - -q | true")
    assert code == 2 and said.startswith("Error: standard output could not be written: broken pipe.")
    assert ends(place, f"{FORGET} -o out.safetensors 2>&1 | true")[0] == 0
    assert ends(place, f"{PROGRAM} inspect out.safetensors") == (0, "")
    assert {path.name for path in place.iterdir()} == {"digits", "model.safetensors", "out.safetensors", "without-3.safetensors"}


def test_a_width_that_is_none_still_shows_everything(place):
    def output(**sizes):
        command = f"{PROGRAM} forget --methd 2>&1; {PROGRAM} inspect --help"
        return subprocess.run(command, shell=True, cwd=place, capture_output=True, env=os.environ | sizes).stdout

    shown = [output(COLUMNS="0", LINES="0", TERMINAL_WIDTH="0"), output(COLUMNS="80")]
    assert shown[0] == shown[1]
    assert b"No such option" in shown[0] and b"CHECKPOINT" in shown[0]


def test_a_closed_standard_input_is_an_empty_one(place):
    code, said = ends(place, f"{PROGRAM} inspect - <&-")
    assert code == 2 and said.startswith("Error: standard input is empty.")
