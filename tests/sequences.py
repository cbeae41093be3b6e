"""Twenty requests in turn on the digits: classes, lists, overlapping ones, the same ones again."""

from pathlib import Path

from unlearn_cli.jobs import Options, Request, forget

CPU = Options(device="cpu", precision="float32")
CLASSES = ("1", "2", "4", "7", "8")


def images(digits: Path, digit: str, first: int, count: int) -> list[str]:
    """Paths of some training images of a digit."""
    return [f"train/{digit}/{path.name}" for path in sorted((digits / "train" / digit).iterdir())[first : first + count]]


def plan(digits: Path) -> list[tuple[str, Request]]:
    """(method, request), most of them by methods that read the retain set, which is what brings a class back."""

    def listed(*parts: tuple[str, int, int]) -> Request:
        return Request(instances=tuple(path for part in parts for path in images(digits, *part)))

    return [
        ("cf-k", Request(("1",))),
        ("fine-tune", listed(("5", 0, 15))),
        ("cf-k", Request(("2",))),
        ("cf-k", Request(("1",))),                               # the same class again
        ("amnesiac", listed(("5", 10, 10), ("6", 0, 10))),       # overlaps the first list
        ("eu-k", Request(("4",))),
        ("bad-teacher", listed(("4", 0, 10), ("9", 0, 10))),     # half of it of a class that is forgotten
        ("fine-tune", listed(("5", 0, 15))),                     # the same list again
        ("random-label", listed(("3", 0, 20))),
        ("cf-k", Request(("7",))),
        ("scrub", listed(("0", 0, 20))),
        ("fine-tune", listed(("7", 0, 5), ("6", 5, 10))),
        ("cf-k", Request(("2", "7"))),                           # two that are forgotten, together
        ("neg-grad", listed(("9", 20, 10))),
        ("amnesiac", listed(("0", 20, 12), ("3", 10, 12))),
        ("eu-k", Request(("8",))),
        ("gli", listed(("6", 30, 10))),
        ("cf-k", Request(("1", "8"))),
        ("bad-teacher", listed(("5", 40, 10))),
        ("fine-tune", listed(("9", 40, 10), ("8", 0, 3))),
    ]  # fmt: skip


QUICK = {"epochs": 2}
"""Of the settings of every method that has them: cf-k and eu-k keep their own, as two epochs forget no class."""


def in_turn(original: Path, folder: Path, steps: list[tuple[str, Request]]) -> Path:
    """The checkpoint after all of them, each made from the one before; the others stay beside it."""
    made = original
    for number, (method, request) in enumerate(steps, 1):
        after = folder / f"step{number}.safetensors"
        settings = {} if method in ("cf-k", "eu-k") else QUICK if method != "gli" else {"epochs": 1}
        forget(str(made), method, request, output=str(after), settings=settings, options=CPU)
        made = after
    return made
