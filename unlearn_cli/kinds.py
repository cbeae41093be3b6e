"""What a request names, in the words that methods and metrics declare what they are defined for."""

from typing import Literal

Kind = Literal["classes", "images"]
IN_WORDS: dict[Kind, str] = {"classes": "classes", "images": "listed images"}
Scope = Literal["class", "classes", "instances"]
"""One class told from several; instances are images."""


def scope_of(kind: Kind, classes: int) -> Scope:
    """The scope of a request of a kind, with so many classes."""
    return "instances" if kind == "images" else "class" if classes == 1 else "classes"
