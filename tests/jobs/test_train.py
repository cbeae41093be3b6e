"""Training: a file at the end, the same one whether or not the training was killed on the way."""

import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from unlearn_cli.checkpoints import store

COMMAND = (
    "--arch",
    "compact",
    "--set",
    "width=4",
    "--set",
    "batch_size=32",
    "--set",
    "lookahead_every=1",
    "--precision",
    "float32",
    "--device",
    "cpu",
)


@pytest.fixture(scope="session")
def few(shipped, tmp_path_factory):
    """Twenty training and five test images of each of four digits."""
    folder = tmp_path_factory.mktemp("few") / "digits"
    for part, count in (("train", 20), ("test", 5)):
        for name in "0123":
            (folder / part / name).mkdir(parents=True)
            for path in sorted((shipped / "digits" / part / name).iterdir())[:count]:
                shutil.copy(path, folder / part / name)
    return folder


@pytest.fixture
def train(unlearn, few, tmp_path):
    def call(name, *more, epochs=3):
        output = tmp_path / name
        done = unlearn("train", few, "-o", output, "--epochs", epochs, *COMMAND, *more)
        return done, output

    return call


def same(a, b):
    a, b = store.read(str(a)).tensors, store.read(str(b)).tensors
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_trains_the_same_tensors_and_another_does_not(train):
    (_, a), (_, b), (_, c) = train("a"), train("b"), train("c", "--seed", "1")
    assert same(a, b)
    assert not same(a, c)


def test_a_training_interrupted_after_an_epoch_goes_on_to_the_same_tensors(train, monkeypatch):
    from unlearn_cli.jobs.train import _State

    _, whole = train("whole")
    keep = _State.write

    def then_interrupt(self, progress):
        keep(self, progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(_State, "write", then_interrupt)
    for _ in range(2):
        done, broken = train("broken", *(["--resume"] if _ else []))
        assert done.code == 130
        assert not broken.exists()
    monkeypatch.undo()
    done, broken = train("broken", "--resume")
    assert done.code == 0, done.err
    assert same(broken, whole)
    assert sorted(path.name for path in broken.parent.iterdir()) == ["broken", "whole"]


def test_a_training_that_was_killed_goes_on_to_the_same_tensors(train, few, tmp_path):
    _, whole = train("whole", epochs=60)
    output, resume = tmp_path / "killed", tmp_path / "killed.resume"
    command = [sys.executable, "-m", "unlearn_cli", "train", few, "-o", output, "--epochs", 60, *COMMAND]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        patience = time.monotonic() + 60
        while not resume.exists() and time.monotonic() < patience:
            time.sleep(0.005)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not output.exists()
    done, _ = train("killed", "--resume", epochs=60)
    assert done.code == 0, done.err
    assert "epoch 1 of 60" not in done.err
    assert same(output, whole)


def test_a_state_of_another_training_is_refused(train, monkeypatch, tmp_path):
    from unlearn_cli.jobs.train import _State

    keep = _State.write

    def then_interrupt(self, progress):
        keep(self, progress)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_State, "write", then_interrupt)
        train("out")
    before = (tmp_path / "out.resume").read_bytes()
    for other in (("--seed", "1"), ("--set", "lr=0.5"), ("--without-class", "3"), ("--set", "width=5")):
        done, output = train("out", "--resume", *other)
        assert done.code == 2, other
        assert "belongs to a training with other data or settings" in done.err
        assert not output.exists()
    assert (tmp_path / "out.resume").read_bytes() == before
    (tmp_path / "out.resume").write_bytes(before[: len(before) // 2])
    assert train("out", "--resume")[0].code == 2


def test_a_training_without_a_class_reads_none_of_it_and_says_so(train):
    done, output = train("without", "--without-class", "3", epochs=1)
    assert done.code == 0, done.err
    found = store.read(str(output)).record
    assert found.classes == ["0", "1", "2", "3"]
    assert found.last.request.classes == ["3"]
    assert found.last.images_read["retain"] % 60 == 0
    assert set(found.last.images_read) <= {"retain", "test"}


def test_a_training_without_listed_images_reads_none_of_them(train, few, tmp_path):
    left_out = [f"train/2/{path.name}" for path in sorted((few / "train/2").iterdir())[:3]]
    (tmp_path / "list.txt").write_text("\n".join(left_out))
    done, output = train("without", "--without", tmp_path / "list.txt", epochs=1)
    assert done.code == 0, done.err
    last = store.read(str(output)).record.last
    assert last.request.instances == left_out
    assert last.images_read["retain"] % 77 == 0


def test_an_existing_output_is_refused_before_any_work(train, tmp_path):
    (tmp_path / "out").write_bytes(b"what was there")
    done, output = train("out")
    assert done.code == 2
    assert "already exists" in done.err
    assert "epoch" not in done.err
    assert output.read_bytes() == b"what was there"


def test_the_record_holds_what_was_trained_how_and_on_what(train, few):
    _, output = train("out", epochs=1)
    record = store.read(str(output)).record
    assert (record.architecture, record.architecture_settings, record.size, record.channels) == (
        "compact",
        {"width": 4},
        28,
        1,
    )
    assert (record.data.train, record.data.test) == (80, 20)
    step = record.last
    assert (step.operation, step.settings["epochs"], step.settings["batch_size"]) == ("train", 1, 32)


def test_a_training_can_be_written_to_a_pipe(program, few, tmp_path):
    done = program("train", few, "-o", "-", "--epochs", "1", *COMMAND, cwd=tmp_path)
    (tmp_path / "out").write_bytes(done.stdout)
    assert store.read(str(tmp_path / "out")).record.data.folder == str(few)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
