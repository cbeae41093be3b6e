"""The toys of this folder."""

import shutil

import pytest
from toys import Toy


@pytest.fixture
def toy(shipped) -> Toy:
    return Toy(shipped / "model.safetensors")


@pytest.fixture
def few(shipped, tmp_path) -> Toy:
    """The shipped model on eight training images of each digit."""
    for path in [p for folder in (shipped / "digits/train").iterdir() for p in sorted(folder.iterdir())[:8]]:
        (tmp_path / "few/train" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "few/train" / path.parent.name)
    shutil.copytree(shipped / "digits/test", tmp_path / "few/test")
    return Toy(shipped / "model.safetensors", tmp_path / "few")
