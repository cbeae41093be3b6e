"""Names as people mean them: the same letters are the same name, whichever way Unicode composes them."""

import unicodedata


def normal(name: str) -> str:
    """A name in composed form (NFC), for comparison alone: what is shown and written stays as it was given."""
    return unicodedata.normalize("NFC", name)


def same_name(one: str, other: str) -> bool:
    """Whether two names differ at most in how their letters are composed."""
    return normal(one) == normal(other)
