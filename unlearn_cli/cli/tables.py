"""Metrics of checkpoints as tables for people: which way round, how wide, what is marked. Numbers are never cut."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_cli.metrics import standing
from unlearn_cli.metrics.ranking import starred
from unlearn_cli.metrics.report import Column, Measure, Report, Row, reason_of

SIDE_BY_SIDE = 4
GAP = 2
LONGEST_NAME = 16
"""Characters of a label that may head a column."""
BETTER = {"higher": "higher", "lower": "lower", "reference": "= reference"}
BRIEF = BETTER | {"reference": "= ref"}
STYLES = {"failed": "bold red", "not shown": "bold red", "held": "green"}


def of_metrics(report: Report, console: Console) -> tuple[list[Table], dict[str, str], dict[str, int]]:
    """The tables that suit a report and a console, which row each of their short names stands for, and the footnotes.

    A few checkpoints stand side by side. A comparison has its checkpoints below each other wherever that is one table.
    """
    if report.command == "compare":
        footnotes: dict[str, int] = {}
        tables = by_checkpoint(report, footnotes, console.width)
        if len(tables) == 1:
            return tables, {}, footnotes
    if report.command == "compare" or len(report.rows) <= SIDE_BY_SIDE:
        footnotes = {}
        beside = by_metric(report, footnotes)
        if not wider(beside, console):
            meant = zip(heads_of(report), report.rows)
            return [beside], {head: row.label for head, row in meant if row.label not in (head, "")}, footnotes
    footnotes = {}
    return by_checkpoint(report, footnotes, console.width), {}, footnotes


def legend(report: Report) -> list[str]:
    """What the marks of a table mean, and what it leaves out."""
    lines = []
    if any(any(starred(column, report.rows)) for column in shown(report)) and len(report.rows) > 1:
        lines.append("* the best unlearned checkpoint by this metric")
    measures = [measure for row in report.rows for measure in row.measures.values()]
    seeds = [measure.detail["seeds"] for measure in measures if measure.spread is not None]
    if seeds:
        lines.append(f"± the standard deviation over {seeds[0]} seeds")
    if left := len(report.columns) - len(shown(report)):
        lines.append(f"{left} more metrics: --all-metrics shows them, --json has them in any case")
    return lines


def shown(report: Report) -> list[Column]:
    """The columns that a table for people has."""
    return [column for column in report.columns if column.main]


def by_metric(report: Report, footnotes: dict[str, int]) -> Table:
    """Metrics down, a few checkpoints across; metrics are called what `--require` calls them."""
    names, lines = [], []
    several = report.command == "compare"
    for column in shown(report):
        stars = starred(column, report.rows) if several else [False] * len(report.rows)
        across = [cell(column, row, footnotes, star, "\n") for row, star in zip(report.rows, stars)]
        marks = {mark for _, mark, _ in across}
        if len(marks) == 1:                         # said once, beside the metric
            across = [(digits, "", style) for digits, _, style in across]
        names.append(column.name + (marks.pop() if len(marks) == 1 else ""))
        lines.append(across)
    table = ruled_table()
    table.add_column("metric", no_wrap=True)
    table.add_column("better", no_wrap=True)
    downs = [aligned(down) for down in zip(*lines)]
    for name, row, down in zip(heads_of(report), report.rows, downs):
        words = [standing.word(one) for one in row.levels.values()]
        table.add_column(name, justify="right", width=max([longest_word(name), *map(widest, down), *map(len, words)]))
    for name, column, across in zip(names, shown(report), zip(*downs)):
        table.add_row(Text(name), BRIEF[column.better] if several else BETTER[column.better], *across)
    for level in levels_of(report):
        table.add_row(f"{level} level", "held", *(level_cell(row, level) for row in report.rows))
    return table


def by_checkpoint(report: Report, footnotes: dict[str, int], width: int) -> list[Table]:
    """Checkpoints down, metrics across; as many tables as the width asks for."""
    labels = [row.label if row.role == "unlearned" else f"{row.label} ({row.role})" for row in report.rows]
    whole, words = (max(map(size, labels)) for size in (len, longest_word))
    for headings, join, longest in (("title", " ± ", whole), ("short", " ± ", whole), ("short", "\n", words)):
        label_width = min(longest, max(14, width // 3))
        room = width - label_width - GAP
        stacks, widths = stacked(report, footnotes, headings, join)
        if sum(widths) + GAP * (len(widths) - 1) <= room:
            break
    tables = []
    for part in packed(widths, room):
        table = ruled_table()
        table.add_column("checkpoint\n(better)", width=label_width, overflow="fold")
        for i in part:
            table.add_column(stacks[i][0], justify="right", width=widths[i])
        for j, label in enumerate(labels):
            table.add_row(Text(label), *(stacks[i][1][j] for i in part))
        tables.append(table)
    return tables


def stacked(
    report: Report, footnotes: dict[str, int], headings: str, join: str
) -> tuple[list[tuple[str, list[Text]]], list[int]]:
    """Each column's heading and cells, and how wide it has to be."""
    stacks = []
    for column in shown(report):
        marked = starred(column, report.rows)
        down = aligned([cell(column, row, footnotes, star, join) for row, star in zip(report.rows, marked)])
        stacks.append((heading(column, headings), down))
    stacks += [(f"{level} level\n(held)", [level_cell(row, level) for row in report.rows]) for level in levels_of(report)]
    return stacks, [max([longest_word(head), *map(widest, down)]) for head, down in stacks]


def levels_of(report: Report) -> list[str]:
    """The levels that rows were judged at."""
    return list(dict.fromkeys(level for row in report.rows for level in row.levels))


def level_cell(row: Row, level: str) -> Text:
    one = row.levels.get(level)
    return Text("-") if one is None else Text(standing.word(one), style=STYLES[one.outcome])


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


def heads_of(report: Report) -> list[str]:
    """What stands above a row that became a column: its role, or in a comparison a short name of its own."""
    short = [report.command == "compare" and row.role == "unlearned" and 0 < len(row.label) <= LONGEST_NAME for row in report.rows]
    return [row.label if own else name for row, own, name in zip(report.rows, short, names_of(report.rows))]


def cell(column: Column, row: Row, footnotes: dict[str, int], star: bool = False, join: str = " ± ") -> tuple[str, str, str]:
    """The number, what hangs on it (a star, footnotes), and its style."""
    measure = row.measures.get(column.name)
    if measure is None:
        return "-", "", ""
    if measure.value is None:
        return "-", note(reason_of(measure), footnotes), ""
    remark = str(measure.detail.get("note", ""))
    return number(measure, column.unit, join), ("*" if star else "") + note(remark, footnotes), "bold" if star else ""


def aligned(cells: Sequence[tuple[str, str, str]]) -> list[Text]:
    """One column's cells, padded so that digits stand below digits whatever hangs on them; a dash has no digits."""
    most = max((len(marks) for digits, marks, _ in cells if digits != "-"), default=0)
    found = []
    for digits, marks, style in cells:
        first, *more = digits.split("\n")
        found.append(Text("\n".join([first + marks.ljust(most), *(line + " " * most for line in more)]), style=style))
    return found


def widest(text: Text) -> int:
    return max(map(len, text.plain.split("\n")))


def note(remark: str, footnotes: dict[str, int]) -> str:
    """The mark of a footnote; the same remark has the same number."""
    return f"[{footnotes.setdefault(remark, len(footnotes) + 1)}]" if remark else ""


def number(measure: Measure, unit: str, join: str = " ± ") -> str:
    """A value as people read it: per cent for fractions, `>` where the measurement stopped at a cap, ± over seeds.

    `≤` is for a bound from above.

    Args:
        join: what stands before the standard deviation; a line break puts it below.
    """
    text = in_unit(measure.value, unit)
    if measure.spread is not None:
        spread = in_unit(measure.spread, unit)
        text = f"{text}\n±{spread}" if join == "\n" else f"{text.rstrip('% s')}{join}{spread}"
    return f"{'>' * measure.more_than}{'≤' * measure.at_most}{text}"


def in_unit(value: float, unit: str) -> str:
    return {
        "fraction": f"{100 * value:.2f}%",
        "score": f"{value:.4f}",
        "seconds": f"{value:.2f} s",
        "epochs": f"{value:g}",
        "steps": f"{value:g}",
    }[unit]


def heading(column: Column, which: str) -> str:
    """The metric, and below it the direction in which it is good."""
    return f"{getattr(column, which)}\n({BRIEF[column.better]})"


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
