"""`unlearn methods`."""

from typing import Annotated

import typer

from unlearn_cli.cli import options as o

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="One method, with its settings.")]


def methods(name: Name = None, json: o.Json = False) -> None:
    """List the methods, or explain one: what happens to the weights, what it reads, its settings and source."""
    from unlearn_cli import methods as found

    described = [describe(found.get(n)) for n in ([name] if name else found.names())]
    if json:
        from unlearn_cli.cli import console

        console.out.file.write(console.as_json(described[0] if name else described, console.out.file))
    elif name:
        show_one(described[0])
    else:
        show_all(described)


def describe(method) -> dict:
    """A method as plain values."""
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "paper": method.paper,
        "scope": list(method.scope),
        "reads": list(method.reads),
        "reads_with": method.opens,
        "instances_read": list(method.instances_read),
        "notes": method.notes,
        "quick": {kind: method.acting(method.quick, kind) for kind in method.kinds},
        "settings": [describe_setting(s) for s in method.settings.values()],
    }


def describe_setting(s) -> dict:
    """A setting as plain values: `default` is that of the signature, `shown` has it in words for both kinds of requests."""
    return {
        "name": s.name,
        "default": s.default,
        "defaults": {kind: s.default_for(kind) for kind in ("classes", "images") if s.rules.only in (None, kind)},
        "shown": s.default_in_words(),
        "range": s.range,
        "help": s.help,
        "only": s.rules.only,
        "with": s.conditions,
        "none": s.rules.none or None,
        "meaning": s.meaning,
    }


def show_all(described: list[dict]) -> None:
    from rich.table import Table

    from unlearn_cli.cli.console import out

    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column("method", no_wrap=True)
    table.add_column("what happens to the weights", ratio=1)
    table.add_column("forgets")
    table.add_column("reads")
    for m in described:
        table.add_row(m["name"], m["summary"], ", ".join(m["scope"]), ", ".join(m["reads"]) or "nothing")
    out.print(table)
    out.print("`unlearn methods NAME` explains one.", markup=False)


def show_one(m: dict) -> None:
    from rich.table import Table

    from unlearn_cli.cli.console import out

    opened = [f"{split} with {name}" for name, split in m["reads_with"].items()]
    opened += [f"{split} for listed images" for split in m["instances_read"]]
    out.print(f"{m['name']}: {m['title']} ({m['paper']})", style="bold", markup=False)
    out.print(m["summary"], markup=False)
    out.print(f"\nforgets  {', '.join(m['scope'])}\nreads    {', '.join([*m['reads'], *opened]) or 'no images'}\n", markup=False)
    out.print(m["notes"], markup=False)
    if m["settings"]:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="settings (--set name=value)", title_justify="left")
        table.add_column("name", no_wrap=True)
        table.add_column("default", no_wrap=True)
        table.add_column("allowed")
        table.add_column("meaning", ratio=1)
        for s in m["settings"]:
            table.add_row(s["name"], s["shown"].replace("; ", "\n"), s["range"], s["meaning"])
        out.print()
        out.print(table)
    for line in dict.fromkeys(first_try(values) for values in m["quick"].values() if values):
        out.print(f"\nfor a first try, in seconds: {line}", markup=False)


def first_try(values: dict) -> str:
    """Settings as they are typed."""
    from unlearn_cli.settings import typed

    return " ".join(f"--set {name}={typed(value)}" for name, value in values.items())
