import json
import math

from unlearn_cli.metrics.report import Limit, Measure, Report, Row


def report():
    return Report(
        "evaluate", "Evaluation", {"images": 12, "rate": math.nan},
        rows=[
            Row("clean", "original", {"forget_accuracy": Measure(0.9), "membership_auc": Measure(math.inf)}),
            Row("done", "unlearned", {
                "test_accuracy": Measure(None, "there are no test images"),
                "forget_accuracy": Measure(0.0, detail={"n": 5}),
                "relearn_epochs": Measure(100.0, more_than=True),
            }),
        ],
        limits=[Limit("forget_accuracy<=0.1", "forget_accuracy", "<=", 0.1, 0.0, "pass")], verdict="Held.",
    )


def test_metrics_of_the_evaluated_checkpoint_are_keys_of_the_document():
    document = report().as_dict()
    assert document["forget_accuracy"] == 0.0
    assert document["test_accuracy"] is None
    assert document["reasons"] == {"test_accuracy": "there are no test images"}
    assert document["details"] == {"forget_accuracy": {"n": 5}, "relearn_epochs": {"more_than": True}}
    assert (document["label"], document["role"], document["schema"]) == ("done", "unlearned", 1)
    assert [row["label"] for row in document["rows"]] == ["clean"]
    assert document["rows"][0]["forget_accuracy"] == 0.9
    assert document["limits"][0]["outcome"] == "pass"


def test_the_document_is_strict_json_and_sorted():
    text = json.dumps(report().as_dict(), allow_nan=False)
    assert text == json.dumps(json.loads(text), sort_keys=True)
    document = json.loads(text)
    assert document["facts"] == {"images": 12, "rate": None}
    assert document["rows"][0]["membership_auc"] is None
    assert document["rows"][0]["reasons"] == {"membership_auc": "not finite: inf"}


def test_of_several_checkpoints_none_stands_at_the_top():
    several = report()
    several.rows.append(Row("other", "unlearned", {"forget_accuracy": Measure(0.1)}))
    document = several.as_dict()
    assert "forget_accuracy" not in document
    assert [row["label"] for row in document["rows"]] == ["clean", "done", "other"]


def test_a_lone_checkpoint_stands_at_the_top_whatever_its_role():
    lone = Row("clean", "original", {"test_accuracy": Measure(0.5)})
    assert Report("evaluate", rows=[lone]).as_dict()["test_accuracy"] == 0.5


def test_a_report_without_rows_is_a_document_too():
    assert Report("train", written="model.safetensors").as_dict()["written"] == "model.safetensors"
