import re
from io import StringIO

import pytest
from rich.console import Console

from unlearn_cli.cli import console as streams
from unlearn_cli.cli import tables
from unlearn_cli.cli.render import render, show
from unlearn_cli.metrics.ranking import starred
from unlearn_cli.metrics.registry import columns, known
from unlearn_cli.metrics.report import Measure, Report, Row, Series
from unlearn_cli.metrics.requirements import parse
from unlearn_cli.metrics.verdict import judge, shortest

NUMBERS = {"forget_seconds": 1234.5, "activation_distance": 1.3579, "unlearning_score": 0.9504}
LABEL = "resnet18-cifar10.boundary-shrink-class-3.safetensors"


def measures(shift=0.0):
    values = {name: NUMBERS.get(name, 0.8 + 0.0101 * (i % 15)) for i, name in enumerate(known())}
    found = {name: Measure(value - shift) for name, value in values.items()}
    found["relearn_epochs"] = Measure(100.0, more_than=True)
    return found


def evaluation(references=1, limits=()):
    rows = [Row("clean.safetensors", "original", measures(0.1))]
    rows += [Row(f"retrained-{i}.safetensors", "reference", measures(0.05)) for i in range(references)]
    rows.append(Row(LABEL, "unlearned", measures()))
    judged = judge(parse(limits), rows[-1].measures, [row.measures for row in rows[1:-1]], rows[0].measures)
    return Report(
        "evaluate", "Evaluation", {"request": "class 3"}, columns(), rows, judged.limits, judged.verdict,
        exit_code=judged.exit_code,
    )


def comparison(n=6):
    rows = [Row("clean.safetensors", "original", measures(0.1))]
    rows += [Row("retrained.safetensors", "reference", measures(0.05))]
    rows += [Row(f"{i}-{LABEL}", "unlearned", measures(i / 100)) for i in range(n)]
    return Report("compare", "Comparison", {}, columns(), rows)


def shown(report, width=80, **console):
    file = StringIO()
    show(report, Console(width=width, file=file, highlight=False, **console))
    return file.getvalue()


def expected(row):
    for column in columns():
        yield tables.number(row.measures[column.name], column.unit)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("report", [*map(evaluation, (0, 1, 2, 5)), *map(comparison, (1, 6))])
def test_every_number_is_shown_whole_and_no_line_is_wider_than_the_console(report, width):
    text = shown(report, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.replace("*", " ").split()
    for row in report.rows:
        for number in expected(row):
            assert all(part in words for part in number.split())


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_a_curve_has_a_table_of_its_own_with_the_places_that_people_are_shown(width):
    report = evaluation(5)
    report.columns = []
    values = [[i / 100 + place / 1000 for place in range(4)] for i in range(6)] + [[None] * 4]
    places = ["0", "10", "20", "area"]
    report.series = [Series("few_shot", "accuracy, by step", "step", places, values, "fraction", ["0", "20", "area"])]
    text = shown(report, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "accuracy, by step" in lines
    found = {place: [cell for line in lines if line.split()[:1] == [place] for cell in line.split()[1:]]
             for place in places}  # fmt: skip
    assert found["0"] == ["0.00%", "1.00%", "2.00%", "3.00%", "4.00%", "5.00%", "-"]
    assert found["area"][1] == "1.30%"
    assert found["10"] == []
    assert any(line.split() == ["reference", "5", "retrained-4.safetensors"] for line in lines)


def test_few_checkpoints_stand_side_by_side_under_names_that_require_takes():
    lines = shown(evaluation(2)).splitlines()
    for name in known():
        assert sum(line.startswith(name + " ") for line in lines) == 1
    assert any(line.split() == ["metric", "better", "original", "1", "2", "unlearned"] for line in lines)
    assert any(line.split() == ["reference", "2", "retrained-1.safetensors"] for line in lines)


@pytest.mark.parametrize(
    ("name", "direction"),
    [("unlearning_score", "higher"), ("forget_accuracy", "lower"), ("membership_auc", "= reference")],
)
def test_the_direction_is_in_words(name, direction):
    line = next(line for line in shown(evaluation()).splitlines() if line.startswith(name + " "))
    assert f" {direction} " in line


def test_a_number_that_is_missing_is_a_dash_with_its_reason_below():
    report = evaluation(1)
    for row in report.rows:
        row.measures["activation_distance"] = Measure(None, "needs a reference model")
    report.rows[0].measures["membership_auc"] = Measure(None, "too few images")
    text = shown(report)
    assert re.search(r"activation_distance\[1\] +lower", text)
    assert "[1] needs a reference model" in text
    assert "-[2]" in text
    assert text.count("[2] too few images") == 1


def test_a_caution_that_belongs_to_a_number_is_a_footnote():
    report = evaluation(0)
    for row in report.rows:
        row.measures["membership_accuracy"] = Measure(0.512, detail={"note": "1000 images on each side"})
    text = shown(report)
    assert "membership_accuracy[1]" in text
    assert text.count("[1] 1000 images on each side") == 1


def test_the_best_of_several_are_starred_and_only_among_the_unlearned():
    report = comparison(3)
    text = shown(report, 60)                                      # too narrow to stand side by side
    assert "* the best unlearned checkpoint by this metric" in text
    best, _, theirs = (tables.number(report.rows[i].measures["unlearning_score"], "score") for i in (2, 3, 0))
    words = text.split()
    assert f"{best}*" in words and best not in words              # highest score
    assert theirs in words and f"{theirs}*" not in words
    assert tables.number(report.rows[2].measures["forget_accuracy"], "fraction") + "*" not in words
    assert "*" not in shown(comparison(1), 60)


def test_nearest_to_the_reference_is_best_where_that_is_the_target():
    column = columns(["membership_auc"])[0]
    rows = [Row(str(v), "unlearned", {"membership_auc": Measure(v)}) for v in (0.2, 0.49, 0.9)]
    assert starred(column, rows) == [False] * 3
    rows.append(Row("retrained", "reference", {"membership_auc": Measure(0.5)}))
    assert starred(column, rows) == [False, True, False, False]


def test_limits_and_the_verdict_close_the_page():
    report = evaluation(1, ["forget_accuracy<=0.01", "test_accuracy>=0.8", "membership_auc=reference±0.01"])
    lines = shown(report).splitlines()
    assert any(line.split() == ["forget_accuracy<=0.01", "0.8000", "<=", "0.01", "FAIL"] for line in lines)
    assert any(line.split() == ["test_accuracy>=0.8", "0.8404", ">=", "0.8", "pass"] for line in lines)
    theirs = shortest(report.rows[1].measures["membership_auc"].value)
    assert any(f"= {theirs}±0.01" in line for line in lines)
    assert " ".join(" ".join(lines).split()).endswith("(2 of 3 limits not met).")


@pytest.mark.parametrize("limit", ["activation_distance<=0.1", "membership_auc=reference±0.05"])
def test_a_limit_that_could_not_be_judged_says_so_and_why(limit):
    report = evaluation(1)
    own = dict(report.rows[-1].measures, activation_distance=Measure(None, "no images"))
    judged = judge(parse([limit]), own, [{"membership_auc": Measure(None, "no images")}])
    report.limits = judged.limits
    text = shown(report)
    assert "NOT MEASURED[1]" in text
    assert "no images" in text


def test_nothing_is_said_by_colour_alone_and_a_file_has_no_control_codes():
    report = evaluation(1, ["forget_accuracy<=0.01"])
    plain, coloured = shown(report), shown(report, force_terminal=True, color_system="truecolor")
    assert "\x1b" not in plain
    assert "\x1b[1;31mFAIL" in coloured
    assert "FAIL" in plain


class Pipes:
    def __init__(self, monkeypatch, terminal=False, quiet=False):
        self.stdout, self.stderr = StringIO(), StringIO()
        out = Console(file=self.stdout, width=100, force_terminal=terminal, no_color=True)
        monkeypatch.setattr(streams, "out", out)
        monkeypatch.setattr(streams, "err", Console(file=self.stderr, width=100))
        monkeypatch.setattr(streams, "_quiet", quiet)


WRITTEN = Report("forget", "Forgotten", {"seconds": 1.25}, written="/models/" + "very-long-name-" * 12 + ".safetensors")


def test_on_a_pipe_a_command_that_wrote_a_file_prints_its_path_on_one_line(monkeypatch):
    pipes = Pipes(monkeypatch)
    assert render(WRITTEN) == 0
    assert pipes.stdout.getvalue() == WRITTEN.written + "\n"
    assert "seconds  1.25" in pipes.stderr.getvalue()


def test_quiet_leaves_the_path_and_nothing_else(monkeypatch):
    pipes = Pipes(monkeypatch, quiet=True)
    render(WRITTEN)
    assert (pipes.stdout.getvalue(), pipes.stderr.getvalue()) == (WRITTEN.written + "\n", "")


def test_on_a_terminal_the_table_goes_to_stdout(monkeypatch):
    pipes = Pipes(monkeypatch, terminal=True)
    render(WRITTEN)
    assert "seconds" in pipes.stdout.getvalue()
    assert pipes.stderr.getvalue() == ""


def test_when_the_checkpoint_went_to_stdout_everything_else_goes_to_stderr(monkeypatch):
    pipes = Pipes(monkeypatch)
    render(Report("forget", "Forgotten", {"seconds": 1.25}, written="-"))
    assert pipes.stdout.getvalue() == ""
    assert "1.25" in pipes.stderr.getvalue()


def test_evaluations_print_their_table_on_a_pipe_and_return_the_verdict(monkeypatch):
    pipes = Pipes(monkeypatch)
    assert render(evaluation(1, ["forget_accuracy<=0.01"])) == 1
    assert "Not forgotten: forget_accuracy is 0.8000" in pipes.stdout.getvalue()
    assert pipes.stderr.getvalue() == ""


def test_names_are_never_read_as_markup():
    row = Row("[/b].safetensors", "unlearned", {"test_accuracy": Measure(0.5)})
    facts, notes = {"request": "class [red]"}, ["[i]"]
    text = shown(Report("evaluate", "[bold]x", facts, columns(["test_accuracy"]), [row], notes=notes))
    assert all(name in text for name in ("[bold]x", "class [red]", "[/b].safetensors", "Note: [i]"))


def test_a_mean_over_seeds_stands_with_its_deviation_where_there_is_one():
    assert tables.number(Measure(0.5, detail={"seeds": 3, "std": 0.125}), "fraction") == "50.00 ± 12.50%"
    assert tables.number(Measure(0.5, detail={"seeds": 1}), "fraction") == "50.00%"
