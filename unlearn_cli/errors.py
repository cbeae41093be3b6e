"""The one exception a user's mistake may raise: what is wrong, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UnlearnError(Exception):
    """A problem with the value given, and a hint that mends it; the command line prints both and exits with 2."""

    def __init__(self, problem: str, hint: str = ""):
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def one_line(words: object, most: int = 300) -> str:
    """Foreign words for a message: short, and without anything that breaks a line or that a terminal would obey."""
    text = str(words)
    text = text if len(text) <= most else f"{text[:most]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def reason_of(error: Exception) -> str:
    """The first line of what a library's or a user's code raised, for brackets in a message."""
    return one_line((str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".!: "))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question naming the closest known word, or nothing when none is close."""
    close = get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.55)
    return f"did you mean '{close[0]}'?" if close else ""
