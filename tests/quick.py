"""Settings that make each method quick on the digits."""

from unlearn_cli import methods
from unlearn_cli.kinds import Kind


def quick(name: str, kind: Kind = "classes") -> dict[str, object]:
    """What the method declares for a first try, as far as it acts for a request of a kind."""
    method = methods.get(name)
    return method.acting(method.quick, kind)
