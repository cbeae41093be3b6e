"""Which module may see which, read from the source: at the top, inside a function or for types alone, an import is an import."""

import ast
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

PACKAGE = "unlearn_cli"
ROOT = Path(__file__).parents[1] / PACKAGE

FLOORS = (
    ("__init__", "errors", "inputs", "kinds"),
    ("settings",),
    ("ops",),
    ("tasks",),
    ("data", "models", "checkpoints"),
    ("engine",),
    ("techniques",),
    ("methods", "metrics"),
    ("cases",),
    ("jobs",),
    ("cli",),
    ("__main__",),
)
"""The rooms, lowest first. A module sees its own room and every lower floor, and no other room of its own floor."""

NARROW = {
    "ops": ("errors",),
    "metrics": ("errors", "kinds", "ops", "tasks"),
}
"""Rooms that see less than their floor lets them: tensors alone, and numbers of what was read before."""

LIBRARIES = {"ops": {"torch", "numpy"}}
"""Beside the standard library."""

VERBS = ("train", "forget", "evaluate", "relearn", "compare", "verify_record", "importing")

Graph = dict[str, set[str]]


def sources() -> dict[str, str]:
    """The text of every module, by its dotted name; a package is its own `__init__`."""
    files = {".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)): path for path in sorted(ROOT.rglob("*.py"))}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}


def imported(text: str, module: str, known: Collection[str]) -> set[str]:
    """The dotted names that a module imports, wherever in it. `from a import b` is `a.b` if that is a known module, else `a`."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inside = [f"{base}.{alias.name}" for alias in node.names]
            names |= {name if name in known or f"{name}.__init__" in known else base for name in inside}
    return names


def graph_of(texts: dict[str, str]) -> Graph:
    """The modules of ours that each module imports."""
    graph = {}
    for module, text in texts.items():
        names = imported(text, module, texts.keys())
        graph[module] = {one for name in names for one in (name, f"{name}.__init__") if one in texts} - {module}
    return graph


def room(module: str) -> str:
    return module.split(".")[1]


def floors() -> dict[str, int]:
    return {name: number for number, names in enumerate(FLOORS) for name in names}


def upward(graph: Graph) -> list[str]:
    """The imports that run up, or across a floor, or out of a narrow room."""
    floor = floors()
    edges = [(a, b) for a in sorted(graph) for b in sorted(graph[a]) if room(a) != room(b)]
    return [
        f"{a} (floor {floor[room(a)]}) -> {b} (floor {floor[room(b)]})"
        for a, b in edges
        if floor[room(b)] >= floor[room(a)] or room(b) not in NARROW.get(room(a), floor)
    ]


def circle(graph: Graph) -> list[str]:
    """The modules of a circle of imports in order, the first again at the end; none where there is no circle."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        found = next((ring for other in sorted(graph.get(module, ())) if (ring := walk(other, [*way, module]))), [])
        done.add(module)
        return found

    return next((ring for module in sorted(graph) if (ring := walk(module, []))), [])


def between_verbs(graph: Graph) -> list[str]:
    """The verbs that import another."""
    verbs = [f"{PACKAGE}.jobs.{verb}" for verb in VERBS]
    return [f"{a} -> {b}" for a in verbs for b in sorted(graph.get(a, ())) if b in (*verbs, f"{PACKAGE}.jobs.__init__")]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return sources()


@pytest.fixture(scope="module")
def graph(texts) -> Graph:
    return graph_of(texts)


def drawn(edges: list[str]) -> str:
    return "\n" + "\n".join(f"  {edge}" for edge in edges)


def test_every_room_has_a_floor(texts):
    assert not {room(module) for module in texts} - set(floors())


def test_no_import_runs_up_or_across(graph):
    edges = upward(graph)
    assert not edges, drawn(edges)


def test_no_import_goes_round(graph):
    ring = circle(graph)
    assert not ring, drawn([" -> ".join(ring)])


def test_no_verb_imports_another(graph):
    assert {f"{PACKAGE}.jobs.{verb}" for verb in VERBS} <= set(graph)
    edges = between_verbs(graph)
    assert not edges, drawn(edges)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_room_of_mathematics_needs_no_library_but_its_own(texts, name):
    allowed = LIBRARIES[name] | set(sys.stdlib_module_names) | {PACKAGE}
    here = {module: imported(text, module, texts.keys()) for module, text in texts.items() if room(module) == name}
    used = {(module, other.split(".")[0]) for module, others in here.items() for other in others}
    assert "torch" in {other for _, other in used}
    edges = [f"{module} -> {other}" for module, other in sorted(used) if other not in allowed]
    assert not edges, drawn(edges)


# that these find what they look for


def graph_with(**more: str) -> Graph:
    """A small package: `data__folder="from unlearn_cli.jobs import train"` is what one module of it imports."""
    texts = {"__init__": "", "errors": "", "ops__losses": "import torch", "data__folder": "", "jobs__train": "", "jobs__forget": ""}
    texts |= {"jobs____init__": "from unlearn_cli.jobs.train import train"} | more
    return graph_of({f"{PACKAGE}." + name.replace("__", ".", 1) if name != "__init__" else f"{PACKAGE}.__init__": text
                     for name, text in texts.items()})  # fmt: skip


AT_THE_TOP = "from unlearn_cli.jobs.train import fit"
IN_A_FUNCTION = "def f():\n    from unlearn_cli.jobs import train"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unlearn_cli.jobs.train"
RELATIVE = "from ..jobs.train import fit"


def test_an_import_that_runs_down_is_none_that_runs_up():
    fine = graph_with(jobs__train="from unlearn_cli.data.folder import Folder\nfrom unlearn_cli.ops import losses")
    assert fine[f"{PACKAGE}.jobs.train"] == {f"{PACKAGE}.data.folder", f"{PACKAGE}.ops.losses"}
    assert (upward(fine), circle(fine), between_verbs(fine)) == ([], [], [])


@pytest.mark.parametrize("text", [AT_THE_TOP, IN_A_FUNCTION, FOR_TYPES, RELATIVE])
def test_an_import_that_runs_up_is_found_wherever_it_is_written(text):
    up = graph_with(data__folder=text)
    assert upward(up) == [f"{PACKAGE}.data.folder (floor 4) -> {PACKAGE}.jobs.train (floor 9)"]


@pytest.mark.parametrize(("module", "text"), [
    ("data__folder", "from unlearn_cli import models"), ("metrics__auc", "from unlearn_cli.methods import lau"),
    ("methods__lau", "import unlearn_cli.metrics.auc"), ("ops__losses", "from unlearn_cli.kinds import Kind"),
    ("metrics__auc", "from unlearn_cli.data.folder import Folder"),
])  # fmt: skip
def test_an_import_across_a_floor_or_out_of_a_narrow_room_is_found(module, text):
    rooms = {"models____init__": "", "methods__lau": "", "metrics__auc": "", "kinds": ""}
    assert len(upward(graph_with(**(rooms | {module: text})))) == 1
    assert not upward(graph_with(**rooms))


@pytest.mark.parametrize("text", [AT_THE_TOP, IN_A_FUNCTION, FOR_TYPES, RELATIVE])
def test_a_circle_is_found_wherever_its_imports_are_written(text):
    assert circle(graph_with(jobs__train="from unlearn_cli.data.folder import Folder")) == []
    ring = circle(graph_with(jobs__train="from unlearn_cli.data.folder import Folder", data__folder=text))
    assert ring == [f"{PACKAGE}.data.folder", f"{PACKAGE}.jobs.train", f"{PACKAGE}.data.folder"]


@pytest.mark.parametrize("text", ["from unlearn_cli.jobs.train import train", "def f():\n    import unlearn_cli.jobs.train",
                                  "from unlearn_cli import jobs"])  # fmt: skip
def test_a_verb_that_imports_another_is_found(text):
    assert len(between_verbs(graph_with(jobs__forget=text))) == 1
