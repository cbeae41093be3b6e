"""`unlearn inspect`: what a checkpoint says of itself, and the images of a folder as a list that `--instances` reads back."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from safetensors.torch import save_file

from unlearn_cli.cases.case import open_case
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.cases.requests import asked, digest_of
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.data.folder import open_folder
from unlearn_cli.data.lists import read_list
from unlearn_cli.data.matching import match
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError

ODD = ("a\tb.png", "new\nline.png", "cr\rlf.png", 'quo"te.png', '"whole".png', " blank.png", "#1.png", "x[1].png", "a,b.png",
       "it's.png", "caf\udce9.png", "\u2028.png", "e\u0301.png", "\ufeffmark.png", "esc\x1b[31m.png",
       "\udced\udca0\udc80.png")  # fmt: skip


@pytest.fixture
def flat(tmp_path):
    """Two classes whose names are odd, with files that are no images at all, split by a hash."""
    for i in range(40):
        for name in ("cat\t1", "dog"):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / name / f"{i:02d}.png").touch()
    for name in ODD:
        (tmp_path / "photos" / "dog" / name).touch()
    return tmp_path / "photos"


@pytest.fixture
def rows(unlearn):
    """The rows of `--split` as a reader of its TSV has them."""

    def call(*arguments):
        done = unlearn("inspect", *arguments, "--split")
        assert done.code == 0, done.err
        head, *found = csv.reader(io.StringIO(done.out, newline=""), delimiter="\t", strict=True)
        assert head == ["file_name", "class", "split"]
        return [tuple(row) for row in found]

    return call


def with_steps(place, *requests, selection=0.0, to="after.safetensors"):
    """The model of the digits as if it had been asked to forget this, one step after the other."""
    found = store.read(str(place / "model.safetensors"))
    record = found.record
    for number, request in enumerate(requests):
        step = {"operation": "forget", "method": "lau", "request": request, "withheld": number, "selection_fraction": selection}
        record = record.after(found.record.last.model_copy(update=step))
    store.write(str(place / to), found.tensors, record)
    return place / to


def listed(paths, kept=True):
    paths = sorted(paths)
    return RequestRecord(instances_digest=digest_of(paths), instances_count=len(paths), instances=paths if kept else None)


# a folder


def test_every_image_is_listed_in_path_order_with_the_class_and_the_split_that_training_gives_it(rows, place):
    folder = open_folder(place / "digits")
    images = folder.images
    splits = ["test" if test else "train" for test in images.test.tolist()]
    classes = [folder.classes[i] for i in images.labels.tolist()]
    assert rows("--data", place / "digits") == list(zip(images.paths, classes, splits, strict=True))


def test_the_hash_of_the_paths_splits_a_folder_without_train_and_test(rows, unlearn, shipped, tmp_path):
    shutil.copytree(shipped / "digits" / "train", tmp_path / "plain")
    for fraction in (0.2, 0.5):
        folder = open_folder(tmp_path / "plain", test_fraction=fraction)
        found = rows("--data", tmp_path / "plain", "--test-fraction", str(fraction))
        assert [split == "test" for _, _, split in found] == folder.images.test.tolist()
    done = unlearn("inspect", "--data", tmp_path / "plain", "--split", "--test-fraction", "1")
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_a_saved_list_is_read_back_as_the_same_images_whatever_their_names_are(program, flat, tmp_path, form):
    done = program("inspect", "--data", "photos", "--split", *(["--json"] if form == "json" else []), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / f"all.{form}"
    file.write_bytes(done.stdout)
    paths = sorted(f"{folder.name}/{name}" for folder in flat.iterdir() for name in os.listdir(folder))
    matched = match(read_list(str(file), "file_name"), paths, str(flat))
    assert matched.positions.tolist() == list(range(80 + len(ODD)))
    assert matched.entries == len(paths)


def test_names_that_are_not_quoted_are_not_read_back(tmp_path):
    (tmp_path / "all.tsv").write_text("file_name\tclass\tsplit\n" + "dog/a\tb.png\tdog\ttrain\n")
    with pytest.raises(UnlearnError, match="4 columns"):
        read_list(str(tmp_path / "all.tsv"), "file_name")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_the_list_is_in_utf_8_whatever_standard_output_is_in(program, flat, tmp_path, encoding):
    once, again = (program("inspect", "--data", flat, "--split", PYTHONIOENCODING=one) for one in (encoding, "utf-8"))
    assert once.stdout == again.stdout
    assert b"caf\xe9.png" in once.stdout and "e\u0301.png".encode() in once.stdout


def test_forget_takes_the_training_images_of_a_class_out_of_the_list_and_the_odd_names_among_them(unlearn, program, place, shipped):
    (place / "digits").unlink()
    shutil.copytree(shipped / "digits", place / "digits")
    odd = place / "digits" / "train" / "3"
    for old, new in zip(sorted(odd.iterdir()), ODD, strict=False):
        old.rename(odd / new)
    head, *found = csv.reader(io.StringIO(program("inspect", "--data", "digits", "--split", cwd=place).stdout.decode(
        errors="surrogateescape"), newline=""), delimiter="\t")  # fmt: skip
    kept = [row for row in found if row[1:] == ["3", "train"]]
    with open(place / "remove.tsv", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([head, *kept])
    done = program("forget", "-m", "neg-grad", "--set", "epochs=1", "--instances", "remove.tsv", "--column", "file_name",
                   "model.safetensors", "-o", "after.safetensors", cwd=place)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    request = store.read(str(place / "after.safetensors")).record.request
    assert (request.instances_count, request.instances_digest) == (147, digest_of(sorted(row[0] for row in kept)))


def test_json_has_the_same_rows_as_objects(unlearn, rows, place):
    document = json.loads(unlearn("inspect", "--data", place / "digits", "--split", "--json").out)
    assert [tuple(row.values()) for row in document] == rows("--data", place / "digits")
    assert set(map(tuple, document)) == {("file_name", "class", "split")}


def test_no_image_is_opened_nothing_is_written_and_torch_is_not_imported(program, flat, tmp_path):
    code = "import sys; from unlearn_cli.cli.app import run; code = run(sys.argv[1:]); sys.exit(code or 'torch' in sys.modules)"
    before = sorted(map(str, tmp_path.rglob("*")))
    for more in (["--split"], ["--split", "--json"], [], ["--json"]):
        done = subprocess.run([sys.executable, "-c", code, "inspect", "--data", "photos", *more], cwd=tmp_path, capture_output=True,
                              env=os.environ | {"UNLEARN_CACHE": str(tmp_path / "cache")})  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_without_split_the_images_of_each_class_are_counted(unlearn, rows, place):
    counted = Counter(row[1:] for row in rows("--data", place / "digits"))
    document = json.loads(unlearn("inspect", "--data", place / "digits", "--json").out)
    assert {(one["class"], split): one[split] for one in document["classes"] for split in ("train", "test")} == counted
    assert (document["images"], document["train"], document["test"]) == (1797, 1442, 355)
    shown = [line.split() for line in unlearn("inspect", "--data", place / "digits").out.splitlines()]
    assert ["3", "147", "36"] in shown and ["all", "1,442", "355"] in shown


def test_of_many_classes_the_first_twenty_are_shown_and_the_others_counted(unlearn, tmp_path):
    for part, count in (("train", 3), ("test", 1)):
        for name in range(25):
            for i in range(count):
                (tmp_path / "many" / part / f"c{name:02d}").mkdir(parents=True, exist_ok=True)
                (tmp_path / "many" / part / f"c{name:02d}" / f"{i}.png").touch()
    (tmp_path / "many" / "val" / "c00").mkdir(parents=True)
    (tmp_path / "many" / "val" / "c00" / "0.png").touch()
    done = unlearn("inspect", "--data", tmp_path / "many")
    shown = [line.split() for line in done.out.splitlines()]
    assert ["c19", "3", "1"] in shown and ["c20", "3", "1"] not in shown
    assert ["(5", "more)", "15", "5"] in shown and ["all", "75", "25"] in shown
    assert len(json.loads(unlearn("inspect", "--data", tmp_path / "many", "--json").out)["classes"]) == 25
    assert "Note: " in done.out and "val" in done.out
    split = unlearn("inspect", "--data", tmp_path / "many", "--split")
    assert "Note: " in split.err and "Note: " not in split.out
    assert unlearn("inspect", "--data", tmp_path / "many", "--split", "-q").err == ""


@pytest.mark.parametrize(("words", "problem"), [
    ((), "nothing to look at"), (("--split",), "nothing to look at"), (("--json",), "nothing to look at"),
    (("--data", "nowhere"), "nowhere does not exist"), (("--data", "nowhere", "--split"), "nowhere does not exist"),
    (("--data", "digits", "--forgotten", "a"), "--forgotten says"), (("model.safetensors", "--forgotten", "a"), "--forgotten says"),
    (("--data", "digits", "--split", "--column", "a"), "--column goes with --forgotten"),
])  # fmt: skip
def test_what_cannot_be_looked_at_is_refused(unlearn, place, monkeypatch, words, problem):
    monkeypatch.chdir(place)
    done = unlearn("inspect", *words)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err.splitlines()[0]


# a checkpoint's own folder


def test_a_checkpoint_lists_its_own_folder_and_without_a_past_as_the_folder_itself(rows, place, shipped):
    assert rows(place / "model.safetensors") == rows("--data", place / "digits")
    without = rows(place / "without-3.safetensors")
    assert {split for _, name, split in without if name == "3"} == {"forgotten"}
    assert {split for _, name, split in without if name != "3"} == {"train", "test"}


def test_the_splits_are_those_that_an_evaluation_measures_on(rows, place):
    some = [path for path, name, split in rows("--data", place / "digits") if (name, split) == ("5", "train")][:7]
    file = with_steps(place, RequestRecord(classes=["3"]), listed(some), selection=0.3)
    found = rows(file)
    loaded = load(str(file), Plain(), Options())
    paths, cases = loaded.folder.images.paths, open_case(loaded, Request())
    by_split = {split: {path for path, _, its in found if its == split} for split in ("train", "test", "selection", "forgotten")}
    kept = cases.case.splits
    assert by_split["train"] == {paths[i] for i in kept["retain"].tolist()}
    assert by_split["test"] == {paths[i] for i in kept["retain_test"].tolist()}
    assert by_split["forgotten"] == {paths[i] for i in cases.meant.tolist()} > set(some)
    assert by_split["selection"] == {paths[i] for i in kept["selection"].tolist()} - by_split["forgotten"]
    assert len(by_split["selection"]) > 60
    assert [row[:2] for row in found] == [row[:2] for row in rows("--data", place / "digits")]


def test_the_counts_of_a_checkpoints_folder_tell_what_is_forgotten_and_what_chose(unlearn, place):
    file = with_steps(place, RequestRecord(classes=["3", "8"]), selection=0.2)
    document = json.loads(unlearn("inspect", file, "--data", place / "digits", "--json").out)
    images = document["images"]
    assert images["forgotten"] == 147 + 36 + 140 + 34
    assert images["train"] + images["test"] + images["selection"] + images["forgotten"] == images["images"] == 1797
    assert [one["forgotten"] for one in images["classes"]] == [0, 0, 0, 183, 0, 0, 0, 0, 174, 0]
    shown = unlearn("inspect", file, "--data", place / "digits").out
    assert "forgotten in all" in shown and "selection" in shown


def test_the_test_fraction_of_a_checkpoint_is_its_own(rows, unlearn, place):
    shutil.copytree(place / "digits" / "train", place / "plain")
    done = unlearn("train", place / "plain", "-o", place / "half.safetensors", "--arch", "compact", "--set", "width=8",
                   "--epochs", 1, "--test-fraction", "0.5")  # fmt: skip
    assert done.code == 0, done.err
    assert rows(place / "half.safetensors") == rows("--data", place / "plain", "--test-fraction", "0.5")
    assert rows(place / "half.safetensors") != rows("--data", place / "plain")


def test_a_long_list_that_is_known_by_its_digest_has_to_be_given_again(rows, unlearn, place):
    some = [path for path, name, split in rows("--data", place / "digits") if (name, split) == ("5", "train")][:120]
    file = with_steps(place, RequestRecord(classes=["3"]), listed(some, kept=False))
    refused = unlearn("inspect", file, "--split")
    assert (refused.code, refused.out) == (2, "")
    assert "120 listed images" in refused.err and "--forgotten FILE" in refused.err
    (place / "list.txt").write_text("\n".join(some) + "\n")
    found = rows(file, "--forgotten", place / "list.txt")
    assert {path for path, name, split in found if split == "forgotten" and name != "3"} == set(some)
    (place / "list.txt").write_text("\n".join(some[1:]) + "\n")
    assert unlearn("inspect", file, "--split", "--forgotten", place / "list.txt").code == 2


def test_images_that_are_gone_are_told_of_and_the_others_listed(rows, unlearn, place, shipped):
    (place / "digits").unlink()
    shutil.copytree(shipped / "digits", place / "digits")
    before = rows("--data", place / "digits")
    file = with_steps(place, RequestRecord(classes=["3"]))
    for part in ("train", "test"):
        shutil.rmtree(place / "digits" / part / "3")
    assert rows(file) == [row for row in before if row[1] != "3"]
    said = unlearn("inspect", file, "--split").err
    assert "no image of class 3 is left" in said
    assert "there are 1,295 train and 319 test images; after.safetensors was trained on 1,442 train and 355 test images" in said


def test_a_plain_state_dict_has_no_folder_and_takes_one(rows, unlearn, place):
    save_file(store.read(str(place / "model.safetensors")).tensors, place / "plain.safetensors")
    refused = unlearn("inspect", place / "plain.safetensors", "--split")
    assert (refused.code, "pass --data DIR" in refused.err) == (2, True)
    assert rows(place / "plain.safetensors", "--data", place / "digits") == rows("--data", place / "digits")


def test_a_folder_of_other_classes_is_not_taken_for_the_checkpoints_own(unlearn, place, flat):
    done = unlearn("inspect", place / "model.safetensors", "--data", flat, "--split")
    assert (done.code, done.out) == (2, "")
    assert "does not match the folders" in done.err


# a lineage


def test_each_step_says_how_many_earlier_requests_it_withheld_and_the_end_what_is_forgotten_in_all(unlearn, place):
    file = with_steps(place, RequestRecord(classes=["3"]), listed(["train/5/a.png"]), RequestRecord(classes=["8", "3"]))
    shown = unlearn("inspect", file).out
    assert [line.split() for line in shown.splitlines() if line.startswith("withheld")] == [
        ["withheld", "1", "earlier", "request"], ["withheld", "2", "earlier", "requests"]
    ]  # fmt: skip
    assert shown.splitlines()[-1] == "forgotten in all  classes 3, 8 and 1 listed image"
    assert "forgotten in all" not in unlearn("inspect", place / "model.safetensors").out


def test_long_lists_are_among_what_is_forgotten_in_all(unlearn, place):
    long, other = listed([f"train/5/{i}.png" for i in range(150)], kept=False), listed(["train/5/0.png"])
    shown = unlearn("inspect", with_steps(place, RequestRecord(classes=["3"]), long)).out
    assert shown.splitlines()[-1] == "forgotten in all  class 3 and 150 listed images"
    shown = unlearn("inspect", with_steps(place, long, other, to="two.safetensors")).out
    assert shown.splitlines()[-1] == "forgotten in all  up to 151 listed images"
    assert len(asked(store.read(str(place / "two.safetensors")).record.lineage)) == 2
