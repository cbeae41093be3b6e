"""Attacks that `evaluate` makes where they are asked for: what they show, what they cost the second time, and what stops them."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from unlearn_cli.cases import attacks
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import Plain, Request, evaluate, forget

CPU = Options(device="cpu", precision="float32")
CURVES = ("relearn_area<=0.5", "anamnesis_index>=0.8", "zrf>=0.01")
BLOCKS = ["whiten", "group1", "group2", "group3", "head"]


@pytest.fixture(scope="module")
def lab(shipped, tmp_path_factory):
    """The original, a retrained model, and the original under a head that never says 3."""
    place = tmp_path_factory.mktemp("lab")
    for name in ("model.safetensors", "without-3.safetensors"):
        shutil.copy(shipped / name, place)
    (place / "digits").symlink_to(shipped / "digits")
    forget(str(place / "model.safetensors"), "mask", Request(("3",)), output=str(place / "masked.safetensors"), options=CPU)
    return place


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Curves of one training of twenty steps."""
    inner = attacks.draw
    monkeypatch.setattr(attacks, "draw", lambda *args, **more: inner(*args, **({"steps": 20, "seeds": 1} | more)))


@pytest.fixture
def work(monkeypatch):
    """How many passes and steps were made."""
    done = Counter()
    for name in ("over", "step"):
        inner = getattr(Run, name)
        monkeypatch.setattr(Run, name, lambda *args, inner=inner, name=name, **more: done.update([name]) or inner(*args, **more))
    return done


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def judged(lab, name="masked", require=(), **more):
    given = {"references": [str(lab / "without-3.safetensors")], "original": str(lab / "model.safetensors"), "options": CPU} | more
    return evaluate(str(lab / f"{name}.safetensors"), require=require, **given)


def by_role(report, metric):
    return {row.role: row.measures[metric] for row in report.rows}


# what they show


def test_a_hidden_class_is_relearned_at_once_and_the_limit_says_so(lab):
    report = judged(lab, require=CURVES[:2])
    assert [limit.outcome for limit in report.limits] == ["fail", "fail"]
    steps, areas = (by_role(report, name) for name in ("relearn_steps", "relearn_area"))
    assert (steps["original"].value, steps["unlearned"].value, steps["reference"].more_than) == (0, 10, True)
    assert (areas["original"].value, areas["unlearned"].value > 0.5) == (1, True)
    assert areas["reference"].reason == "needs a reference model"


def test_a_retrained_model_does_not_relearn_it_sooner_than_another(lab):
    again = str(lab / "again.safetensors")
    forget(str(lab / "model.safetensors"), "retrain", Request(("3",)), output=again, options=replace(CPU, seed=7))
    report = judged(lab, "again", require=["relearn_area<=0.5"])
    assert report.exit_code == 0
    assert report.evaluated.measures["relearn_area"].value < 0.25


def test_curves_are_not_drawn_where_nobody_asks(lab, work):
    report = judged(lab)
    assert work["step"] == 0
    assert not {"relearn_steps", "relearn_area", "revived_accuracy", "blocks_to_original"} & set(report.evaluated.measures)


@pytest.mark.parametrize("is_class", [True, False])
def test_the_revival_of_the_policy_is_the_same_beside_longer_curves(lab, tmp_path, is_class):
    more = {} if is_class else {"request": listed(lab, 20), "original": str(lab / "model.safetensors")}
    name = "masked" if is_class else "model"
    alone, both = (judged(lab, name, verify="full", require=given, **more) for given in ((), CURVES[:1]))
    one, other = (by_role(report, "revived_accuracy") for report in (alone, both))
    assert one == other
    assert one["original"].detail["steps"] == [0, 5, 10, 15, 20]
    assert by_role(both, "relearn_area")["original"].detail["steps"] == [0, 10, 20]


def test_blocks_tell_a_changed_head_from_a_changed_network(lab):
    report = judged(lab, blocks=True)
    found = by_role(report, "blocks_to_original")
    alike = {role: dict(zip(BLOCKS, measure.detail["similarity"], strict=True)) for role, measure in found.items()}
    assert alike["original"] == pytest.approx(dict.fromkeys(BLOCKS, 1), abs=1e-12)
    assert {**alike["unlearned"], "head": 1} == pytest.approx(dict.fromkeys(BLOCKS, 1), abs=1e-12)
    assert alike["unlearned"]["head"] < 0.99
    assert alike["reference"]["group3"] < 0.9
    assert found["reference"].value == min(alike["reference"][name] for name in BLOCKS[:-1])
    to_reference = by_role(report, "blocks_to_reference")
    assert to_reference["original"].detail["similarity"] == pytest.approx(list(alike["reference"].values()), abs=1e-12)
    assert to_reference["unlearned"].value == pytest.approx(to_reference["original"].value, abs=1e-6)
    assert to_reference["reference"].value is None
    assert [(series.name, series.shown, len(series.values)) for series in report.series] == [
        ("blocks_to_original", BLOCKS, 3), ("blocks_to_reference", BLOCKS, 3),
    ]  # fmt: skip


def test_blocks_find_the_original_beside_and_need_somebody_to_compare_with(lab, tmp_path):
    report = judged(lab, blocks=True, original=None, references=())
    assert by_role(report, "blocks_to_original")["unlearned"].value == pytest.approx(1, abs=1e-12)
    alone = shutil.copy(lab / "masked.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(UnlearnError, match="--blocks compares with other models"):
        evaluate(str(alone), blocks=True, plain=Plain(data=str(lab / "digits")), options=CPU)


# what they cost the second time


def test_a_second_evaluation_makes_no_pass_and_no_step_and_says_the_same(lab, work, cache):
    first = judged(lab, verify="full", require=CURVES, blocks=True)
    assert work["step"] > 0 and work["over"] > 0
    work.clear()
    second = judged(lab, verify="full", require=CURVES, blocks=True)
    assert not work
    assert second.as_dict() == first.as_dict()


def test_what_was_not_asked_before_is_made_and_nothing_else(lab, work, cache):
    given = {"references": (), "require": ["revived_accuracy<=0.99"]}
    judged(lab, **given)
    work.clear()
    judged(lab, references=(), require=["revived_accuracy<=0.99", "zrf>=0.01"])
    assert work == {"over": 1}
    work.clear()
    judged(lab, **given, options=replace(CPU, seed=1))
    assert work["step"] == 2 * 20
    work.clear()
    judged(lab, "model", **given, request=Request(("5",)))
    assert work["step"] == 20                           # one model, as the original and as the judged one


def test_damaged_files_are_made_again(lab, work, cache):
    given = {"require": ["relearn_steps>=10", "zrf>=0.01"], "references": (), "blocks": True}
    first = judged(lab, **given)
    found = Counter(path.name.partition("-")[0] for path in cache.iterdir())
    assert {"relearning": 2, "blocks": 2, "untrained": 1, "readout": 1}.items() <= found.items()
    for path in cache.iterdir():
        if not path.name.startswith(("index", "pixels")):
            path.write_bytes(path.read_bytes()[:-1])
    work.clear()
    assert judged(lab, **given).as_dict() == first.as_dict()
    assert work["step"] == 2 * 20
    work.clear()
    assert judged(lab, **given).as_dict() == first.as_dict()
    assert not work


# what stops them


def listed(lab, count):
    paths = sorted((lab / "digits/train/3").iterdir())[:count]
    return Request(instances=tuple(f"train/3/{path.name}" for path in paths))


def test_one_listed_image_cannot_be_trained_on_and_looked_at(lab):
    report = judged(lab, "model", require=["anamnesis_index>=0.8"], request=listed(lab, 1))
    assert (report.limits[0].outcome, report.exit_code) == ("not measurable", 2)
    assert "none is left to look at" in report.limits[0].reason
    two = judged(lab, "model", require=["relearn_steps>=1"], request=listed(lab, 2))
    assert by_role(two, "relearn_steps")["original"].value == 0


@pytest.fixture
def untested(lab, tmp_path):
    """The digits without test images of class 3."""
    for path in (lab / "digits").glob("*/*"):
        if path.parts[-2:] != ("test", "3"):
            target = tmp_path / "untested" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(Path(path).resolve(), target)
    return Plain(data=str(tmp_path / "untested"))


def test_a_class_without_test_images_has_no_curve_and_the_other_limits_still_count(lab, untested):
    report = judged(lab, require=["relearn_area<=0.5", "revived_accuracy<=0.05", "forget_accuracy<=0.01"], plain=untested)
    assert [limit.outcome for limit in report.limits] == ["not measurable", "not measurable", "pass"]
    assert report.limits[0].reason == "there are no test images of forgotten classes"
    assert judged(lab, require=["relearn_area<=0.5", "retain_accuracy>=1"], plain=untested).exit_code == 1


def test_a_limit_on_curves_asks_for_the_models_that_it_needs(lab):
    with pytest.raises(UnlearnError, match="relearn_area needs a reference model"):
        judged(lab, require=CURVES[:2], references=())
    with pytest.raises(UnlearnError, match="relearn_steps needs the original model"):
        judged(lab, require=["relearn_steps>=10"], original=None)
    report = judged(lab, require=["relearn_steps>=20"], references=())
    assert report.exit_code == 1
    assert report.evaluated.measures["anamnesis_index"].reason == "needs a reference model"
