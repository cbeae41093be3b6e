"""`evaluate --junit`: what a CI job's own test report shows of the limits."""

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml

from unlearn_cli.cli.formats import as_junit
from unlearn_cli.metrics.registry import columns
from unlearn_cli.metrics.report import Limit, Measure, Report, Row

LIMITS = ("--require", "test_accuracy>=0.8", "--require", "forget_accuracy<=0.01")


def parsed(content: bytes):
    """The one suite, by junitparser."""
    (suite,) = JUnitXml.fromstring(content)
    return suite


def cases(suite) -> dict:
    """Each limit's outcome: "pass", or the class of its result with its message."""
    found = {}
    for case in suite:
        assert len(case.result) <= 1
        found[case.name] = (type(case.result[0]), case.result[0].message) if case.result else "pass"
    return found


def properties(suite) -> dict:
    return {p.name: p.value for p in suite.properties()}


@pytest.fixture
def evaluate(unlearn, place, monkeypatch):
    """Evaluate the original on class 3, writing JUnit; gives exit code, JSON document and suite."""
    monkeypatch.chdir(place)

    def call(*arguments):
        done = unlearn("evaluate", "model.safetensors", "--class", "3", *arguments, "--junit", "out.xml", "--json")
        return done, json.loads(done.out), parsed((place / "out.xml").read_bytes())

    return call


def test_each_limit_is_a_test_case_and_one_that_is_not_met_a_failure(evaluate):
    done, document, suite = evaluate(*LIMITS)
    assert done.code == 1
    found = cases(suite)
    assert found["test_accuracy>=0.8"] == "pass"
    kind, message = found["forget_accuracy<=0.01"]
    assert kind is Failure
    assert message == f"forget_accuracy is {document['forget_accuracy']:.4f}, the limit is <= 0.01"
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2, 1, 0, 0)
    assert suite.name == document["title"]


def test_limits_that_hold_give_no_failure(evaluate):
    done, _, suite = evaluate("--require", "test_accuracy>=0.8")
    assert (done.code, cases(suite)) == (0, {"test_accuracy>=0.8": "pass"})


def test_every_metric_of_every_model_is_a_property_in_full_precision(evaluate):
    _, document, suite = evaluate(*LIMITS, "--reference", "without-3.safetensors")
    found = properties(suite)
    assert (found["verdict"], found["checkpoint"]) == (document["verdict"], "model.safetensors")
    assert found["reference.checkpoint"] == "without-3.safetensors"
    for prefix, row in (("", document), ("reference.", document["rows"][0])):
        for column in columns():
            if column.name not in row:
                continue
            value = found[prefix + column.name]
            if row[column.name] is None:
                assert value == f"not measured: {row['reasons'][column.name]}"
            elif not row["details"].get(column.name, {}).get("more_than"):
                assert float(value) == row[column.name]
    assert float(found["test_accuracy"]) == document["test_accuracy"]


def test_the_same_evaluation_writes_the_same_file(unlearn, place, monkeypatch):
    monkeypatch.chdir(place)
    for name in ("a.xml", "b.xml"):
        unlearn("evaluate", "model.safetensors", "--class", "3", *LIMITS, "--junit", name)
    assert (place / "a.xml").read_bytes() == (place / "b.xml").read_bytes()
    assert sorted(path.name for path in place.glob(".*")) == []


def test_without_a_limit_there_is_no_test_and_no_file(unlearn, place, monkeypatch):
    monkeypatch.chdir(place)
    done = unlearn("evaluate", "model.safetensors", "--class", "3", "--junit", "out.xml")
    assert (done.code, done.out) == (2, "")
    assert "no limit is given" in done.err
    assert not (place / "out.xml").exists()


def test_a_run_that_stops_leaves_no_file_behind(unlearn, place, monkeypatch):
    monkeypatch.chdir(place)
    assert unlearn("evaluate", "model.safetensors", "--class", "33", *LIMITS, "--junit", "out.xml").code == 2
    assert list(place.glob("*.xml")) == []


# any report


def report(label="clean.safetensors", text="test_accuracy>=0.8", reason="no images", level="", outcome="not measurable"):
    value = None if outcome == "not measurable" else 0.5
    limit = Limit(text, "test_accuracy", ">=", 0.8, value, outcome, reason, level=level)
    rows = [Row(label, "unlearned", {"test_accuracy": Measure(value, reason)})]
    return Report("evaluate", f"{label}: forgot class {label}", {"data": label}, columns(["test_accuracy"]), rows, [limit], label)


def test_a_limit_that_could_not_be_measured_is_an_error_with_its_reason():
    suite = parsed(as_junit(report(reason="too few images")))
    assert cases(suite) == {"test_accuracy>=0.8": (Error, "too few images")}
    assert (suite.tests, suite.failures, suite.errors) == (1, 0, 1)
    assert properties(suite)["test_accuracy"] == "not measured: too few images"


def test_a_limit_of_a_level_says_which():
    names = [case.classname for level in ("", "output", "feature") for case in parsed(as_junit(report(level=level)))]
    assert names == ["unlearn.evaluate", "unlearn.evaluate.output", "unlearn.evaluate.feature"]


def test_a_measurement_that_stopped_at_a_cap_is_not_taken_for_its_value():
    capped = report()
    capped.rows[0].measures["relearn_epochs"] = Measure(100.0, more_than=True)
    assert properties(parsed(as_junit(capped)))["relearn_epochs"] == ">100.0"


def test_several_references_are_told_apart():
    many = report()
    many.rows[:0] = [Row("r", "reference", {"test_accuracy": Measure(value)}) for value in (0.25, 0.75)]
    found = properties(parsed(as_junit(many)))
    assert (found["reference_1.test_accuracy"], found["reference_2.test_accuracy"]) == ("0.25", "0.75")


ANY = st.text(st.characters(codec=None), max_size=20) | st.text("\x00\x07\x1b\n\r\t\x85\ud800\udfff\ufffe\uffff<>&\"']", max_size=9)


@given(ANY, ANY, ANY)
def test_any_name_gives_xml_that_every_parser_takes(label, text, reason):
    content = as_junit(report(label, text or "x", reason or "x"))
    suite = ElementTree.fromstring(content).find("testsuite")
    assert len(suite.findall("testcase")) == 1
    shown = suite.find("properties/property[@name='checkpoint']").get("value")
    assert shown.isprintable() or shown == ""
    if label.isprintable():
        assert shown == label


def test_control_characters_are_shown_as_their_escapes():
    content = as_junit(report("a\x00b\x1b[31m\nc\udce9<&>\"'é日本"))
    assert properties(parsed(content))["checkpoint"] == "a\\x00b\\x1b[31m\\nc\\udce9<&>\"'é日本"
    assert b"\x00" not in content and b"\x1b" not in content


@pytest.mark.parametrize(("outcome", "expected"), [("pass", "pass"), ("fail", Failure), ("not measurable", Error)])
def test_the_outcome_alone_decides_the_result(outcome, expected):
    (found,) = cases(parsed(as_junit(report(outcome=outcome)))).values()
    assert (found if found == "pass" else found[0]) == expected
