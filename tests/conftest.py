"""What every folder of tests shares: a copy of the fixtures, a cache of its own, and the program to run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLEARN_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("UNLEARN_TRACEBACK", "FORCE_COLOR", "WORLD_SIZE", "RANK", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def shipped(tmp_path_factory) -> Path:
    """A copy of the fixtures that tests read, and leave as it is."""
    folder = tmp_path_factory.mktemp("shipped") / "fixtures"
    shutil.copytree(FIXTURES, folder)
    return folder


@pytest.fixture
def place(shipped, tmp_path) -> Path:
    """A folder of the test's own with the two checkpoints, and the digits by a link."""
    for name in ("model.safetensors", "without-3.safetensors"):
        shutil.copy(shipped / name, tmp_path / name)
    (tmp_path / "digits").symlink_to(shipped / "digits")
    return tmp_path


@pytest.fixture
def unlearn(capsys):
    """Run one command line in this process; gives its exit code, stdout and stderr."""
    from unlearn_cli.cli import app

    def call(*arguments):
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return SimpleNamespace(code=code, out=shown.out, err=shown.err)

    return call


@pytest.fixture(scope="session")
def program(session_cache):
    """Run one command line as a process of its own; stdout and stderr are bytes."""

    def call(*arguments, cwd=None, stdin=b"", **environment):
        command = [sys.executable, "-m", "unlearn_cli", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, env=os.environ | environment, check=False)

    return call
