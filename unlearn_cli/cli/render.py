"""A Report in words: tables for people, one line for a pipe. `formats` has the rest."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_cli.cli import console as streams
from unlearn_cli.metrics.report import Column, Limit, Measure, Report, Row, Scalar, reason_of
from unlearn_cli.metrics.verdict import in_words

SIDE_BY_SIDE = 4
GAP = 2
BETTER = {"higher": "higher", "lower": "lower", "reference": "= reference"}
OUTCOME = {"pass": ("pass", "green"), "fail": ("FAIL", "bold red"), "not measurable": ("NOT MEASURED", "bold red")}


def render(report: Report) -> int:
    """Show a report where it belongs and return its exit code.

    On a pipe, a command that wrote files prints their paths alone, one a line, and the rest goes to stderr. When the checkpoint
    itself went to stdout (`-o -`), everything else goes to stderr.
    """
    out = streams.err if report.written == "-" else streams.out
    if report.written in (None, "-") or out.is_terminal:
        show(report, out)
    else:
        out.file.writelines(f"{path}\n" for path in paths(report))
        if not streams.is_quiet():
            show(report, streams.err)
    return report.exit_code


def show(report: Report, console: Console) -> None:
    """Everything in the report; tables are folded or split to fit the console, numbers never."""
    footnotes: dict[str, int] = {}
    if report.title:
        console.print(Text(report.title, style="bold"))
    beside = by_metric(report, footnotes) if report.command != "compare" and len(report.rows) <= SIDE_BY_SIDE else None
    if beside is not None and wider(beside, console):
        beside, footnotes = None, {}
    facts = dict(report.facts)
    if beside is not None:
        facts |= {name: row.label for name, row in zip(names_of(report.rows), report.rows) if row.label}
    if report.written:
        facts["written"] = ", ".join(paths(report))
    if facts:
        console.print(facts_table(facts))
    if report.rows and report.columns:
        for table in [beside] if beside is not None else by_checkpoint(report, footnotes, console.width):
            console.print()
            console.print(table)
        if beside is None and any(any(starred(column, report.rows)) for column in report.columns):
            console.print(Text("* the best unlearned checkpoint of its column"))
    if report.limits:
        console.print()
        console.print(limits_table(report.limits, footnotes))
    if footnotes:
        console.print()
        for remark, number in footnotes.items():
            console.print(Text(f"[{number}] {remark}"))
    for note in report.notes:
        console.print(Text(f"Note: {note}"))
    if report.verdict:
        console.print(Text(report.verdict, style="bold"))


def paths(report: Report) -> list[str]:
    """The files that were written."""
    return report.written if isinstance(report.written, list) else [report.written]


def facts_table(facts: dict[str, Scalar]) -> Table:
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name.replace("_", " ")), Text(fact(value)))
    return table


def by_metric(report: Report, footnotes: dict[str, int]) -> Table:
    """Metrics down, a few checkpoints across; metrics are called what `--require` calls them."""
    names, lines = [], []
    for column in report.columns:
        across = [cell(column, row, footnotes) for row in report.rows]
        marks = {mark for _, mark, _ in across}
        if len(marks) == 1:                         # said once, beside the metric
            across = [(digits, "", style) for digits, _, style in across]
        names.append(column.name + (marks.pop() if len(marks) == 1 else ""))
        lines.append(across)
    table = ruled_table()
    table.add_column("metric", no_wrap=True)
    table.add_column("better", no_wrap=True)
    downs = [aligned(down) for down in zip(*lines)]
    for name, down in zip(names_of(report.rows), downs):
        width = max([longest_word(name), *(len(text) for text in down)])
        table.add_column(name, justify="right", width=width)
    for name, column, across in zip(names, report.columns, zip(*downs)):
        table.add_row(Text(name), BETTER[column.better], *across)
    return table


def by_checkpoint(report: Report, footnotes: dict[str, int], width: int) -> list[Table]:
    """Checkpoints down, metrics across; as many tables as the width asks for."""
    labels = [row.label if row.role == "unlearned" else f"{row.label} ({row.role})" for row in report.rows]
    label_width = min(max(len(label) for label in labels), max(14, width // 3))
    stacks = []
    for column in report.columns:
        marked = starred(column, report.rows)
        down = aligned([cell(column, row, footnotes, star) for row, star in zip(report.rows, marked)])
        stacks.append((column, down, max(len(text) for text in down)))
    room = width - label_width - GAP
    for headings in ("title", "short"):
        widths = [max(size, longest_word(heading(column, headings))) for column, _, size in stacks]
        if sum(widths) + GAP * (len(widths) - 1) <= room:
            break
    tables = []
    for part in packed(widths, room):
        table = ruled_table()
        table.add_column("checkpoint\n(better)", width=label_width, overflow="fold")
        for i in part:
            table.add_column(heading(stacks[i][0], headings), justify="right", width=widths[i])
        for j, label in enumerate(labels):
            table.add_row(Text(label), *(stacks[i][1][j] for i in part))
        tables.append(table)
    return tables


def limits_table(limits: Sequence[Limit], footnotes: dict[str, int]) -> Table:
    """What was asked, what was found, and whether that is enough. Fractions, as they were typed."""
    table = ruled_table()
    table.add_column("limit", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("needed", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for limit in limits:
        value, bound = in_words(limit)
        word, style = OUTCOME[limit.outcome]
        mark = note(limit.reason, footnotes) if limit.reason else ""
        table.add_row(Text(limit.text), value, bound, Text(f"{word}{mark}", style=style))
    return table


def ruled_table() -> Table:
    """Columns set apart by space with a rule below the headings: the same on a terminal and in a file."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)


def wider(table: Table, console: Console) -> bool:
    """Whether a table would have to be cut to fit."""
    endless = console.options.update(width=10_000)          # a table's needs are never reported beyond the width
    return console.measure(table, options=endless).minimum > console.width


def names_of(rows: Sequence[Row]) -> list[str]:
    """Each row's role, numbered where several rows have it."""
    roles = [row.role for row in rows]
    return [role if roles.count(role) == 1 else f"{role} {roles[: i + 1].count(role)}" for i, role in enumerate(roles)]


def cell(column: Column, row: Row, footnotes: dict[str, int], star: bool = False) -> tuple[str, str, str]:
    """The number, what hangs on it (a star, footnotes), and its style."""
    measure = row.measures.get(column.name)
    if measure is None:
        return "-", "", ""
    if measure.value is None:
        return "-", note(reason_of(measure), footnotes), ""
    remark = str(measure.detail.get("note", ""))
    return number(measure, column.unit), ("*" if star else "") + note(remark, footnotes), "bold" if star else ""


def aligned(cells: Sequence[tuple[str, str, str]]) -> list[Text]:
    """One column's cells, padded so that digits stand below digits whatever hangs on them."""
    widest = max(len(marks) for _, marks, _ in cells)
    return [Text(digits + marks.ljust(widest), style=style) for digits, marks, style in cells]


def note(remark: str, footnotes: dict[str, int]) -> str:
    """The mark of a footnote; the same remark has the same number."""
    return f"[{footnotes.setdefault(remark, len(footnotes) + 1)}]" if remark else ""


def number(measure: Measure, unit: str) -> str:
    """A value as people read it: per cent for fractions, `>` where the measurement stopped at a cap, ± over seeds."""
    text = in_unit(measure.value, unit)
    if {"seeds", "std"} <= measure.detail.keys():
        text = f"{text.rstrip('% s')} ± {in_unit(measure.detail['std'], unit)}"
    return f">{text}" if measure.more_than else text


def in_unit(value: float, unit: str) -> str:
    return {
        "fraction": f"{100 * value:.2f}%",
        "score": f"{value:.4f}",
        "seconds": f"{value:.2f} s",
        "epochs": f"{value:g}",
    }[unit]


def starred(column: Column, rows: Sequence[Row]) -> list[bool]:
    """Which of several unlearned checkpoints are best: highest, lowest, or nearest to the references' mean."""
    values = [row.measures[column.name].value if column.name in row.measures else None for row in rows]
    references = [value for row, value in zip(rows, values) if row.role == "reference" and value is not None]
    if column.better == "reference" and not references:
        return [False] * len(rows)
    goal = sum(references) / len(references) if references else 0.0
    cost = {"higher": lambda value: -value, "lower": lambda value: value, "reference": lambda value: abs(value - goal)}
    costs = [
        cost[column.better](value) if row.role == "unlearned" and value is not None else None
        for row, value in zip(rows, values)
    ]
    known = [value for value in costs if value is not None]
    if len(set(known)) < 2:
        return [False] * len(rows)
    return [value == min(known) for value in costs]


def heading(column: Column, which: str) -> str:
    """The metric, and below it the direction in which it is good."""
    return f"{getattr(column, which)}\n({BETTER[column.better].replace('reference', 'ref')})"


def longest_word(text: str) -> int:
    # "= ref" must not be torn apart
    return max(len(word) for line in text.split("\n") for word in ([line] if line.startswith("(") else line.split()))


def packed(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns in order, in as few groups as fit the room; a column too wide for it stands alone."""
    groups: list[list[int]] = []
    used = 0
    for i, width in enumerate(widths):
        if not groups or used + GAP + width > room:
            groups.append([i])
            used = width
        else:
            groups[-1].append(i)
            used += GAP + width
    return groups


def fact(value: Scalar) -> str:
    """A fact as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
