"""What a request names, in the words that methods and metrics declare what they are defined for."""

from typing import Literal

Kind = Literal["classes", "images"]
IN_WORDS: dict[Kind, str] = {"classes": "classes", "images": "listed images"}
Scope = Literal["class", "classes", "instances"]
"""One class told from several; instances are images."""
UNSEEN: dict[Kind, str] = {"classes": "forget_test", "images": "test"}
"""The split of the images that no model saw, of the forget set's classes."""
STRANGERS: dict[Kind, str] = {"classes": "retain_test", "images": "test"}
"""The split of the unseen images that an attacker may learn from: no class that vanishes is among them."""
HELD: dict[Kind, str] = {"classes": "forget_test", "images": "forget"}
"""The split that is looked at while a model goes on training: images like those to forget, or these themselves."""


def scope_of(kind: Kind, classes: int) -> Scope:
    """The scope of a request of a kind, with so many classes."""
    return "instances" if kind == "images" else "class" if classes == 1 else "classes"
