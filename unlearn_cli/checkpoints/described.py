"""What another library's configuration says of the network beside it."""

from dataclasses import dataclass, field
from typing import Any

from unlearn_cli.inputs import Input


@dataclass(frozen=True)
class Described:
    """A configuration in our words; what it does not say is None.

    Args:
        architecture: `timm/NAME` or `transformers/CLASS`.
        config: the library's own words, from which it builds the network.
        classes: names in the order of the head's outputs.
        also: other names of the classes, in the same order: synonyms, descriptions, identifiers.
        input: the size, normalisation and resizing that the weights were made for.
        channels: of the input.
        notes: what in it could not be used.
        outputs: how many classes it says that there are.
        unprepared: why it does not say how images are prepared, where neither it nor the library does.
    """

    architecture: str
    config: dict[str, Any]
    classes: list[str] | None = None
    also: list[list[str]] | None = None
    input: Input | None = None
    channels: int = 3
    notes: list[str] = field(default_factory=list)
    outputs: int | None = None
    unprepared: str = ""
