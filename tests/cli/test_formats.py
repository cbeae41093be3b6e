"""Reports for programs: what goes in comes out of independent parsers unchanged."""

import csv
import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from unlearn_cli.cli import console as streams
from unlearn_cli.cli import formats
from unlearn_cli.errors import one_line
from unlearn_cli.metrics.registry import columns
from unlearn_cli.metrics.report import Limit, Measure, Report, Row, Series
from unlearn_cli.metrics.requirements import parse
from unlearn_cli.metrics.verdict import judge

NAMES = ["forget_accuracy", "test_accuracy", "relearn_epochs", "membership_auc"]
REQUIRE = ["forget_accuracy<=0.01", "test_accuracy>=0.8", "membership_auc=reference±0.05"]


def evaluation(label="clean.safetensors", limits=REQUIRE):
    reference = {"forget_accuracy": Measure(0.1), "test_accuracy": Measure(0.9), "membership_auc": Measure(None, "too few images")}
    own = {
        "forget_accuracy": Measure(0.1 + 0.2, detail={"note": "36 images"}),
        "test_accuracy": Measure(0.87),
        "relearn_epochs": Measure(100.0, more_than=True),
        "membership_auc": Measure(None, "constant losses"),
    }
    judged = judge(parse(limits[:2]), own)
    found = [*judged.limits, Limit(limits[2], "membership_auc", "=", None, None, "not measurable", "too few images", 0.05)]
    rows = [Row("retrained.safetensors", "reference", reference), Row(label, "unlearned", own)]
    facts = {"data": "/photos", "seed": 3}
    return Report("evaluate", f"{label}: forgot class 3", facts, columns(NAMES), rows, found, judged.verdict,
                  ["look|out"], exit_code=1)  # fmt: skip


def comparison(*scores, **detail):
    rows = [Row(f"{i}.safetensors", "unlearned", {"test_accuracy": Measure(s, detail=detail)}) for i, s in enumerate(scores)]
    return Report("compare", "Forgetting class 3", {}, columns(["test_accuracy"]), rows)


# csv


def read_csv(text):
    return list(csv.DictReader(StringIO(text, newline=""), strict=True))


def test_csv_has_a_row_per_checkpoint_and_a_column_per_metric():
    text = formats.as_csv(evaluation())
    assert text.splitlines()[0] == "label,role," + ",".join(NAMES)
    reference, own = read_csv(text)
    assert (reference["label"], reference["role"]) == ("retrained.safetensors", "reference")
    assert (own["label"], own["role"]) == ("clean.safetensors", "unlearned")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_csv_numbers_are_exact(value):
    (row,) = read_csv(formats.as_csv(comparison(value)))
    assert float(row["test_accuracy"]) == value


def test_csv_leaves_out_what_is_no_number_and_marks_what_stopped_at_a_cap():
    reference, own = read_csv(formats.as_csv(evaluation()))
    assert reference["membership_auc"] == reference["relearn_epochs"] == own["membership_auc"] == ""
    assert own["relearn_epochs"] == ">100.0"


def test_csv_marks_a_bound_from_above():
    report = comparison(0.5)
    report.rows[0].measures["test_accuracy"] = Measure(0.25, at_most=True)
    assert read_csv(formats.as_csv(report))[0]["test_accuracy"] == "<=0.25"


def drawn():
    """A comparison with a curve of which tables show the ends."""
    report = comparison(0.5, 0.6)
    values = [[0.1, 0.2, 1 / 3], [0.0, None, 1.0]]
    report.series = [Series("few_shot", "by step_", "step", ["0", "10", "20"], values, "fraction", ["0", "20"])]
    return report


def test_csv_has_every_point_of_a_curve_in_full():
    one, other = read_csv(formats.as_csv(drawn()))
    assert list(one) == ["label", "role", "test_accuracy", "few_shot_0", "few_shot_10", "few_shot_20"]
    assert [float(one[f"few_shot_{step}"]) for step in (0, 10, 20)] == [0.1, 0.2, 1 / 3]
    assert (other["few_shot_0"], other["few_shot_10"]) == ("0.0", "")


def test_markdown_has_a_table_of_a_curve_at_the_places_that_people_are_shown():
    text = formats.as_markdown(drawn())
    assert "by step\\_" in text
    lines = text[text.index("by step"):].splitlines()
    assert lines[2:6] == ["| step | unlearned 1 | unlearned 2 |", "| --- | ---: | ---: |", "| 0 | 10.00% | 0.00% |",
                          "| 20 | 33.33% | 100.00% |"]  # fmt: skip


def test_csv_has_the_spread_beside_a_mean_over_seeds_and_only_there():
    (row,) = read_csv(formats.as_csv(comparison(0.5, seeds=3, std=0.125)))
    assert (row["test_accuracy"], row["test_accuracy_std"]) == ("0.5", "0.125")
    assert "test_accuracy_std" not in read_csv(formats.as_csv(comparison(0.5, folds=10, std=0.125)))[0]
    assert "test_accuracy_std" not in read_csv(formats.as_csv(comparison(0.5, seeds=1)))[0]


def test_csv_has_no_nan_and_no_infinity():
    rows = read_csv(formats.as_csv(comparison(float("nan"), float("inf"), 0.5)))
    assert [row["test_accuracy"] for row in rows] == ["", "", "0.5"]


@given(st.text(max_size=20) | st.text("\"',;\n\r\0= ", max_size=9))
def test_csv_labels_survive_quotes_and_commas_and_show_line_breaks_as_escapes(label):
    assert read_csv(formats.as_csv(evaluation(label)))[1]["label"] == one_line(label)


def test_csv_of_no_checkpoints_is_its_header():
    assert formats.as_csv(Report("compare", columns=columns(["test_accuracy"]))) == "label,role,test_accuracy\n"


# markdown


def cells(inline):
    """The text of a table's cell, and whether it is bold."""
    text = "".join(child.content for child in inline.children)
    return text, any(child.type == "strong_open" for child in inline.children)


def blocks(text):
    """A Markdown document by a CommonMark parser: headings, paragraphs and list items as text, tables as rows of cells."""
    found, rows = [], None
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in zip(["", *tokens], tokens):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "table_close":
            found.append(("table", rows))
            rows = None
        elif token.type == "inline":
            assert all(child.type in ("text", "strong_open", "strong_close", "text_special") for child in token.children)
            if rows is not None:
                rows[-1].append(cells(token))
            else:
                found.append((before.type.removesuffix("_open"), cells(token)[0]))
    return found


def test_markdown_has_the_verdict_then_limits_then_metrics_then_footnotes():
    report = evaluation()
    kinds = blocks(formats.as_markdown(report))
    assert kinds[0] == ("heading", report.verdict)
    assert kinds[1] == ("paragraph", report.title)
    (_, limits), (_, metrics) = kinds[2:4]
    assert [text for text, _ in limits[0]] == ["limit", "value", "needed", "outcome"]
    assert [row[0][0] for row in limits[1:]] == REQUIRE
    assert [row[-1] for row in limits[1:]] == [("FAIL", True), ("pass", False), ("NOT MEASURED[1]", True)]
    assert [text for text, _ in metrics[0]][2:] == ["retrained.safetensors (reference)", "clean.safetensors (unlearned)"]
    assert [row[0][0] for row in metrics[1:]] == NAMES
    assert [text for text, _ in metrics[1]] == ["forget_accuracy", "lower", "10.00%", "30.00%[2]"]
    assert [text for text, _ in metrics[3]][2:] == ["-", ">100"]
    rest = [text for _, text in kinds[4:]]
    assert rest[:3] == ["[1] too few images", "[2] 36 images", "[3] constant losses"]
    assert rest[3:] == ["Note: look|out", "data: /photos", "seed: 3"]


def test_markdown_without_a_verdict_begins_with_the_title_and_marks_the_best():
    (_, title), (_, table) = blocks(formats.as_markdown(comparison(0.5, 0.75, 0.75)))
    assert title == "Forgetting class 3"
    reference = Row("r", "reference", {"test_accuracy": Measure(0.7)})
    report = comparison(0.5, 0.75)
    report.rows.append(reference)
    assert [bold for _, bold in blocks(formats.as_markdown(report))[1][1][1][2:]] == [False, True, False]
    assert table[0][2][0] == "0.safetensors (unlearned 1)"


HOSTILE = st.text("\\`*_~[]<>|#&$!()-+.:\n\r\t\x1b\u2028 ab1", max_size=15) | st.text(max_size=15)


@given(HOSTILE)
def test_markdown_shows_any_name_as_it_is_and_breaks_no_table(name):
    label = f"a{name}z"                                     # white space at the ends of a cell says nothing
    report = evaluation(label)
    report.notes = [label]
    report.limits[0] = Limit(label, "forget_accuracy", "<=", 0.01, 0.3, "fail", label)
    found = blocks(formats.as_markdown(report))
    shown = one_line(label, len(label))
    (_, limits), (_, metrics) = [block for block in found if block[0] == "table"]
    assert found[1] == ("paragraph", f"{shown}: forgot class 3")
    assert limits[1][0][0] == shown
    assert metrics[0][3][0] == f"{shown} (unlearned)"
    assert {len(row) for row in limits} == {len(row) for row in metrics} == {4}
    assert ("paragraph", f"[1] {shown}") in found
    assert ("paragraph", f"Note: {shown}") in found


def test_markdown_escapes_pipes_and_line_breaks_and_leaves_plain_words_alone():
    assert formats.escaped("a|b\nc") == "a\\|b\\\\nc"
    assert formats.escaped("forget_test_accuracy 0.5, class 3") == "forget_test_accuracy 0.5, class 3"
    assert formats.escaped("_a_ __b__") == "\\_a\\_ \\_\\_b\\_\\_"


# json, and where all this goes


@pytest.fixture
def pipes(monkeypatch):
    out, err = StringIO(), StringIO()
    monkeypatch.setattr(streams, "out", Console(file=out, width=40))
    monkeypatch.setattr(streams, "err", Console(file=err, width=40))
    return out, err


def test_json_is_one_document_and_nothing_more(pipes):
    out, err = pipes
    report = evaluation()
    assert formats.write(report, "json") == 1
    assert json.loads(out.getvalue()) == report.as_dict()
    assert json.loads(out.getvalue())["test_accuracy"] == 0.87
    assert err.getvalue() == ""


@pytest.mark.parametrize("shape", formats.TEXT)
def test_nothing_is_folded_coloured_or_read_as_markup(pipes, shape):
    out, _ = pipes
    label = "[/b]" + "very-long-name-" * 20
    assert formats.write(evaluation(label), shape) == 1
    assert "very-long-name-" * 20 in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("shape", formats.TEXT)
def test_a_name_that_is_not_utf8_can_be_written(pipes, shape):
    out, _ = pipes
    formats.write(evaluation("caf\udce9"), shape)
    out.getvalue().encode()
    assert "caf\\udce9" in out.getvalue().replace("\\\\", "\\")
    if shape == "json":
        assert json.loads(out.getvalue())["label"] == "caf\udce9"


def test_json_of_a_checkpoint_that_went_to_stdout_goes_to_stderr(pipes):
    out, err = pipes
    formats.write(Report("forget", written="-"), "json")
    assert (out.getvalue(), json.loads(err.getvalue())["written"]) == ("", "-")


# the option

COMMANDS = {
    "evaluate": ("evaluate", "model.safetensors", "--class", "3"),
    "relearn": ("relearn", "without-3.safetensors", "--original", "model.safetensors", "--set", "cap=1"),
    "compare": ("compare", "model.safetensors", "without-3.safetensors"),
}


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_format_says_the_same(unlearn, here, command):
    shown = {shape: unlearn(*command, "--format", shape).out for shape in ("table", "markdown", "csv", "json")}
    document = json.loads(shown["json"])
    assert shown["json"] == unlearn(*command, "--json").out
    assert shown["json"] == unlearn(*command, "--json", "--format", "json").out
    assert shown["table"] == unlearn(*command).out
    rows = {row["label"]: row for row in [*document["rows"], document] if "role" in row}
    for line in read_csv(shown["csv"]):
        row = rows[line.pop("label")]
        assert line.pop("role") == row["role"]
        for name, cell in line.items():
            value = row[name]
            assert (cell == "") if value is None else float(cell.removeprefix(">")) == value
    kinds = [kind for kind, _ in blocks(shown["markdown"])]
    assert kinds[0] == "heading" and "table" in kinds


def test_a_limit_that_is_not_met_is_code_1_in_every_format(unlearn, here):
    for shape in ("table", "markdown", "csv", "json"):
        assert unlearn(*COMMANDS["evaluate"], "--require", "forget_accuracy<=0.01", "--format", shape).code == 1


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_json_and_another_format_exclude_each_other(unlearn, here, command):
    done = unlearn(*command, "--json", "--format", "csv")
    assert (done.code, done.out) == (2, "")
    assert "--json and --format csv exclude each other" in done.err


def test_a_format_that_does_not_exist_is_2(unlearn, here):
    done = unlearn(*COMMANDS["evaluate"], "--format", "html")
    assert (done.code, done.out) == (2, "")


def test_the_configuration_may_name_the_format_and_the_files(unlearn, here):
    (here / "ci.yaml").write_text("format: csv\nrequire: test_accuracy>=0.8\njunit: out.xml\nrecord: out.json\n")
    done = unlearn(*COMMANDS["evaluate"], "--config", "ci.yaml")
    assert done.code == 0, done.err
    assert done.out.startswith("label,role,")
    assert (here / "out.xml").is_file() and (here / "out.json").is_file()
    assert unlearn(*COMMANDS["evaluate"], "--config", "ci.yaml").code == 2
    assert unlearn(*COMMANDS["evaluate"], "--config", "ci.yaml", "--force").code == 0
