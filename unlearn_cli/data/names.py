"""Names of classes as text: two spellings of one name, composed and decomposed, are one name."""

import unicodedata


def normal(name: str) -> str:
    """The composed form (NFC), by which names are compared: file systems and editors disagree on which one they write."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def same_name(a: str, b: str) -> bool:
    return normal(a) == normal(b)


def spelled(name: str) -> str:
    """A name with everything beyond ASCII as code points: caf<U+00E9>."""
    return "".join(c if c.isascii() else f"<U+{ord(c):04X}>" for c in name)
