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

PART_METRICS = ("forget_accuracy", "forget_test_accuracy")
PART_HEAD = ("by request", *PART_METRICS, "outcome", "why")
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
    if report.limits:
        console.print()
        console.print(limits_table(report.limits, footnotes))
    if report.parts:
        console.print()
        console.print(parts_table(report.parts))
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


def parts_table(parts: Sequence[Part]) -> Table:
    """Each of several requests by itself: what is still known of it, and the first limit that it does not keep."""
    table = ruled_table()
    for name in PART_HEAD:
        table.add_column(name, overflow="fold", justify="right" if name in PART_HEAD[1:3] else "left")
    for part in parts:
        style = {"held": "green", "NOT HELD": "bold red", "not shown": "bold red"}.get(part.outcome, "")
        *cells, outcome, why = part_cells(part)
        table.add_row(*map(Text, cells), Text(outcome, style=style), Text(why))
    return table


def part_cells(part: Part) -> list[str]:
    """A row of PART_HEAD."""
    numbers = [part.measures.get(name) for name in PART_METRICS]
    shown = ["-" if one is None or one.value is None else f"{100 * one.value:.2f}%" for one in numbers]
    missed = part.first_missed
    why = "" if missed is None else missed.reason or "{} is {}, the limit is {}".format(missed.metric, *in_words(missed))
    return [part.request, *shown, part.outcome, why]


def fact(value: Scalar) -> str:
    """A fact as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
