"""A Report in words: tables for people, one line for a pipe. `tables` has those of metrics, `series` curves, `formats` the rest."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_cli.cli import console as streams
from unlearn_cli.cli import series, tables
from unlearn_cli.cli.tables import GAP, note, ruled_table
from unlearn_cli.metrics import standing
from unlearn_cli.metrics.report import Limit, Part, Report, Scalar
from unlearn_cli.metrics.verdict import in_words

OUTCOME = {"pass": ("pass", "green"), "fail": ("FAIL", "bold red"), "not measurable": ("NOT MEASURED", "bold red")}
BY_CODE = {0: "pass", 1: "fail", 2: "not measurable"}
OF_A_REQUEST = ("forget_accuracy", "forget_test_accuracy")


def render(report: Report) -> int:
    """Show a report where it belongs and return its exit code.

    On a pipe, a command that wrote files prints their paths alone, one a line, and the rest goes to stderr. When the checkpoint
    itself went to stdout (`-o -`), everything else goes to stderr.
    """
    out = streams.err if report.written == "-" else streams.out
    if report.written in (None, "-") or out.is_terminal:
        show(report, out)
    else:
        out.file.writelines(streams.spelled(f"{path}\n", out.file) for path in paths(report))
        if not streams.is_quiet():
            show(report, streams.err)
    return report.exit_code


def show(report: Report, console: Console) -> None:
    """Everything in the report; tables are folded or split to fit the console, numbers never."""
    has_metrics = bool(report.rows and tables.shown(report))
    found, names, footnotes = tables.of_metrics(report, console) if has_metrics else ([], {}, {})
    if report.title:
        console.print(Text(report.title, style="bold"))
    if report.series:
        names |= {name: row.label for name, row in zip(tables.names_of(report.rows), report.rows) if row.label}
    facts = report.facts | names | ({"written": ", ".join(paths(report))} if report.written else {})
    if facts:
        console.print(facts_table(facts))
    for table in found:
        console.print()
        console.print(table)
    for line in tables.legend(report):
        console.print(Text(line))
    if any(row.levels for row in report.rows):
        console.print()
        for row in report.rows:
            console.print(Text(standing.said(row)))
    for one in report.series:
        console.print()
        console.print(Text(one.title))
        for table in series.tables(one, tables.names_of(report.rows), console.width):
            console.print(table)
    if report.parts:
        console.print()
        console.print(requests_table(report.parts))
    if limits := report.shown_limits:
        console.print()
        console.print(limits_table(limits, footnotes))
    if footnotes:
        console.print()
        for remark, number in footnotes.items():
            console.print(Text(f"[{number}] {remark}"))
    for remark in report.notes:
        console.print(Text(f"Note: {remark}"))
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


def requests_table(parts: Sequence[Part]) -> Table:
    """Each of several requests by itself: what is still known of it, and whether its limits held."""
    table = ruled_table()
    head, rows = requests_cells(parts)
    table.add_column(head[0], overflow="fold")
    for name in head[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def requests_cells(parts: Sequence[Part]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of that table; a request without limits has no outcome."""
    names = [name for name in OF_A_REQUEST if any(name in part.measures for part in parts)]
    rows = []
    for part in parts:
        values = [part.measures[name].value if name in part.measures else None for name in names]
        outcome = OUTCOME[BY_CODE[part.exit_code]][0] if part.limits else "-"
        rows.append([part.request, *("-" if value is None else f"{value:.2%}" for value in values), outcome])
    return ["each request", *names, "outcome"], rows


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


def fact(value: Scalar) -> str:
    """A fact as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
