"""The images of a folder, shown: a list that `--instances` reads back, or how many of each class there are."""

import re

from unlearn_cli.cli.console import as_json, out
from unlearn_cli.data.catalogue import SPLITS, Catalogue
from unlearn_cli.errors import one_line

HEADER = ("file_name", "class", "split")
SHOWN = 20  # classes in the table
QUOTED = re.compile(r'["\t\r\n]')


def write_list(catalogue: Catalogue, json: bool) -> None:
    """An image per line, its path, class and split with tabs between them below a header, or a JSON list of objects."""
    if json:
        out.file.write(as_json([dict(zip(HEADER, row)) for row in catalogue.rows()], out.file))
        return
    spell = shown if out.is_terminal else cell
    text = "".join("\t".join(map(spell, row)) + "\n" for row in (HEADER, *catalogue.rows()))
    # In UTF-8 whatever the stream's own encoding is, and names as the file system has them: what reads lists expects both.
    out.file.write_bytes(text.encode("utf-8", "surrogateescape"))


def cell(text: str) -> str:
    """A cell as CSV readers take it: quoted where it holds what would end it."""
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text


def shown(text: str) -> str:
    """A cell that a terminal shows and does not obey."""
    return one_line(text, len(text))


def counts(catalogue: Catalogue) -> dict:
    """How many images each split and each class of a folder has."""
    found = catalogue.counts()
    used = [i for i, name in enumerate(SPLITS) if name in ("train", "test") or found[:, i].any()]
    total = {"folder": catalogue.root, "images": len(catalogue.paths)} | {SPLITS[i]: int(found[:, i].sum()) for i in used}
    rows = zip(catalogue.classes, found.tolist(), strict=True)
    each = [{"class": name} | {SPLITS[i]: row[i] for i in used} for name, row in rows]
    return total | {"classes": each, "notes": list(catalogue.notes)}


def show_counts(about: dict) -> None:
    """The counts as a table for people, of the first classes and of all."""
    from rich.text import Text

    from unlearn_cli.cli.tables import ruled_table

    splits = [name for name in SPLITS if name in about]
    classes = about["classes"]
    title = f"{about['folder']}: {about['images']:,} images of {len(classes):,} classes"
    out.print(title, style="bold", markup=False, soft_wrap=True)
    out.print()
    table = ruled_table()
    table.add_column("class", overflow="fold")
    for name in splits:
        table.add_column(name, justify="right", no_wrap=True)
    for row in classes[:SHOWN]:
        table.add_row(Text(shown(row["class"])), *(f"{row[name]:,}" for name in splits))
    if rest := classes[SHOWN:]:
        table.add_row(Text(f"({len(rest):,} more)"), *(f"{sum(row[name] for row in rest):,}" for name in splits))
    table.add_section()
    table.add_row(Text("all"), *(f"{about[name]:,}" for name in splits))
    out.print(table)
    for remark in about["notes"]:
        out.print(f"Note: {remark}", markup=False, soft_wrap=True)
