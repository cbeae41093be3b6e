"""The table of a comparison: one that fits, with what matters, what is best, and what the policy says."""

import csv
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from unlearn_cli.cli import formats, tables
from unlearn_cli.cli.render import show
from unlearn_cli.jobs import comparison
from unlearn_cli.metrics.registry import columns, known
from unlearn_cli.metrics.report import Measure, Report, Row, Standing

MAIN = comparison.MAIN["classes"]
HELD = Standing("held", 1, 1)
MISSED = Standing("failed", 0, 1, "separation_recovery is 1.0000, the limit is <= 0.5")
METHODS = ("lau", "mask", "neg-grad", "fine-tune", "random-label", "boundary-shrink", "scrub", "suli", "unsir", "retrain")


def measures(value, std=None):
    """Every metric that compare measures, one a little above the other."""
    found = {}
    for i, (name, metric) in enumerate(known().items()):
        if not metric.is_costly or name in MAIN:
            detail = {"seeds": 3, "std": std, "values": [value] * 3} if std is not None else {}
            found[name] = Measure(value + i / 1000, detail=detail)
    return found


def compared(methods=3, std=None, levels=True, main=MAIN):
    judged = {"output": HELD, "feature": MISSED} if levels else {}
    seeds = {"output": Standing("held", 3, 3), "feature": replace(MISSED, held=1, runs=3)}
    rows = [Row("model.safetensors", "original", measures(0.3), judged)]
    rows += [Row("without-3.safetensors", "reference", measures(0.5), judged)]
    for i, name in enumerate(METHODS[:methods]):
        rows.append(Row(name, "unlearned", measures(0.51 + i / 50, std), seeds if levels and std is not None else judged))
    heads = [replace(column, main=column.name in main) for column in columns(rows[0].measures)]
    return Report("compare", "Forgetting class 3", {"seeds": 3}, heads, rows)


def shown(report, width, **console):
    file = StringIO()
    show(report, Console(width=width, file=file, highlight=False, **console))
    return file.getvalue()


def rules(text):
    """How many tables there are: each has one rule."""
    return sum(line.startswith("──") for line in text.splitlines())


@pytest.mark.parametrize("std", [None, 0.0123])
@pytest.mark.parametrize(("width", "methods"), [(80, 3), (100, 4), (160, 3), (160, 10)])
def test_what_matters_is_one_table_that_fits(width, methods, std):
    report = compared(methods, std)
    text = shown(report, width)
    assert rules(text) == 1
    assert max(map(len, text.splitlines())) <= width
    words = text.replace("*", " ").split()
    for row in report.rows:
        for column in (column for column in report.columns if column.name in MAIN):
            for part in tables.number(row.measures[column.name], column.unit, "\n").split():
                assert part in words, (row.label, column.name)


def test_where_it_cannot_fit_it_is_cut_between_columns_and_every_number_stays():
    text = shown(compared(10), 80)
    assert rules(text) > 1
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    everything = shown(compared(3, main=known()), 160)
    assert all(f"\n{name} " in everything for name in compared().rows[0].measures)


@pytest.mark.parametrize("width", [80, 160])
def test_what_is_left_out_is_counted_and_the_way_to_it_named(width):
    report = compared()
    left = len(report.columns) - len(MAIN)
    assert f"{left} more metrics: --all-metrics shows them, --json has them in any case" in shown(report, width)
    assert "top_two_accuracy" not in shown(report, width) and "top_two_accuracy" in shown(compared(main=known()), width)
    assert "more metrics" not in shown(compared(main=known()), width)


@pytest.mark.parametrize("width", [80, 160])
def test_the_best_is_marked_without_colour_too_and_explained(width):
    report = compared()
    plain = shown(report, width)
    assert "* the best unlearned checkpoint by this metric" in plain
    coloured = shown(report, width, force_terminal=True, color_system="truecolor")
    assert "\x1b" not in plain and "\x1b[1m" in coloured
    best = tables.number(report.rows[-1].measures["unlearning_score"], "score")
    others = [tables.number(row.measures["unlearning_score"], "score") for row in report.rows[:-1]]
    assert f"{best}*" in plain
    assert not any(f"{other}*" in plain for other in others)
    assert f"\x1b[1m{best}*" in coloured.replace(" ", "")


def test_spreads_stand_beside_the_number_or_below_it_and_are_explained():
    assert " ± 1.23%" in shown(compared(1, 0.0123, levels=False, main=("forget_accuracy", "retain_accuracy")), 160)
    assert " ±1.23%" in shown(compared(3, 0.0123), 80)
    assert "± the standard deviation over 3 seeds" in shown(compared(3, 0.0123), 80)
    assert "±" not in shown(compared(3), 80)


@pytest.mark.parametrize("width", [80, 160])
def test_each_level_has_a_column_and_each_row_a_line_with_its_number(width):
    text = shown(compared(3, 0.01), width)
    folded = " ".join(text.split())
    assert "feature" in text and "1/3" in text and "3/3" in text
    assert "lau: output held (3/3); feature failed (1/3): separation_recovery is 1.0000, the limit is <= 0.5" in folded
    assert "model.safetensors: output held; feature failed: separation_recovery" in folded
    assert "feature" not in shown(compared(levels=False), width)


def test_markdown_has_the_main_metrics_the_star_the_levels_and_the_lines():
    text = formats.as_markdown(compared())
    names = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    in_order = [name for name in known() if name in MAIN]
    assert names == ["metric", "---", *in_order, "output level", "feature level"]
    line = next(line for line in text.splitlines() if line.startswith("| unlearning_score"))
    assert line.count("**") == 2 and line.count("\\*") == 1
    assert "- \\* the best unlearned checkpoint by this metric" in text
    assert "- lau: output held; feature failed: separation_recovery is 1.0000, the limit is \\<= 0.5" in text
    assert "**failed**" in text and "**held**" not in text


def test_csv_has_every_metric_and_the_levels():
    (first, *_, last) = csv.DictReader(StringIO(formats.as_csv(compared(3, 0.0123)), newline=""))
    assert set(compared().rows[0].measures) <= set(first)
    assert (first["output_level"], first["feature_level"]) == ("held", "failed")
    assert (last["output_level"], last["feature_level"]) == ("3/3", "1/3")
    assert float(last["top_two_accuracy_std"]) == 0.0123
    assert "output_level" not in formats.as_csv(compared(levels=False))


def test_json_has_every_metric_in_the_order_of_the_table():
    document = compared().as_dict()
    assert [row["label"] for row in document["rows"]] == ["model.safetensors", "without-3.safetensors", *METHODS[:3]]
    assert all(set(compared().rows[0].measures) <= set(row) for row in document["rows"])
    assert document["rows"][0]["levels"]["feature"] == vars(MISSED)
    assert "levels" not in compared(levels=False).as_dict()["rows"][0]
