import subprocess
import sys

import pytest
import torch
from said import said

from unlearn_cli.metrics import registry
from unlearn_cli.metrics.registry import Evidence, known, measure
from unlearn_cli.metrics.report import Measure, Report


def tiny(**given):
    index = {
        "train": torch.arange(6), "forget": torch.arange(3), "retain": torch.arange(3, 6),
        "test": torch.arange(6, 12), "forget_test": torch.arange(6, 9), "retain_test": torch.arange(9, 12),
    }
    return Evidence(said(torch.randn(12, 4)), torch.arange(12) % 4, index, **({"forgotten": (0,)} | given))


def test_metrics_and_limits_are_known_without_torch():
    code = (
        "import sys; from unlearn_cli.metrics import registry, requirements; from unlearn_cli.cli import render\n"
        "assert len(registry.known()) >= 12; requirements.parse(['membership_auc=reference±0.05'])\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", known())
def test_every_metric_says_what_it_is(name):
    metric = known()[name]
    assert metric.help.endswith(".")
    assert metric.target(True) in (0, metric.most, "reference")
    assert set(metric.needs) <= {"reference", "original", "class", "images", *registry.COSTLY}
    assert len(metric.short) <= 20


def test_no_metric_has_the_name_of_another_key_of_the_document():
    assert not set(known()) & (set(Report("evaluate").as_dict()) | {"label", "role", "reasons", "details"})


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_every_metric_gives_a_number_in_range_or_a_reason(forgotten):
    found = measure(tiny(forgotten=forgotten, references=[said(torch.randn(12, 4))], forget_seconds=0.5))
    assert list(found) == list(known())
    for name, value in found.items():
        assert (value.value is None) == bool(value.reason)
        assert value.value is None or 0 <= value.value <= known()[name].most


def test_without_a_request_only_the_test_set_can_be_measured():
    given = Evidence(said(torch.randn(12, 4)), torch.arange(12) % 4, {"train": torch.arange(6), "test": torch.arange(6, 12)})
    found = measure(given)
    assert [name for name, value in found.items() if value.value is not None] == ["test_accuracy", "top_two_accuracy"]
    assert all(value.reason for value in found.values() if value.value is None)


def test_same_seed_gives_same_numbers_and_global_randomness_is_left_alone():
    torch.manual_seed(5)
    given = tiny()
    before = torch.get_rng_state()
    assert measure(given) == measure(given)
    assert torch.equal(before, torch.get_rng_state())


def test_what_was_measured_elsewhere_is_passed_on():
    found = measure(tiny(forget_seconds=1.5, relearn=Measure(100.0, more_than=True)))
    assert found["forget_seconds"].value == 1.5
    assert found["relearn_epochs"] == Measure(100.0, more_than=True)
    assert measure(tiny())["relearn_epochs"].reason == "`unlearn relearn` measures it"
    assert measure(tiny())["forget_seconds"].reason == "the checkpoint records no forgetting"


def test_direction_depends_on_what_is_forgotten():
    forget = known()["forget_accuracy"]
    assert (forget.direction(kind="classes"), forget.target(kind="classes")) == ("lower", 0)
    assert (forget.direction(kind="images"), forget.target(kind="images")) == ("reference", "reference")
    assert [column.better for column in registry.columns(["test_accuracy"], kind="images")] == ["higher"]


# what metrics ask of the evidence


def test_scores_of_some_images_at_a_time_are_those_of_all_at_once(monkeypatch):
    logits, labels, index = torch.randn(50, 4), torch.arange(50) % 4, torch.arange(50).flip(0)[:37]
    given = Evidence(said(logits), labels, {})
    expected = -logits[index].double().log_softmax(1).gather(1, labels[index, None])[:, 0]
    for rows in (1, 7, 37, 100):
        monkeypatch.setattr(registry, "ROWS", rows)
        assert torch.equal(given.losses(index), expected)
        assert torch.equal(given.scores(lambda z, y: z[:, 0], index, said(-logits)), -logits[index, 0].double())
    assert given.losses(index[:0]).shape == (0,)


def test_unseen_images_are_those_of_the_forgotten_classes_or_of_all_and_strangers_are_of_no_class_that_vanishes():
    of_class, of_images = tiny(), tiny(forgotten=())
    assert torch.equal(of_class.unseen, of_class.splits["forget_test"])
    assert torch.equal(of_images.unseen, of_images.splits["test"])
    assert (of_class.strangers, of_images.strangers) == ("retain_test", "test")
    alone = Evidence(said(torch.randn(12, 4)), torch.arange(12) % 4, {"forget": torch.arange(3)}, (0,))
    assert alone.unseen is None


def test_what_a_model_answers_is_asked_once_for_all_rows_of_a_report():
    other = said(torch.randn(12, 4))
    rows = [tiny(references=[other]) for _ in range(3)]
    answers = [row.answers(other) for row in rows]
    assert all(one is answers[0] for one in answers)
    assert torch.equal(answers[0], other.logits.argmax(1))
    assert torch.equal(rows[0].right(other), other.logits.argmax(1) == rows[0].labels)
    assert torch.equal(rows[0].correct, rows[0].right(rows[0].model))
