"""The JSON Schema of the `--json` document: real documents keep it, spoiled ones do not."""

import json
import shutil
from dataclasses import fields
from importlib.resources import files

import pytest
import torch
from jsonschema import Draft202012Validator

from unlearn_cli.metrics import report
from unlearn_cli.metrics.registry import known
from unlearn_cli.metrics.report import Limit, Measure, Part, Report, Row, Standing

SCHEMA = json.loads((files("unlearn_cli.metrics") / "report.schema.json").read_text(encoding="utf-8"))
CHECK = Draft202012Validator(SCHEMA)


def problems(document) -> list[str]:
    """What is wrong with a document, after it went through JSON as a reader gets it."""
    return [f"{error.json_path}: {error.message}" for error in CHECK.iter_errors(json.loads(json.dumps(document)))]


def sample() -> dict:
    own = {
        "forget_accuracy": Measure(0.5, detail={"n": 10, "curve": [0.1, float("nan")], "note": "few"}),
        "test_accuracy": Measure(None, "no images"),
        "membership_auc": Measure(float("inf")),
        "relearn_epochs": Measure(100.0, more_than=True),
        "anamnesis_index": Measure(0.1, detail={"curve": [0.0, None]}, at_most=True),
    }
    limits = [
        Limit("forget_accuracy<=0.01", "forget_accuracy", "<=", 0.01, 0.5, "fail"),
        Limit("test_accuracy=reference±0.1", "test_accuracy", "=", None, None, "not measurable", "no images", 0.1, "output"),
    ]
    levels = {"output": Standing("held", 3, 3), "feature": Standing("failed", 1, 3, "revived_accuracy is 1, the limit is <= 0.05")}
    rows = [Row("retrained", "reference", {"test_accuracy": Measure(0.9)}, levels), Row("clean", "unlearned", own)]
    return Report("evaluate", "Evaluation", {"seed": 0}, [], rows, limits, "Not forgotten: ...", ["a note"], exit_code=1, parts=[
        Part("class 3", {"forget_accuracy": own["forget_accuracy"]}, limits[:1], "Not forgotten: ...", 1),
    ]).as_dict()  # fmt: skip


# the schema itself


def test_it_is_a_schema_of_its_dialect():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_its_version_is_the_reports():
    assert SCHEMA["properties"]["schema"]["const"] == report.SCHEMA
    assert SCHEMA["$id"].endswith(f":{report.SCHEMA}")


def test_every_key_is_explained():
    def entries(part):
        for name, value in part.get("properties", {}).items():
            yield name, value
            yield from entries(value)

    whole = [*entries(SCHEMA), *SCHEMA["$defs"].items(), *(pair for part in SCHEMA["$defs"].values() for pair in entries(part))]
    plain = {"scalar", "outcome", "metric"}             # a type, three words, and a reference to what is explained
    assert not [name for name, value in whole if "description" not in value and "$ref" not in value and name not in plain]
    for definition in ("metric", "label", "role", "reasons", "details", "row", "limit"):
        assert SCHEMA["$defs"][definition]["description"]


def test_the_keys_of_a_report_and_a_limit_are_those_that_it_has():
    assert set(SCHEMA["required"]) == set(Report("train").as_dict())
    assert set(SCHEMA["$defs"]["limit"]["required"]) == {field.name for field in fields(Limit)}
    assert set(SCHEMA["$defs"]["limit"]["properties"]) == {field.name for field in fields(Limit)}


def test_no_metric_has_the_name_of_another_key():
    assert not set(known()) & set(SCHEMA["properties"])


# real documents


@pytest.fixture
def printed(unlearn, place, monkeypatch):
    monkeypatch.chdir(place)

    def call(*arguments):
        done = unlearn(*arguments, "--json")
        assert done.out, done.err
        return json.loads(done.out)

    return call


def test_a_deletion_from_training_to_its_record_prints_documents_that_keep_it(printed, shipped, tmp_path):
    for part, count in (("train", 8), ("test", 3)):
        for name in "012":
            (tmp_path / "few" / part / name).mkdir(parents=True)
            for path in sorted((shipped / "digits" / part / name).iterdir())[:count]:
                shutil.copy(path, tmp_path / "few" / part / name)
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "few.pth")
    options = ("--arch", "compact", "--set", "width=4", "--epochs", "1")
    documents = [
        printed("train", "few", "-o", "few.safetensors", *options),
        printed("train", "few", "-o", "fewer.safetensors", "--without-class", "2", *options),
        printed("train", "--like", "few.safetensors", "-o", "others.safetensors", "--without-class", "2", "--references", "2"),
        printed("forget", "--method", "mask", "--class", "2", "few.safetensors", "-o", "clean.safetensors"),
        printed("evaluate", "clean.safetensors", "--require", "forget_accuracy<=0.01", "--record", "told.json"),
        printed("evaluate", "few.safetensors"),
        printed("evaluate", "few.safetensors", "--class", "2", "--require", "test_accuracy>=1", "--reference", "fewer.safetensors"),
        printed("relearn", "clean.safetensors", "--set", "cap=1", "--reference", "fewer.safetensors"),
        printed("relearn", "clean.safetensors", "--set", "steps=2", "--attack", "retain", "--reference", "fewer.safetensors"),
        printed("evaluate", "clean.safetensors", "--blocks", "--reference", "fewer.safetensors"),
        printed("compare", "few.safetensors", "fewer.safetensors", "clean.safetensors"),
        printed("compare", "few.safetensors", "--class", "2", "--methods", "mask", "--seeds", "2"),
        printed("compare", "few.safetensors", "fewer.safetensors", "clean.safetensors", "--verify", "full", "--sort", "tug_of_war"),
        printed("verify-record", "told.json"),
        printed("import", "few.pth", "-o", "imported.safetensors"),
    ]
    assert {document["command"] for document in documents} == set(SCHEMA["properties"]["command"]["enum"])
    assert {document["exit_code"] for document in documents} == {0, 1}
    for document in documents:
        assert problems(document) == [], document["title"]


def test_null_and_its_reason_come_together(printed):
    document = printed("evaluate", "model.safetensors", "--class", "3", "--reference", "without-3.safetensors")
    for row in (document, *document["rows"]):
        nulls = {name for name in known() if name in row and row[name] is None}
        assert nulls == set(row["reasons"])


def test_a_document_of_every_kind_of_number_keeps_it():
    assert problems(sample()) == []


def test_a_later_version_may_have_more_metrics():
    assert problems(sample() | {"some_new_metric": 0.5}) == []


# controls


def without(key):
    def spoil(document):
        del document[key]

    return spoil


def setting(place, value):
    def spoil(document):
        *way, last = place.split(".")
        part = document
        for step in way:
            part = part[int(step) if isinstance(part, list) else step]
        part[last] = value

    return spoil


SPOILED = {
    **{f"no {key}": without(key) for key in SCHEMA["required"]},
    "no reasons": without("reasons"),
    "another version": setting("schema", 2),
    "an unknown command": setting("command", "certify"),
    "an exit code of its own": setting("exit_code", 3),
    "a metric in words": setting("forget_accuracy", "0.5"),
    "a metric that is true": setting("forget_accuracy", True),
    "a metric with spaces": setting("forget accuracy", 0.5),
    "a role of its own": setting("role", "judge"),
    "a fact that is a list": setting("facts.seed", [1]),
    "a note that is a number": setting("notes", [1]),
    "an empty reason": setting("reasons.test_accuracy", ""),
    "a row without its role": lambda document: document["rows"][0].pop("role"),
    "a row with a metric in words": setting("rows.0.test_accuracy", "high"),
    "a detail that is a mapping": setting("details.forget_accuracy.n", {"a": 1}),
    "an unknown outcome": setting("limits.0.outcome", "maybe"),
    "an unknown operator": setting("limits.0.operator", "!="),
    "a level of its own": setting("limits.0.level", "weights"),
    "levels that are empty": setting("rows.0.levels", {}),
    "another level": setting("rows.0.levels.weights", {"outcome": "held", "held": 1, "runs": 1, "reason": ""}),
    "a level without its word": lambda document: document["rows"][0]["levels"]["output"].pop("outcome"),
    "a level that failed for no reason": setting("rows.0.levels.feature.reason", ""),
    "a level that held and has a reason against it": setting("rows.0.levels.output.reason", "x is 1"),
    "levels of no row": lambda document: [document.pop(key) for key in ("label", "role", "reasons", "details")] and document.update(
        levels={"output": {"outcome": "held", "held": 1, "runs": 1, "reason": ""}}),
    "a limit with another key": setting("limits.0.weight", 1),
    "a limit without its reason key": lambda document: document["limits"][0].pop("reason"),
    "a failed limit without a value": setting("limits.0.value", None),
    "an unmeasured limit without a reason": setting("limits.1.reason", ""),
    "requests that are none": setting("requests", []),
    "a request without its words": lambda document: document["requests"][0].pop("request"),
    "a request with a metric in words": setting("requests.0.forget_accuracy", "low"),
    "a negative tolerance": setting("limits.1.tolerance", -0.1),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_document_does_not_keep_it(spoil):
    document = sample()
    spoil(document)
    assert problems(document)
