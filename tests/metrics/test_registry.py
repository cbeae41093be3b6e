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
    assert set(metric.needs) <= {"reference", "original", "class", *registry.COSTLY}
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
