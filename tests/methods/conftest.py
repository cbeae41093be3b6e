"""The toy of this folder."""

import pytest
from toys import Toy


@pytest.fixture
def toy(shipped) -> Toy:
    return Toy(shipped / "model.safetensors")
