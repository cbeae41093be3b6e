"""`hf://ORGANISATION/NAME` and `hf://ORGANISATION/NAME@REVISION`: a folder of the Hugging Face hub, downloaded when asked for."""

import re
from pathlib import Path

from unlearn_cli.errors import UnlearnError, reason_of

SCHEME = "hf://"
WANTED = ("config.json", "preprocessor_config.json", "processor_config.json", "README.md", "LICENSE*", "model*.safetensors",
          "model.safetensors.index.json")  # fmt: skip
"""What is downloaded: configurations and safetensors. No pickle, no code, no other weights."""


def fetched(name: str) -> Path:
    """The folder in the hub's own cache, with these files alone.

    Raises:
        UnlearnError: no such name, the extra is not installed, or it cannot be had.
    """
    organisation_and_name, revision = _parts(name)
    try:
        import huggingface_hub
    except ImportError:
        raise UnlearnError("huggingface_hub is not installed.", "install it: pip install 'unlearn-cli[hub]'.") from None
    try:
        return Path(huggingface_hub.snapshot_download(organisation_and_name, revision=revision, allow_patterns=list(WANTED)))
    except Exception as error:  # noqa: BLE001 - networks and servers fail in every way
        raise UnlearnError(f"{name} could not be downloaded ({reason_of(error)}).",
                           "check the name, the connection, and whether it asks for a login.") from None  # fmt: skip


def own_name(name: str) -> str:
    """What a folder of it is called in the working folder."""
    return _parts(name)[0].rpartition("/")[2]


def _parts(name: str) -> tuple[str, str | None]:
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?/?", name)
    if found is None or found[1].rpartition("/")[2] in (".", ".."):
        raise UnlearnError(f"{name} is no name on the hub.", "write it as hf://ORGANISATION/NAME, or with @REVISION behind it.")
    return found[1], found[2]
