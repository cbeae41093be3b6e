from pathlib import Path

import pytest
from pictures import picture, put


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three classes, five training and three test images each, 28 by 28 in colour."""
    seed = 0
    for part, count in (("train", 5), ("test", 3)):
        for name in ("cat", "dog", "owl"):
            for i in range(count):
                put(tmp_path / "photos" / part / name / f"{i}.png", picture(seed := seed + 1))
    return tmp_path / "photos"
