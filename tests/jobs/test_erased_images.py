"""What still works once the images to forget are erased, what says that it cannot be known, and what finds moved images."""

import json
import os
import shutil

import pytest

from unlearn_cli.checkpoints import store
from unlearn_cli.errors import UnlearnError

ORIGINAL, MINE, REFERENCE = "model.safetensors", "forgot.safetensors", "without-3.safetensors"
LISTED, LONG = "listed.safetensors", "long.safetensors"
FEW, MANY = 20, 130


@pytest.fixture(scope="module")
def made(shipped, tmp_path_factory):
    """A class that was forgotten, a short and a long list that were, and a deletion record of each, with all images there."""
    from unlearn_cli import jobs

    place = tmp_path_factory.mktemp("made") / "here"
    shutil.copytree(shipped / "digits", place / "digits")
    for name in (ORIGINAL, REFERENCE):
        shutil.copy(shipped / name, place)
    few = sorted(f"train/7/{path.name}" for path in (place / "digits/train/7").iterdir())[:FEW]
    many = sorted(f"train/4/{path.name}" for path in (place / "digits/train/4").iterdir())[:MANY]
    (place / "long.txt").write_text("\n".join(many))
    original = str(place / ORIGINAL)
    asked = {MINE: jobs.Request(("3",)), LISTED: jobs.Request(instances=tuple(few)), LONG: jobs.Request(instances=tuple(many))}
    for name, request in asked.items():
        method, settings = ("mask", {}) if request.classes else ("fine-tune", {"epochs": 1})
        jobs.forget(original, method, request, output=str(place / name), settings=settings, keep_evidence=True)
        record = str(place / name.replace(".safetensors", ".json"))
        jobs.evaluate(str(place / name), original=original, record=record, require=["retain_accuracy>=0.5"])
    return place


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy to erase images from; its files share their bytes with the others, and are never written into."""
    shutil.copytree(made, tmp_path / "copy", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def run(unlearn):
    """Exit code, JSON document and stderr of a command that writes a report."""

    def call(*words, expected=0):
        done = unlearn(*words, "-q", "--json")
        assert done.code == expected, done.err + done.out[-600:]
        return json.loads(done.out)

    return call


@pytest.fixture
def refused(unlearn, here):
    """Stderr of a command that stops with one clear line and writes nothing."""

    def call(*words):
        before = sorted(path.name for path in here.iterdir())
        done = unlearn(*words, "-q")
        assert (done.code, done.out) == (2, ""), done.err
        assert done.err.startswith("Error: ") and len(done.err.splitlines()) == 2 and "our mistake" not in done.err
        assert sorted(path.name for path in here.iterdir()) == before
        return done.err

    return call


def erase_class(parts=("train", "test"), name="3"):
    for part in parts:
        shutil.rmtree(f"digits/{part}/{name}")


def erase_list(count=FEW, name=LISTED):
    paths = [image.path for image in evidence_of(name).requests[0].images]
    for path in paths[:count]:
        os.unlink(f"digits/{path}")
    return paths


def evidence_of(name):
    from unlearn_cli.cases import evidence

    return evidence.of(store.read(name))[0]


# a class


@pytest.mark.parametrize("parts", [("train", "test"), ("train",)], ids=["all", "training images"])
def test_what_is_left_is_measured_and_judged_and_what_is_gone_is_not(run, here, parts):
    erase_class(parts)
    held = run("evaluate", MINE, "--reference", REFERENCE, "--require", "retain_test_accuracy>=0.9")
    assert (held["forget_accuracy"], held["reasons"]["forget_accuracy"]) == (None, "there are no images to forget")
    assert held["retain_test_accuracy"] > 0.9
    assert any(("no image" if len(parts) == 2 else "no training image") + " of class 3 is left" in note for note in held["notes"])
    found = run("evaluate", MINE, "--reference", REFERENCE, "--verify", "full", expected=2)
    assert found["verdict"].startswith("Not shown: ")
    measured = {limit["metric"] for limit in found["limits"] if limit["outcome"] != "not measurable"}
    assert "retain_test_accuracy" in measured and "forget_accuracy" not in measured
    assert ("forget_test_accuracy" in measured) == (len(parts) == 1)


def test_no_metric_of_a_class_is_measured_that_is_gone(run, here):
    from unlearn_cli.metrics import registry

    wanted = [name for name, metric in registry.known().items()
              if metric.is_defined_for("classes") and metric.about == "forgetting" and metric.unit == "fraction"
              and "shadow" not in metric.needs and name != "relearn_epochs"]  # fmt: skip
    limits = [word for name in wanted for word in ("--require", f"{name}=reference±0.0001")]
    erase_class()
    found = run("evaluate", MINE, "--original", ORIGINAL, "--reference", REFERENCE, "--blocks", *limits, expected=2)
    assert [limit["metric"] for limit in found["limits"] if limit["outcome"] != "not measurable"] == []
    assert len(found["limits"]) == len(wanted) > 10


def test_a_class_that_was_never_forgotten_and_is_missing_is_refused(refused, here):
    erase_class(name="6")
    assert "the folder lacks 6" in refused("evaluate", MINE)
    assert "the folder lacks 6" in refused("forget", "-m", "mask", "--class", "1", ORIGINAL)
    assert "the folder lacks 6" in refused("train", "--like", MINE, "--without-forgotten", "-o", "new.safetensors")


def test_a_class_may_be_forgotten_after_its_images_are_gone_by_methods_that_read_none_of_them(run, refused, here):
    erase_class()
    for method, *settings in (("mask",), ("fine-tune", "--set", "epochs=1")):
        run("forget", "-m", method, *settings, "--class", "3", ORIGINAL, "-o", f"{method}.safetensors", "--keep-evidence")
        assert store.read(f"{method}.safetensors").record.request.classes == ["3"]
        assert evidence_of(f"{method}.safetensors").requests[0].images == []
    said = refused("forget", "-m", "lau", "--class", "3", ORIGINAL)
    assert "no training image of class 3 is left in digits, and lau reads them" in said.replace(str(here) + "/", "")
    assert "mask" in said.splitlines()[1] and "scrub" not in said.splitlines()[1]
    assert "lau reads them" in refused("compare", ORIGINAL, "--class", "3", "--methods", "lau")
    assert run("compare", ORIGINAL, "--class", "3", "--methods", "mask")["rows"]


def test_a_class_that_is_gone_may_be_named_by_its_index(run, refused, here):
    for part in ("train", "test"):
        for name in os.listdir(f"digits/{part}"):
            os.rename(f"digits/{part}/{name}", f"digits/{part}/{'abcdefghij'[int(name)]}")
    found = store.read(ORIGINAL)
    os.unlink(ORIGINAL)
    store.write(ORIGINAL, found.tensors, found.record.model_copy(update={"classes": list("abcdefghij")}))
    erase_class(name="d")
    run("forget", "-m", "mask", "--class", "3", ORIGINAL, "-o", "new.safetensors")
    assert store.read("new.safetensors").record.request.classes == ["d"]
    assert "the folder lacks d" in refused("forget", "-m", "mask", "--class", "4", ORIGINAL)


@pytest.mark.parametrize("method", ["mask", "lau", "scrub", "unsir", "retrain"])
def test_another_class_is_forgotten_afterwards_and_the_first_stays_asked_for(run, here, method):
    erase_class()
    short = {"lau": "epochs=2", "scrub": "max_epochs=1", "retrain": "epochs=1"}
    settings = ("--set", short[method]) if method in short else ()
    run("forget", "-m", method, *settings, "--class", "5", MINE, "-o", "next.safetensors", "--keep-evidence")
    kept = evidence_of("next.safetensors")
    assert [(one.request.classes, len(one.images)) for one in kept.requests] == [(["3"], 183), (["5"], 182)]
    found = run("evaluate", "next.safetensors", "--require", "test_accuracy>=0.0001")
    assert [one["request"] for one in found["requests"]] == ["class 3", "class 5"]


def test_a_class_that_is_gone_is_not_passed_over_because_another_is_forgotten(run, here):
    erase_class()
    run("forget", "-m", "mask", "--class", "5", MINE, "-o", "next.safetensors")
    limit = ("--require", "forget_test_accuracy<=0.01")
    found = run("evaluate", "next.safetensors", *limit, expected=2)
    assert found["verdict"].endswith("Decided by class 3.")
    assert run("evaluate", "next.safetensors", *limit, "--only-last")["verdict"].startswith("Held")


def test_relearning_says_what_it_lacks(refused, run, here):
    erase_class(["train"])
    assert "nothing to relearn from" in refused("relearn", MINE)
    short = ("--set", "steps=10", "--set", "seeds=1")
    assert "nothing to relearn from" in refused("relearn", MINE, "--attack", "few-shot", *short)
    assert run("relearn", MINE, "--attack", "retain", *short)["revived_accuracy"] is not None
    erase_class(["test"])
    assert "no test images to look at: none of class 3 is left" in refused("relearn", MINE, "--attack", "retain", *short)


def test_a_reference_that_left_out_something_else_is_none_when_nothing_can_be_compared(run, refused, here):
    run("train", "--like", ORIGINAL, "--without-class", "5", "-o", "other.safetensors")
    erase_class()
    assert "was trained on all but class 5" in refused("evaluate", MINE, "--reference", "other.safetensors")
    assert run("evaluate", MINE, "--reference", REFERENCE)["rows"]


def test_a_training_leaves_out_what_is_gone(run, here):
    erase_class()
    run("train", "--like", MINE, "--without-forgotten", "-o", "new.safetensors")
    assert store.read("new.safetensors").record.request.classes == ["3"]
    assert run("evaluate", MINE, "--reference", "new.safetensors", "--require", "retain_accuracy>=0.5")["exit_code"] == 0


def test_a_folder_split_by_hash_works_as_well(run, here):
    os.rename("digits", "both")
    shutil.copytree("both/train", "digits")
    shutil.copytree("both/test", "digits", dirs_exist_ok=True)
    run("forget", "-m", "mask", "--class", "3", ORIGINAL, "--data", "digits", "-o", "new.safetensors", "--keep-evidence")
    run("evaluate", "new.safetensors", "--record", "new.json")
    shutil.rmtree("digits/3")
    assert run("evaluate", "new.safetensors", "--require", "retain_accuracy>=0.5")["exit_code"] == 0
    assert "erased since" in run("verify-record", "new.json")["verdict"]


# lists


def test_a_list_that_is_gone_has_no_answer_but_on_what_is_left(run, here):
    erase_list()
    assert run("evaluate", LISTED, "--require", "retain_accuracy>=0.5")["exit_code"] == 0
    found = run("evaluate", LISTED, "--original", ORIGINAL, "--require", "forget_accuracy<=0.5", expected=2)
    assert (found["forget_accuracy"], found["limits"][0]["outcome"]) == (None, "not measurable")
    assert any(f"{FEW} of {FEW} listed images are no more" in note for note in found["notes"])


def test_a_long_list_is_known_by_its_evidence(run, refused, here):
    (here / "long.evidence.json").rename(here / "away.json")
    assert "keeps only the digest of their list" in refused("evaluate", LONG)
    assert "keeps only the digest of their list" in refused("forget", "-m", "fine-tune", "--class", "2", LONG)
    for given in (("--evidence", "away.json"), ("--forgotten", "long.txt")):
        found = run("evaluate", LONG, *given)
        assert found["title"].endswith(f"forgot {MANY} listed images") and f"{MANY} forget" in found["facts"]["images"]
    (here / "away.json").rename(here / "long.evidence.json")
    erase_list(MANY, LONG)
    found = run("evaluate", LONG)
    assert any(f"{MANY} of {MANY} listed images are no more" in note for note in found["notes"])
    run("forget", "-m", "fine-tune", "--set", "epochs=1", "--class", "2", LONG, "-o", "next.safetensors")
    assert store.read("next.safetensors").record.last.images_read["retain"] == 1442 - MANY - 142
    run("train", "--like", LONG, "--without-forgotten", "-o", "new.safetensors")
    assert {row["role"] for row in run("compare", ORIGINAL, LONG, "new.safetensors")["rows"]} >= {"original", "reference"}


def test_an_image_under_another_name_is_still_the_one_that_was_forgotten(run, here):
    paths = evidence_of(LISTED).requests[0].images
    first, second, third = (image.path for image in paths[:3])
    os.rename(f"digits/{first}", "digits/train/7/renamed.png")
    os.rename(f"digits/{second}", "digits/train/9/elsewhere.png")
    os.rename(f"digits/{third}", "digits/test/7/tested.png")
    found = run("evaluate", LISTED)
    assert f"{FEW - 2} forget, {1442 - FEW:,} retain" in found["facts"]["images"] and "355 test" in found["facts"]["images"]
    assert any("3 images that were forgotten lie under other names" in note and f"(was {third})" in note for note in found["notes"])
    assert any("2 of these lie in another class or among the test images" in note for note in found["notes"])
    (here / "listed.evidence.json").unlink()
    found = run("evaluate", LISTED)
    assert f"{FEW - 3} forget, {1442 - FEW + 2:,} retain" in found["facts"]["images"]  # without evidence they are new images


def test_an_image_of_a_forgotten_class_is_not_retained_in_another(run, here):
    moved = sorted(path.name for path in (here / "digits/train/3").iterdir())[0]
    os.rename(f"digits/train/3/{moved}", "digits/train/9/elsewhere.png")
    for erased in (False, True):
        if erased:
            erase_class()
        found = run("evaluate", MINE)
        assert f"{1442 - 147:,} retain" in found["facts"]["images"]
        assert any(f"train/9/elsewhere.png (was train/3/{moved})" in note for note in found["notes"])
        run("forget", "-m", "fine-tune", "--set", "epochs=1", "--class", "5", MINE, "-o", f"{erased}.safetensors")
        assert store.read(f"{erased}.safetensors").record.last.images_read["retain"] == 1442 - 147 - 146


def test_nothing_is_said_of_names_where_nothing_was_moved(run, here):
    assert not any("under" in note for note in run("evaluate", LISTED)["notes"])


# the file


def test_without_the_option_no_evidence_is_written_and_the_record_names_none(run, here):
    run("forget", "-m", "mask", "--class", "5", ORIGINAL, "-o", "new.safetensors")
    assert not (here / "new.evidence.json").exists() and store.read("new.safetensors").record.last.evidence is None
    assert store.read(MINE).record.last.evidence == json.loads((here / "forgot.evidence.json").read_text())["digest"]


def test_evidence_is_not_written_over_unasked_nor_beside_a_pipe(refused, run, here):
    (here / "new.evidence.json").write_text("mine")
    keep = ("forget", "-m", "mask", "--class", "5", ORIGINAL, "--keep-evidence")
    assert "new.evidence.json already exists" in refused(*keep, "-o", "new.safetensors")
    assert (here / "new.evidence.json").read_text() == "mine"
    assert "standard output" in refused(*keep, "-o", "-")
    assert "written by this command already" in refused(*keep, "-o", "n.safetensors", "--log", "n.evidence.json")
    run(*keep, "-o", "new.safetensors", "--force")
    assert evidence_of("new.safetensors").requests[0].request.classes == ["5"]


def test_evidence_of_another_checkpoint_stops_every_command(refused, here):
    (here / "forgot.evidence.json").unlink()
    os.link("long.evidence.json", "forgot.evidence.json")
    for words in (("evaluate", MINE), ("relearn", MINE), ("compare", MINE), ("forget", "-m", "mask", "--class", "5", MINE)):
        assert "is no evidence of forgot.safetensors" in refused(*words)


def test_what_later_steps_know_is_the_same_for_the_same_steps(here):
    from unlearn_cli import jobs

    for name in ("one", "two"):
        jobs.forget(MINE, "mask", jobs.Request(("5",)), output=f"{name}.safetensors", keep_evidence=True)
    assert (here / "one.evidence.json").read_bytes() == (here / "two.evidence.json").read_bytes()


def test_evidence_that_is_not_of_a_checkpoint_of_a_comparison_is_refused(here):
    from unlearn_cli import jobs

    with pytest.raises(UnlearnError, match="is no evidence of"):
        jobs.compare([ORIGINAL, MINE], evidence="long.evidence.json")
    assert jobs.compare([ORIGINAL, MINE], evidence="forgot.evidence.json").rows


# verify-record


@pytest.mark.parametrize("parts", [("train", "test"), ("train",), ("test",)], ids=["all", "training", "test"])
def test_a_deletion_record_matches_when_images_to_forget_are_gone_and_the_others_are_as_they_were(run, here, parts):
    erase_class(parts)
    found = run("verify-record", "forgot.json")
    which = "" if len(parts) == 2 else {"train": "training ", "test": "test "}[parts[0]]
    assert f"the {which}images to forget were erased, all 1,614 others are as they were" in found["facts"]["data"]
    assert found["facts"]["images_to_forget"] == ("147 images: erased" if "train" in parts else "147 images: matches")
    assert found["verdict"].startswith("Matches: images to forget were erased since")


CHANGES = {
    "an image that stays is gone": lambda: os.unlink("digits/train/5/0015.png"),
    "an image that stays is another": lambda: os.replace("digits/train/5/0015.png", "digits/train/5/0032.png"),
    "there is a new one": lambda: shutil.copy("digits/train/5/0015.png", "digits/train/5/new.png"),
    "another class is gone": lambda: erase_class(name="6"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_anything_else_that_changed_is_a_difference(run, here, change):
    erase_class()
    change()
    found = run("verify-record", "forgot.json", expected=1)
    assert "DIFFERS" in found["facts"]["data"]


def test_an_image_to_forget_that_was_changed_is_a_difference_and_some_that_are_left_are_no_answer(run, here):
    paths = erase_list(0)
    shutil.copy("digits/train/5/0015.png", "new.png")
    os.replace("new.png", f"digits/{paths[0]}")
    found = run("verify-record", "listed.json", expected=1)
    assert "DIFFERS" in found["facts"]["data"] and "DIFFERS" in found["facts"]["images_to_forget"]
    for path in paths[:5]:
        os.unlink(f"digits/{path}")
    found = run("verify-record", "listed.json", expected=2)
    assert f"5 of them are gone, and whether the other {FEW - 5}" in found["facts"]["images_to_forget"]
    for path in paths[5:]:
        os.unlink(f"digits/{path}")
    assert run("verify-record", "listed.json")["facts"]["images_to_forget"] == f"{FEW} images: erased"


def test_a_renamed_class_is_not_an_erased_one(run, here):
    for part in ("train", "test"):
        os.rename(f"digits/{part}/3", f"digits/{part}/33")
    found = run("verify-record", "forgot.json", expected=1)
    assert "DIFFERS" in found["facts"]["data"] and "erased" not in found["facts"]["images_to_forget"]


def test_a_record_of_several_requests_has_the_verdict_of_each(run, here):
    run("forget", "-m", "fine-tune", "--set", "epochs=1", "--images", "train/5/001*.png", MINE, "-o", "next.safetensors")
    run("evaluate", "next.safetensors", "--require", "retain_accuracy>=0.5", "--record", "next.json")
    told = json.loads((here / "next.json").read_text())
    assert (told["schema_version"], told["request"]["classes"]) == (2, ["3"])
    assert told["request"]["instances"] == ["train/5/0015.png"] and told["request"]["images"] == 148
    assert [part["request"] for part in told["parts"]] == ["class 3"] and told["parts"][0]["limits"]
    assert run("verify-record", "next.json")["verdict"].startswith("Matches: all")
    erase_class()
    os.unlink("digits/train/5/0015.png")
    assert "erased since" in run("verify-record", "next.json")["verdict"]


def test_a_record_that_is_written_after_the_erasure_lists_what_was_asked(run, here):
    erase_list()
    run("evaluate", LISTED, "--require", "retain_accuracy>=0.5", "--record", "after.json")
    told = json.loads((here / "after.json").read_text())["request"]
    before = json.loads((here / "listed.json").read_text())["request"]
    assert (told["instances"], told["digest"], told["images"]) == (before["instances"], before["digest"], 0)
    assert run("verify-record", "after.json")["verdict"].startswith("Matches: all")
