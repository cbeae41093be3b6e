"""A Report for programs and CI jobs: JSON, CSV, Markdown for a job summary, JUnit XML. Tables for people are `render`'s."""

import csv
import re
from collections.abc import Callable, Sequence
from io import StringIO
from xml.etree import ElementTree

from unlearn_cli.cli import console as streams
from unlearn_cli.cli.render import OUTCOME, PART_HEAD, fact, part_cells
from unlearn_cli.cli.series import cells as series_cells
from unlearn_cli.cli.tables import BETTER, cell, legend, levels_of, names_of, note, shown
from unlearn_cli.errors import one_line
from unlearn_cli.metrics import standing
from unlearn_cli.metrics.ranking import starred
from unlearn_cli.metrics.report import Column, Limit, Measure, Report, Row, Series, finite, reason_of
from unlearn_cli.metrics.verdict import in_words

ACTIVE = re.compile(r"[\\`*~\[\]<>|#&$]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would act upon, underscores inside words excepted."""
JUNIT = {"fail": ("failure", "limit not met"), "not measurable": ("error", "not measurable")}
SKIPPED = ("skipped", "not measurable")


def write(report: Report, shape: str) -> int:
    """Put a report on standard output as "markdown", "csv" or "json", and return its exit code.

    `metrics/report.schema.json` describes the JSON.
    """
    out = streams.err if report.written == "-" else streams.out     # a checkpoint that went to stdout has it for itself
    text = streams.as_json(report.as_dict(), out.file) if shape == "json" else TEXT[shape](report)
    out.file.write(streams.spelled(text, out.file))     # not through rich, which folds long lines
    return report.exit_code


def as_csv(report: Report) -> str:
    """A row per checkpoint, a column per metric, in full precision; beside a mean over seeds, its standard deviation.

    What the policy says of a level stands at the end: held, failed, not shown, or the share of seeds that held.
    What was not measured is empty. `>100` is a measurement that stopped at 100, so that it is not taken for the number, and
    `<=0.2` a bound from above. The points of a curve follow as columns of their own.
    """
    lines = [{"label": one_line(row.label, len(row.label)), "role": row.role} | cells(row) for row in report.rows]
    names = [name for column in report.columns for name in (column.name, spread(column.name))]
    names += [f"{level}_level" for level in levels_of(report)]
    for series in report.series:
        names += [f"{series.name}_{place}" for place in series.places]
        for line, values in zip(lines, series.values):
            line |= {f"{series.name}_{place}": repr(value) for place, value in zip(series.places, values) if value is not None}
    used = {name for line in lines for name in line} | {column.name for column in report.columns}
    file = StringIO()
    header = ["label", "role", *(name for name in names if name in used)]
    writer = csv.DictWriter(file, header, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def cells(row: Row) -> dict[str, str]:
    """A checkpoint's numbers by column."""
    found = {}
    for name, measure in row.measures.items():
        found[name] = digits(measure)
        if measure.spread is not None:
            found[spread(name)] = repr(measure.spread)
    return found | {f"{level}_level": standing.word(one) for level, one in row.levels.items()}


def spread(metric: str) -> str:
    return f"{metric}_std"


def digits(measure: Measure) -> str:
    """The number with every digit that tells it from its neighbours, or nothing."""
    if finite(measure.value) is None:
        return ""
    return ">" * measure.more_than + "<=" * measure.at_most + repr(float(measure.value))


def as_markdown(report: Report) -> str:
    """For the summary of a CI job: the verdict, the limits, the metrics, footnotes; then what was looked at."""
    footnotes: dict[str, int] = {}
    parts = [f"### {escaped(report.verdict or report.title)}"]
    if report.verdict and report.title:
        parts.append(escaped(report.title))
    if report.limits:
        head = ["limit", "value", "needed", "outcome"]
        parts.append(table(head, [limit_cells(limit, footnotes) for limit in report.limits], "lrll"))
    if report.rows and report.columns:
        head = ["metric", "better", *(f"{escaped(row.label)} ({name})" for row, name in zip(report.rows, names_of(report.rows)))]
        lines = [metric_cells(column, report.rows, footnotes) for column in shown(report)]
        lines += [level_cells(level, report.rows) for level in levels_of(report)]
        parts.append(table(head, lines, "ll" + "r" * len(report.rows)))
        parts.append("\n".join(f"- {escaped(line)}" for line in legend(report)))
    parts.append("\n".join(f"- {escaped(standing.said(row))}" for row in report.rows if row.levels))
    if report.parts:
        parts.append(table(list(PART_HEAD), [[escaped(cell) for cell in part_cells(part)] for part in report.parts], "lrrll"))
    parts += [part for series in report.series for part in series_parts(series, names_of(report.rows))]
    parts.append("\n".join(f"- \\[{number}\\] {escaped(remark)}" for remark, number in footnotes.items()))
    about = [f"Note: {remark}" for remark in report.notes]
    about += [f"{name.replace('_', ' ')}: {fact(value)}" for name, value in report.facts.items()]
    parts.append("\n".join(f"- {escaped(line)}" for line in about))
    return "\n\n".join(part for part in parts if part) + "\n"


def limit_cells(limit: Limit, footnotes: dict[str, int]) -> list[str]:
    value, bound = in_words(limit)
    outcome = escaped(OUTCOME[limit.outcome][0] + (note(limit.reason, footnotes) if limit.reason else ""))
    return [escaped(limit.text), escaped(value), escaped(bound), outcome if limit.outcome == "pass" else f"**{outcome}**"]


def metric_cells(column: Column, rows: Sequence[Row], footnotes: dict[str, int]) -> list[str]:
    """One metric across the checkpoints, the best of several starred and in bold."""
    across = []
    for row, best in zip(rows, starred(column, rows)):
        text = escaped("".join(cell(column, row, footnotes, best)[:2]))
        across.append(f"**{text}**" if best else text)
    return [escaped(column.name), BETTER[column.better], *across]


def level_cells(level: str, rows: Sequence[Row]) -> list[str]:
    """What the policy says of a level across the checkpoints; what did not hold is bold."""
    across = []
    for one in (row.levels.get(level) for row in rows):
        across.append("-" if one is None else standing.word(one) if one.outcome == "held" else f"**{standing.word(one)}**")
    return [f"{level} level", "held", *across]


def series_parts(series: Series, names: Sequence[str]) -> list[str]:
    """Its title, and its places down the checkpoints."""
    lines = [[escaped(place), *across] for place, across in zip(series.shown, zip(*series_cells(series)))]
    return [escaped(series.title), table([series.place, *names], lines, "l" + "r" * len(names))]


def table(head: Sequence[str], lines: Sequence[Sequence[str]], sides: str) -> str:
    """A Markdown table; `sides` has an l or r per column."""
    rule = ["---:" if side == "r" else "---" for side in sides]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line and in a table's cell too."""
    return ACTIVE.sub(r"\\\g<0>", one_line(text, len(text)))


def as_junit(report: Report) -> bytes:
    """A test case per limit: a failure where it was not met, an error where it could not be measured.

    The limits of each of several requests are among them; what cannot be measured of one alone is skipped, where all of its
    kind together decide.

    The properties of the suite are every number, verdict and digest. No time of day and no duration: the same
    evaluation gives the same file.
    """
    limits = [("", limit, JUNIT.get(limit.outcome)) for limit in report.limits]
    for part in report.parts:
        kinds = JUNIT if part.is_whole else JUNIT | {"not measurable": SKIPPED}
        limits += [(part.request, limit, kinds.get(limit.outcome)) for limit in part.limits]
    words = [kind[0] for *_, kind in limits if kind]
    counts = {"tests": str(len(limits)), "failures": str(words.count("failure")), "errors": str(words.count("error"))}
    root = ElementTree.Element("testsuites", {"name": f"unlearn {report.command}"} | counts)
    counts |= {"skipped": str(words.count("skipped"))}
    suite = ElementTree.SubElement(root, "testsuite", {"name": valid(report.title)} | counts)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in junit_properties(report).items():
        ElementTree.SubElement(properties, "property", {"name": valid(name), "value": valid(value)})
    for request, limit, outcome in limits:
        place = f"unlearn.{report.command}" + (f".{limit.level}" if limit.level else "")
        name = f"{request}: {limit.text}" if request else limit.text
        case = ElementTree.SubElement(suite, "testcase", {"classname": place, "name": valid(name)})
        if outcome:
            word, kind = outcome
            value, bound = in_words(limit)
            said = f"{limit.metric} is {value}, the limit is {bound}" if word == "failure" else limit.reason
            ElementTree.SubElement(case, word, {"message": valid(said), "type": kind}).text = valid(limit.reason)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def junit_properties(report: Report) -> dict[str, str]:
    """The evaluated checkpoint's metrics by their names, the others' as `reference.test_accuracy`."""
    found = {"verdict": report.verdict} | {name: fact(value) for name, value in report.facts.items()}
    for name, row in zip(names_of(report.rows), report.rows):
        prefix = "" if row is report.evaluated else f"{name.replace(' ', '_')}."
        found[f"{prefix}checkpoint"] = row.label
        for metric, measure in row.measures.items():
            found[prefix + metric] = digits(measure) or f"not measured: {reason_of(measure)}"
    return found


def valid(text: str) -> str:
    """Text that any XML parser takes: what cannot be printed is written as its escape."""
    return one_line(text, len(text))


TEXT: dict[str, Callable[[Report], str]] = {"csv": as_csv, "markdown": as_markdown}
