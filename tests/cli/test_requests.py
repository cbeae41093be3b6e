"""Several requests of one lineage, shown: what did not hold of one is never hidden behind what held of all together."""

from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.cli.formats import as_junit, as_markdown
from unlearn_cli.cli.render import show
from unlearn_cli.metrics.report import Limit, Measure, Part, Report

HELD = Limit("forget_test_accuracy<=0.6", "forget_test_accuracy", "<=", 0.6, 0.5, "pass")
MISSED = replace(HELD, value=0.9, outcome="fail")
UNKNOWN = replace(HELD, value=None, outcome="not measurable", reason="too few images")


def part(name, *limits, is_whole=False):
    code = 1 if MISSED in limits else 2 if UNKNOWN in limits else 0
    return Part(name, {"forget_test_accuracy": Measure(limits[0].value if limits else 0.25)}, list(limits), "", code, is_whole)


def report(*parts, code, limits=(HELD,)):
    return Report("evaluate", "after.safetensors: forgot", limits=list(limits), verdict="x", exit_code=code, parts=list(parts))


def junit(found):
    root = ElementTree.fromstring(as_junit(found))
    counts = {name: int(value) for name, value in root[0].attrib.items() if name != "name"}
    cases = root.findall(".//testcase")
    words = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    assert counts == {"tests": len(cases)} | {name: len(root.findall(f".//testcase/{word}")) for name, word in words.items()}
    return counts


def table(found):
    console = Console(width=160, record=True, file=StringIO())
    show(found, console)
    return console.export_text()


@pytest.mark.parametrize(("parts", "code", "failures", "errors", "skipped"), [
    ([], 0, 0, 0, 0),
    ([part("class 3", HELD), part("class 5", HELD)], 0, 0, 0, 0),
    ([part("class 3", HELD), part("class 5", MISSED)], 1, 1, 0, 0),
    ([part("class 3", HELD), part("2 listed images", UNKNOWN)], 0, 0, 0, 1),
    ([part("9 listed images", UNKNOWN, is_whole=True), part("class 3", HELD)], 2, 0, 1, 0),
    ([part("9 listed images", UNKNOWN, is_whole=True), part("class 3", MISSED)], 1, 1, 1, 0),
])  # fmt: skip
def test_junit_has_a_failure_where_the_code_is_1_and_an_error_where_it_is_2(parts, code, failures, errors, skipped):
    found = junit(report(*parts, code=code))
    assert found == {"tests": 1 + len(parts), "failures": failures, "errors": errors, "skipped": skipped}


@pytest.mark.parametrize("shown", [table, as_markdown])
def test_people_see_each_request_and_what_of_one_did_not_hold(shown):
    text = shown(report(part("class 3", HELD), part("class 5", MISSED), part("2 listed images", UNKNOWN), code=1))
    said = text.replace("\\", "")
    line = {name: next(line for line in said.splitlines() if name in line) for name in ("class 3", "class 5", "2 listed images")}
    assert "held" in line["class 3"]
    assert "NOT HELD" in line["class 5"] and "forget_test_accuracy is 0.9" in line["class 5"]
    assert "not shown" in line["2 listed images"] and "too few images" in line["2 listed images"]
    alone = shown(report(code=0))
    assert "by request" in said and "by request" not in alone


def test_a_request_without_limits_shows_what_is_known_and_no_outcome():
    text = table(report(part("class 3"), part("class 5"), code=0, limits=()))
    assert [line.split() for line in text.splitlines() if line.startswith("class ")] == [
        ["class", "3", "-", "25.00%"], ["class", "5", "-", "25.00%"]
    ]  # fmt: skip


def test_a_class_that_is_still_known_fails_in_every_form_though_all_together_hold(unlearn, place, monkeypatch):
    monkeypatch.chdir(place)
    assert unlearn("forget", "-m", "mask", "--class", "3", "model.safetensors", "-o", "one.safetensors").code == 0
    found = store.read("one.safetensors")
    step = found.record.last.model_copy(update={"request": RequestRecord(classes=["5"]), "withheld": 1})
    store.write("two.safetensors", found.tensors, found.record.after(step))
    words = ("evaluate", "two.safetensors", "--require", "forget_test_accuracy<=0.6", "--junit", "all.xml", "--force")
    done = unlearn(*words)
    assert done.code == 1
    assert "NOT HELD" in done.out
    assert b'failures="1"' in (place / "all.xml").read_bytes()
    assert "NOT HELD" in unlearn(*words, "--format", "markdown").out
    assert unlearn("forget", "-m", "mask", "--class", "5", "one.safetensors", "-o", "both.safetensors").code == 0
    assert unlearn(words[0], "both.safetensors", *words[2:]).code == 0
    assert b'failures="0" errors="0" skipped="0"' in (place / "all.xml").read_bytes()
