"""Which process this is, by the environment: a stray variable changes nothing, one that does not fit is refused."""

import pytest

from unlearn_cli.engine.launch import Launch, launched
from unlearn_cli.errors import UnlearnError

TWO = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize("world", [None, "", " ", "1", " 1 "])
@pytest.mark.parametrize("rank", [None, "", "0", "3", "-1", "x"])
def test_the_only_process_is_the_first_whatever_its_rank_is_said_to_be(world, rank):
    given = {"WORLD_SIZE": world, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": rank}
    environment = {name: value for name, value in given.items() if value is not None}
    assert launched(environment) == Launch(0, 1, None)
    assert launched(environment).first


def test_several_processes_are_as_torchrun_says():
    assert launched(TWO) == Launch(1, 2, 1)
    assert not launched(TWO).first
    assert launched(TWO | {"RANK": "0", "LOCAL_RANK": ""}) == Launch(0, 2, None)


@pytest.mark.parametrize(("changed", "problem"), [
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0"), ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is -2"),
    ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"), ({"WORLD_SIZE": "1.5"}, "WORLD_SIZE is '1.5'"),
    ({"WORLD_SIZE": "²"}, "WORLD_SIZE is '²'"), ({"RANK": "2"}, "RANK is 2"), ({"RANK": "-1"}, "RANK is -1"),
    ({"RANK": "x"}, "RANK is 'x'"), ({"RANK": ""}, "needs RANK as well"), ({"MASTER_ADDR": ""}, "needs MASTER_ADDR as well"),
    ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"), ({"MASTER_PORT": "99999"}, "MASTER_PORT is 99999"),
    ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x'"), ({"LOCAL_RANK": "-1"}, "LOCAL_RANK is -1"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(changed, problem):
    with pytest.raises(UnlearnError) as raised:
        launched(TWO | changed)
    assert problem in raised.value.problem
    assert "torchrun" in raised.value.hint


def test_all_that_is_missing_is_named():
    with pytest.raises(UnlearnError, match="needs RANK and MASTER_ADDR and MASTER_PORT as well"):
        launched({"WORLD_SIZE": "2"})


@pytest.mark.parametrize("given", [{"RANK": "3", "WORLD_SIZE": "1"}, {"RANK": "3"}, {"RANK": "", "WORLD_SIZE": ""},
                                   {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}])  # fmt: skip
def test_a_task_of_an_array_job_does_its_work_and_speaks(unlearn, place, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    output = place / "out.safetensors"
    done = unlearn("forget", "-m", "mask", "--class", "3", place / "model.safetensors", "-o", output)
    assert (done.code, done.out) == (0, f"{output}\n")
    assert output.exists() and "forgotten" in done.err
    record = place / "told.json"
    done = unlearn("evaluate", output, "--require", "forget_test_accuracy>=0.5", "--record", record, "-q")
    assert (done.code, record.exists()) == (1, True)


@pytest.mark.parametrize("command", ["forget -m mask --class 3 -o out.safetensors", "evaluate", "verify-record"])
@pytest.mark.parametrize("given", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "0"}, {"WORLD_SIZE": "2", "RANK": "5"}])
def test_processes_that_cannot_be_meant_are_refused_and_nothing_is_written(unlearn, place, monkeypatch, given, command):
    monkeypatch.chdir(place)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    done = unlearn(*command.split(), "model.safetensors")
    assert (done.code, done.out) == (2, "")
    assert "Error: WORLD_SIZE is" in done.err and "our mistake" not in done.err
    assert not (place / "out.safetensors").exists()
