"""Requests one after another: what was asked for once is never read as something to keep, and all of it is judged."""

import json
import os
import shutil

import pytest

from tests.sequences import CLASSES, CPU, images, in_turn, plan
from unlearn_cli import methods
from unlearn_cli.cases import requests
from unlearn_cli.cases.case import open_case
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.checkpoints import store
from unlearn_cli.data.splits import ALL, split
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import Request, evaluate, forget, train

READERS = [name for name in methods.names() if "retain" in methods.get(name).reads and "class" in methods.get(name).scope]
TEST = ["--device", "cpu", "--precision", "float32"]


@pytest.fixture(scope="module")
def lab(shipped, tmp_path_factory):
    """The shipped model after `eu-k` on class 1, and after it `cf-k` on class 2, and a model that never saw either."""
    folder = tmp_path_factory.mktemp("sequences")
    shutil.copy(shipped / "model.safetensors", folder)
    (folder / "digits").symlink_to(shipped / "digits")
    here = os.getcwd()
    os.chdir(folder)
    forget("model.safetensors", "eu-k", Request(("1",)), output="one.safetensors", options=CPU)
    forget("one.safetensors", "cf-k", Request(("2",)), output="two.safetensors", options=CPU)
    train(None, "without.safetensors", like="two.safetensors", without_forgotten=True, options=CPU)
    os.chdir(here)
    return folder


@pytest.fixture
def here(lab, monkeypatch):
    monkeypatch.chdir(lab)
    return lab


def numbers(report):
    """The forget test accuracy of each part, by its words."""
    parts = [part for part in report.parts if "forget_test_accuracy" in part.measures]
    return {part.request: part.measures["forget_test_accuracy"].value for part in parts}


def trained_on(folder, *digits):
    """How many training images there are of these digits, or of all."""
    return sum(len(list((folder / "digits/train" / digit).iterdir())) for digit in digits or "0123456789")


def test_what_an_earlier_request_meant_is_in_no_split(here):
    loaded = load("one.safetensors", Plain(), CPU)
    listed = Request(instances=tuple(images(here / "digits", "1", 0, 3) + images(here / "digits", "5", 0, 4)))
    for request, images_left in ((Request(("2",)), trained_on(here, "2")), (listed, 7)):
        target = requests.after(requests.resolve(request, loaded.folder), loaded.record.lineage, loaded.folder, "", ALL)
        parts = split(loaded.folder, target, ALL, 0.2)
        labels = {name: set(getattr(parts, name).y.tolist()) for name in ALL}
        assert all(1 not in found for name, found in labels.items() if name not in ("forget", "train"))
        assert len(parts.train) == len(parts.forget) + len(parts.retain)
        assert len(parts.forget) == images_left
    untouched = split(loaded.folder, requests.resolve(Request(("2",)), loaded.folder), ALL, 0.2)
    assert all(1 in set(getattr(untouched, name).y.tolist()) for name in ("retain", "retain_test", "selection"))


@pytest.mark.parametrize("name", READERS)
def test_a_method_that_reads_the_retain_set_reads_none_of_an_earlier_request(name, here, monkeypatch):
    given = []

    def watched(self, run, model, splits, values):
        given.append(splits)

    monkeypatch.setattr(methods.Method, "run", watched)
    with pytest.raises(UnlearnError, match="changed no tensor"):
        forget("one.safetensors", name, Request(("2",)), output="watched.safetensors", options=CPU)
    assert 1 not in set(given[0].retain.y.tolist())
    assert 3 in set(given[0].retain.y.tolist())


def test_evaluate_judges_all_and_each_and_names_the_one_that_decided(here):
    report = evaluate("two.safetensors", require=["forget_test_accuracy<=0.01"], options=CPU)
    assert report.exit_code == 0
    assert numbers(report) == {"class 1": 0, "class 2": 0}
    asked = open_case(load("two.safetensors", Plain(), CPU), Request())
    assert asked.request.classes == ["1", "2"] and asked.case.forgotten == (1, 2)

    tensors, record = store.read("two.safetensors").tensors, store.read("two.safetensors").record
    knows_one = store.read("model.safetensors").tensors     # the original's weights under a lineage that says otherwise
    store.write("pretends.safetensors", knows_one, record, force=True)
    assert tensors.keys() == knows_one.keys()
    report = evaluate("pretends.safetensors", require=["forget_test_accuracy<=0.6"], options=CPU)
    assert report.exit_code == 1 and "Decided by class" in report.verdict


def test_one_request_that_is_still_known_fails_although_all_together_hold(here, unlearn):
    forget("one.safetensors", "fine-tune", Request(("2",)), output="half.safetensors", settings={"epochs": 1, "lr": 1e-5},
           options=CPU)  # fmt: skip
    done = unlearn("evaluate", "half.safetensors", "--require", "forget_test_accuracy<=0.6", "--json", *TEST)
    told = json.loads(done.out)
    assert told["limits"][0]["outcome"] == "pass" and told["forget_test_accuracy"] < 0.6
    assert {part["request"]: part["exit_code"] for part in told["requests"]} == {"class 1": 0, "class 2": 1}
    assert done.code == 1 and "Decided by class 2" in told["verdict"]
    last = unlearn("evaluate", "half.safetensors", "--only-last", "--require", "forget_test_accuracy<=0.6", "--json", *TEST)
    assert last.code == 1 and "requests" not in json.loads(last.out)
    assert unlearn("evaluate", "one.safetensors", "--only-last", "--require", "forget_test_accuracy<=0.6", *TEST).code == 0


def test_a_request_that_no_limit_speaks_of_is_no_answer(here, unlearn):
    (here / "five.txt").write_text("\n".join(images(here / "digits", "5", 0, 30)))
    unlearn("forget", "-m", "neg-grad", "--instances", "five.txt", "two.safetensors", "-o", "mixed.safetensors", *TEST)
    asked = ("evaluate", "mixed.safetensors", *TEST, "--require")
    classes_only = unlearn(*asked, "forget_test_accuracy<=0.1")
    assert classes_only.code == 2 and "Decided by 30 listed images" in classes_only.out
    report = here / "lone.xml"
    assert unlearn(*asked, "forget_test_accuracy<=0.1", "--junit", report, "--force").code == 2
    assert 'errors="1"' in report.read_text()
    assert unlearn(*asked, "forget_test_accuracy<=0.1", "--require", "retain_accuracy>=0.5").code == 2
    assert unlearn(*asked, "retain_accuracy>=0.5").code == 0


def test_a_limit_on_what_is_kept_does_not_answer_for_what_is_forgotten(here, unlearn):
    listed = Request(instances=tuple(images(here / "digits", "5", 0, 30)))
    forget("two.safetensors", "neg-grad", listed, output="kept.safetensors", settings={"lr": 1e-5, "epochs": 1}, options=CPU)
    gone, kept = ("--require", "forget_test_accuracy<=0.05"), ("--require", "test_accuracy>=0.2")
    both = unlearn("evaluate", "kept.safetensors", *gone, *kept, "--json", *TEST)
    told = json.loads(both.out)
    assert both.code == 2 and "Decided by 30 listed images" in told["verdict"]
    assert {limit["metric"]: limit["outcome"] for limit in told["limits"]} == {
        "forget_test_accuracy": "not measurable", "test_accuracy": "pass",
    }  # fmt: skip
    assert unlearn("evaluate", "kept.safetensors", *kept, *TEST).code == 0
    assert unlearn("evaluate", "kept.safetensors", *gone, *kept, "--require", "forget_accuracy<=0.999", *TEST).code in (0, 1)
    assert unlearn("evaluate", "two.safetensors", *gone, *kept, *TEST).code == 0


def test_every_format_tells_each_request(here, unlearn):
    report = here / "report.xml"
    asked = ("evaluate", "two.safetensors", "--require", "forget_test_accuracy<=0.01", *TEST)
    assert "by request" in unlearn(*asked, "--junit", report, "--force").out
    assert report.read_text().count("<testcase") == 3
    assert "| class 2 | 0.00% | 0.00% | held |" in unlearn(*asked, "--format", "markdown").out


def test_a_training_without_what_was_forgotten_is_a_reference_and_one_without_half_of_it_is_none(here):
    record = store.read("without.safetensors").record
    assert record.lineage[-1].request.classes == ["1", "2"]
    assert evaluate("two.safetensors", references=["without.safetensors"], verify="output", options=CPU).exit_code in (0, 1)
    train(None, "half-without.safetensors", like="model.safetensors", without=Request(("2",)), options=CPU)
    with pytest.raises(UnlearnError, match="was trained on all but class 2"):
        evaluate("two.safetensors", references=["half-without.safetensors"], verify="output", options=CPU)


def test_classes_and_images_may_be_left_out_of_one_training(here):
    listed = tuple(images(here / "digits", "5", 0, 7) + images(here / "digits", "3", 0, 2))
    report = train(None, "both.safetensors", like="model.safetensors", without=Request(("3",), listed), options=CPU)
    asked = store.read("both.safetensors").record.lineage[-1].request
    assert asked.classes == ["3"] and asked.instances_count == 9
    assert report.facts["left_out"] == "class 3 and 9 listed images"
    assert report.facts["train_images"] == trained_on(here) - trained_on(here, "3") - 7


def test_a_long_list_is_asked_for_again_where_it_is_needed_and_its_digest_is_checked(here, unlearn):
    listed = images(here / "digits", "5", 0, 120)
    (here / "long.txt").write_text("\n".join(listed))
    (here / "other.txt").write_text("\n".join(listed[1:]))
    command = ("forget", "-m", "neg-grad", "--set", "epochs=1", "--instances", "long.txt", "model.safetensors", "-o")
    assert unlearn(*command, "long.safetensors", *TEST).code == 0
    assert store.read("long.safetensors").record.lineage[-1].request.instances is None
    again = ("forget", "-m", "fine-tune", "--set", "epochs=1", "--class", "2", "long.safetensors", "-o", "after.safetensors", *TEST)
    for more, code in (((), 2), (("--forgotten", "other.txt"), 2), (("--forgotten", "long.txt"), 0)):
        done = unlearn(*again, *more)
        assert done.code == code
        assert code == 0 or "120 listed images" in done.err
    read = store.read("after.safetensors").record.lineage[-1].images_read["retain"]
    assert read == trained_on(here) - trained_on(here, "2") - 120
    assert unlearn("evaluate", "after.safetensors", *TEST).code == 2
    assert unlearn("evaluate", "after.safetensors", "--forgotten", "long.txt", *TEST).code == 0
    assert unlearn("forget", "-m", "mask", "--class", "2", "long.safetensors", "-o", "mask2.safetensors", *TEST).code == 0


def test_a_method_that_changes_nothing_is_an_error_unless_all_of_it_was_asked_for_before(here, unlearn):
    unlearn("forget", "-m", "mask", "--class", "3", "model.safetensors", "-o", "masked.safetensors", *TEST)
    lau = ("forget", "-m", "lau", "masked.safetensors", *TEST)
    again = unlearn(*lau, "--class", "3", "-o", "again.safetensors")
    assert again.code == 0 and store.read("again.safetensors").digest == store.read("masked.safetensors").digest
    steps = store.read("again.safetensors").record.lineage
    assert [step.withheld for step in steps] == [0, 0, 1]
    bare = store.read("masked.safetensors")
    store.write("bare.safetensors", bare.tensors, bare.record.model_copy(update={"lineage": bare.record.lineage[:1]}))
    fresh = unlearn("forget", "-m", "lau", "bare.safetensors", *TEST, "--class", "3", "-o", "fresh.safetensors")
    assert fresh.code == 2 and "changed no tensor" in fresh.err and not (here / "fresh.safetensors").exists()


def test_default_names_carry_the_class_as_it_is_called_and_do_not_grow_without_end(here, unlearn, shipped, tmp_path):
    for part in ("train", "test"):
        for name, digit in (("11", "1"), ("12", "2"), ("14", "3"), ("25", "5")):
            (tmp_path / "d" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "d" / part / name).symlink_to(shipped / "digits" / part / digit)
    model = tmp_path / "m.safetensors"
    train(str(tmp_path / "d"), str(model), arch="compact", chosen={"width": 8, "batch_size": 64}, epochs=1, options=CPU)
    assert unlearn("forget", "-m", "mask", "--class", "2", model, *TEST).code == 2       # no folder is called so
    assert unlearn("forget", "-m", "mask", "--class", "14", model, *TEST).out.strip().endswith("m.mask-class-14.safetensors")
    long = tmp_path / f"{'m' * 100}.safetensors"
    shutil.copy(model, long)
    made = str(long)
    for name in ("11", "14", "12"):
        made = unlearn("forget", "-m", "mask", "--class", name, made, *TEST).out.strip()
    assert len(os.path.basename(made)) < 160 and made.endswith("2-steps.mask-class-12.safetensors")


def test_part_of_a_class_by_a_pattern(here, unlearn):
    done = unlearn("forget", "-m", "neg-grad", "--images", "train/3/00*.png", "model.safetensors", "-o", "part.safetensors",
                   "--json", *TEST)  # fmt: skip
    matched = len(list((here / "digits/train/3").glob("00*.png")))
    told = json.loads(done.out)
    assert 0 < matched < trained_on(here, "3") and told["facts"]["matched"] == matched
    assert any("1 pattern" in note for note in told["notes"])
    assert unlearn("forget", "-m", "neg-grad", "--images", "train/3/zz*", "model.safetensors", "-o", "none.safetensors").code == 2


def test_exact_copies_that_stay_are_named_and_repeated_in_the_verdict_or_taken_in(here, unlearn, tmp_path):
    for part in ("train", "test"):
        for digit in "013":
            shutil.copytree(here / "digits" / part / digit, tmp_path / "d" / part / digit)
    listed = images(here / "digits", "3", 0, 20)
    for path in listed[:5]:
        shutil.copy(tmp_path / "d" / path, tmp_path / "d/train/3" / f"copy-{os.path.basename(path)}")
    (tmp_path / "list.txt").write_text("\n".join(listed))
    model = tmp_path / "m.safetensors"
    train(str(tmp_path / "d"), str(model), arch="compact", chosen={"width": 8, "batch_size": 64}, epochs=1, options=CPU)
    asked = ("forget", "-m", "neg-grad", "--set", "lr=0.01", "--instances", tmp_path / "list.txt", model, *TEST)
    left = unlearn(*asked, "-o", tmp_path / "left.safetensors")
    assert "5 exact copies of images to forget stay in the retain set: train/3/copy-" in left.err
    taken = unlearn(*asked, "-o", tmp_path / "taken.safetensors", "--with-duplicates")
    assert store.read(str(tmp_path / "taken.safetensors")).record.lineage[-1].request.instances_count == 25
    assert "exact copies of images to forget" not in taken.err
    for name, said in (("left", True), ("taken", False)):
        judged = unlearn("evaluate", tmp_path / f"{name}.safetensors", "--require", "forget_accuracy<=0.99", "--json", *TEST)
        assert ("5 exact copies of what is forgotten remain" in json.loads(judged.out)["verdict"]) == said


@pytest.fixture(scope="module")
def twenty(shipped, tmp_path_factory):
    """The last of twenty requests in turn, and the last of the same when nothing is withheld; with the original between."""
    folder = tmp_path_factory.mktemp("twenty")
    shutil.copy(shipped / "model.safetensors", folder)
    (folder / "digits").symlink_to(shipped / "digits")
    steps, found = plan(folder / "digits"), {}
    for name in ("ours", "control"):
        (folder / name).mkdir()
        with pytest.MonkeyPatch.context() as patch:
            if name == "control":
                patch.setattr(requests, "after", lambda target, *_: target)
            last = in_turn(folder / "model.safetensors", folder / name, steps)
        found[name] = evaluate(str(last), original=str(folder / "model.safetensors"), options=CPU), store.read(str(last)).record
    return found


def test_twenty_requests_in_turn_are_all_still_forgotten_and_without_withholding_they_come_back(twenty):
    ours, control = (numbers_of_classes(twenty[name][0]) for name in ("ours", "control"))
    assert set(CLASSES) <= {name for words in ours for name in words.split() if name.isdigit()}
    assert max(ours.values()) <= 0.05
    assert max(control.values()) >= 0.9


def numbers_of_classes(report):
    return {words: value for words, value in numbers(report).items() if words.startswith("class") and value is not None}


def test_twenty_requests_are_one_lineage(twenty):
    _, record = twenty["ours"]
    assert len(record.lineage) == 21
    distinct = [step.withheld for step in record.lineage[1:]]
    assert distinct == sorted(distinct) and distinct[-1] == 17
    assert len(requests.asked(record.lineage)) == 18


def test_what_twenty_requests_cost_in_accuracy_is_little(twenty):
    report, _ = twenty["ours"]
    before, after = (row.measures["retain_test_accuracy"].value for row in report.rows)
    assert after >= before - 0.05


def test_the_original_is_judged_not_forgotten_and_the_retrained_model_forgotten(here):
    original = evaluate("model.safetensors", request=Request(("1", "2")), require=["forget_test_accuracy<=0.01"], options=CPU)
    retrained = evaluate("without.safetensors", require=["forget_test_accuracy<=0.01"], options=CPU)
    assert (original.exit_code, retrained.exit_code) == (1, 0)
