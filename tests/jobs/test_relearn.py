"""`relearn --attack`: the curves of every model, as a user asks for them."""

import csv
import json
from io import StringIO

import pytest

from unlearn_cli.engine.run import Run

SHORT = ("--set", "steps=20", "--set", "seeds=2")


@pytest.fixture
def here(place, monkeypatch, unlearn):
    monkeypatch.chdir(place)
    unlearn("forget", "--method", "mask", "--class", "3", "model.safetensors")
    return place


def attack(unlearn, name, *more, reference=True):
    given = ("--reference", "without-3.safetensors") if reference else ()
    return unlearn("relearn", "model.mask-class-3.safetensors", "--attack", name, *given, *more)


def rows_of(done):
    document = json.loads(done.out)
    return {row["role"]: row for row in (*document["rows"], document)}


def test_a_few_images_bring_a_hidden_class_back_and_teach_it_slowly_where_it_never_was(unlearn, here):
    rows = rows_of(attack(unlearn, "few-shot", *SHORT, "--json"))
    curves = {role: row["details"]["relearn_steps"] for role, row in rows.items()}
    assert {tuple(curve["steps"]) for curve in curves.values()} == {(0, 10, 20)}
    assert curves["original"]["curve"][0] > 0.9
    assert curves["unlearned"]["curve"][0] == curves["reference"]["curve"][0] == 0
    assert curves["unlearned"]["curve"][1] > 0.85 > 0.7 > curves["reference"]["highest"]
    assert [len(curves["unlearned"][f"curve_{seed}"]) for seed in (1, 2)] == [3, 3]
    assert (rows["original"]["relearn_steps"], rows["unlearned"]["relearn_steps"]) == (0, 10)
    assert curves["reference"]["more_than"]
    assert rows["unlearned"]["anamnesis_index"] == 10 / 20
    assert rows["unlearned"]["details"]["anamnesis_index"]["at_most"]
    assert rows["unlearned"]["relearn_area"] > 0.5


def test_retain_images_alone_revive_nothing_that_a_head_hides(unlearn, here):
    rows = rows_of(attack(unlearn, "retain", *SHORT, "--json"))
    assert rows["original"]["revived_accuracy"] > 0.9
    assert max(rows[role]["revived_accuracy"] for role in ("reference", "unlearned")) < 0.1
    assert rows["original"]["details"]["revived_accuracy"]["steps"] == [0, 10, 20]
    assert "relearn_steps" not in rows["original"]


def test_a_table_shows_the_curve_and_csv_every_point(unlearn, here):
    shown = attack(unlearn, "few-shot", *SHORT).out.splitlines()
    assert any(line.split() == ["step", "original", "reference", "unlearned"] for line in shown)
    assert [line.split()[0] for line in shown[-8:-3] if line] == ["0", "10", "20", "area", "highest"]
    assert any(line.startswith("anamnesis_index") and "≤0.5000" in line for line in shown)
    text = attack(unlearn, "few-shot", *SHORT, "--format", "csv").out
    found = {row["role"]: row for row in csv.DictReader(StringIO(text))}
    assert found["reference"]["relearn_steps"] == ">20.0"
    assert found["unlearned"]["anamnesis_index"] == "<=0.5"
    assert float(found["original"]["few_shot_0"]) > 0.9 > float(found["unlearned"]["few_shot_0"]) == 0


def test_the_same_attack_takes_no_step_again_and_another_setting_does(unlearn, here, monkeypatch):
    first = attack(unlearn, "few-shot", *SHORT, "--json")
    steps = []
    inner = Run.step
    monkeypatch.setattr(Run, "step", lambda *args, **more: steps.append(1) or inner(*args, **more))
    assert attack(unlearn, "few-shot", *SHORT, "--json").out == first.out
    assert not steps
    attack(unlearn, "few-shot", *SHORT, "--set", "shots=2")
    assert len(steps) == 3 * 2 * 20


def test_without_a_reference_the_curves_are_drawn_and_the_index_says_what_it_needs(unlearn, here):
    rows = rows_of(attack(unlearn, "few-shot", *SHORT, "--json", reference=False))
    assert rows["unlearned"]["relearn_steps"] == 10
    assert rows["unlearned"]["reasons"]["anamnesis_index"] == "needs a reference model"


def test_the_default_counts_epochs(unlearn, here):
    by_default = unlearn("relearn", "model.mask-class-3.safetensors", "--set", "cap=1", "--json")
    assert attack(unlearn, "epochs", "--set", "cap=1", "--json", reference=False).out == by_default.out
    assert "relearn_epochs" in rows_of(by_default)["unlearned"]


@pytest.mark.parametrize(
    ("name", "more", "problem", "hint"),
    [
        ("few_shot", (), "no attack called 'few_shot'", "did you mean 'few-shot'?"),
        ("zzz", (), "no attack called 'zzz'", "epochs, few-shot, retain"),
        ("retain", ("--set", "shots=2"), "relearn --attack retain has no setting called 'shots'", "did you mean 'steps'?"),
        ("few-shot", ("--set", "cap=2"), "relearn --attack few-shot has no setting called 'cap'", "shots"),
        ("epochs", ("--set", "steps=2"), "relearn has no setting called 'steps'", ""),
        ("few-shot", ("--set", "shots=0"), "shots=0 is not allowed", ">= 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(unlearn, here, name, more, problem, hint):
    done = attack(unlearn, name, *more)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
    assert hint in done.err


def test_listed_images_are_attacked_where_some_are_left_to_look_at(unlearn, here):
    paths = sorted((here / "digits/train/3").iterdir())[:2]
    command = ("relearn", "model.safetensors", "--original", "model.safetensors", "--reference", "without-3.safetensors", *SHORT)
    for count in (1, 2):
        (here / f"{count}.txt").write_text("".join(f"train/3/{path.name}\n" for path in paths[:count]))
    one = unlearn(*command, "--instances", "1.txt", "--attack", "few-shot")
    assert (one.code, one.out) == (2, "")
    assert "none is left to look at" in one.err
    assert "--attack retain" in one.err
    assert rows_of(unlearn(*command, "--instances", "2.txt", "--attack", "few-shot", "--json"))["original"]["relearn_steps"] == 0
    alone = rows_of(unlearn(*command, "--instances", "1.txt", "--attack", "retain", "--json"))
    assert alone["unlearned"]["revived_accuracy"] == 1
    assert alone["unlearned"]["relearn_area"] == 1


def test_an_original_that_knows_nothing_of_the_class_has_nothing_to_relearn(unlearn, here):
    command = ("relearn", "model.mask-class-3.safetensors", "--original", "without-3.safetensors", "--set")
    rows = rows_of(unlearn(*command, "cap=1", "--json"))
    assert {row["relearn_epochs"] for row in rows.values()} == {None}
    assert "nothing to relearn" in rows["unlearned"]["reasons"]["relearn_epochs"]
    rows = rows_of(unlearn(*command, "steps=10", "--set", "seeds=1", "--attack", "few-shot", "--json"))
    assert "too little" in rows["unlearned"]["reasons"]["relearn_steps"]


def test_the_built_in_limits_and_blocks_are_shown_in_tables(unlearn, here):
    options = ("--reference", "without-3.safetensors", "--verify", "full", "--blocks")
    done = unlearn("evaluate", "model.mask-class-3.safetensors", *options)
    assert done.code == 1
    lines = [line.split() for line in done.out.splitlines()]
    assert any(line[:2] == ["revived_accuracy", "lower"] and all("%" in cell for cell in line[2:]) for line in lines)
    assert sum(line[:1] == ["group3"] for line in lines) == 2
    assert "revived_accuracy" in attack(unlearn, "retain", *SHORT).out
