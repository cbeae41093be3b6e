"""Names compared as people read them: an accent typed as one character or as two is the same accent."""

import unicodedata


def normal(name: str) -> str:
    """The composed form (NFC) of a name: what two spellings of the same letters have in common."""
    return unicodedata.normalize("NFC", name)


def same_name(a: str, b: str) -> bool:
    return a == b or normal(a) == normal(b)
