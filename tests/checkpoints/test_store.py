"""A checkpoint is written whole or not at all, and never over what the user did not name."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from examples import record, tensors

from unlearn_cli.checkpoints import store
from unlearn_cli.errors import UnlearnError


@pytest.fixture
def saved(tmp_path):
    return store.write(str(tmp_path / "model.safetensors"), tensors(), record())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was_written(saved):
    found = store.read(saved)
    assert found.record == record()
    assert found.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_nothing_but_the_checkpoint_is_left_in_the_folder(saved, tmp_path):
    assert names(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_files_mode_is_the_umasks(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        name = store.write(str(tmp_path / "m.safetensors"), tensors(), record())
        assert Path(name).stat().st_mode & 0o777 == mode
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


# tensors as a network has them


def test_tied_views_and_strided_tensors_are_written_as_they_are(tmp_path):
    weight = torch.arange(12.0).reshape(3, 4)
    given = {"a": weight, "b": weight, "turned": weight.t(), "part": weight[1:], "none": weight[:0], "empty": torch.zeros(0)}
    found = store.read(store.write(str(tmp_path / "m"), given, record())).tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())
    plain = store.read(store.write_plain(str(tmp_path / "plain"), given))
    assert plain.record is None
    assert plain.digest == store.digest(found)


# a crash at any moment

KILLED = """
    import sys, time
    from examples import record, tensors
    from unlearn_cli.checkpoints import store

    def slow(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half a checkpoint")
            file.flush()
            print("writing", flush=True)
            time.sleep(60)

    store.save_file = slow
    store.write(sys.argv[1], tensors(), record(), force=True)
"""
LIMITED = """
    import resource, sys
    from examples import record, tensors
    from unlearn_cli.checkpoints import store
    from unlearn_cli.errors import UnlearnError

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        store.write(sys.argv[1], tensors(), record(), force=True)
    except UnlearnError as error:
        print(error.problem)
        sys.exit(2)
"""


def start(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    )


@pytest.mark.parametrize("existed", [False, True])
def test_a_kill_while_writing_leaves_no_partial_file_under_the_outputs_name(tmp_path, existed):
    output = tmp_path / "out.safetensors"
    if existed:
        output.write_bytes(b"what was there")
    with start(KILLED, output) as child:
        assert child.stdout.readline() == "writing\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert output.exists() == existed
    assert not existed or output.read_bytes() == b"what was there"
    assert store.write(str(output), tensors(), record(), force=True), "what the kill left is not in the way"


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on the size of files")
@pytest.mark.parametrize("existed", [False, True])
def test_a_file_that_may_not_grow_leaves_nothing_behind(tmp_path, existed):
    output = tmp_path / "out.safetensors"
    if existed:
        output.write_bytes(b"what was there")
    with start(LIMITED, output) as child:
        said, error = child.communicate(timeout=60)
    assert child.returncode == 2, error
    assert "could not be written" in said
    assert names(tmp_path) == (["out.safetensors"] if existed else [])
    assert not existed or output.read_bytes() == b"what was there"


@pytest.mark.parametrize("where", ["save_file", "fsync", "replace"])
def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path, monkeypatch, where):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store if where == "save_file" else store.os, where, full)
    with pytest.raises(UnlearnError, match="no space left on the disk"):
        store.write(str(tmp_path / "out.safetensors"), tensors(), record())
    assert names(tmp_path) == []


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(str(tmp_path / "out.safetensors"), tensors(), record())
    assert names(tmp_path) == []


# never over what the user did not name


def refused(name, **more):
    with pytest.raises(UnlearnError) as raised:
        store.claim(str(name), **{"force": False, **more})
    assert raised.value.hint
    return raised.value.problem


def test_an_existing_output_is_refused_and_force_replaces_it(saved):
    assert "already exists" in refused(saved)
    with pytest.raises(UnlearnError, match="already exists"):
        store.write(saved, {"a": torch.ones(1)}, record())
    store.write(saved, {"a": torch.ones(1)}, record(), force=True)
    assert list(store.read(saved).tensors) == ["a"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_no_output(tmp_path, force):
    assert "is a folder" in refused(tmp_path, force=force)


def test_the_input_is_no_output_even_with_force(saved):
    assert "is the input" in refused(saved, force=True, inputs=(saved,))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_the_input_under_another_name_is_no_output(saved, tmp_path, link):
    link(saved, tmp_path / "other.safetensors")
    assert "is the input" in refused(tmp_path / "other.safetensors", force=True, inputs=(saved,))


def test_a_link_to_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "out.safetensors").symlink_to(tmp_path / "nowhere")
    assert "already exists" in refused(tmp_path / "out.safetensors")


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path):
    assert "folder does not exist" in refused(tmp_path / "missing" / "out.safetensors")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "no permission" in refused(tmp_path / "closed" / "out.safetensors")


def test_the_pipe_may_always_be_written():
    assert store.claim("-", force=False) == "-"
