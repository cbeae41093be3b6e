"""The deletion record: the same bytes for the same evaluation, and a change to any file it names shows."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from unlearn_cli.checkpoints import deletion_reading, store
from unlearn_cli.checkpoints.deletion import Original
from unlearn_cli.data import copies
from unlearn_cli.data import folder as folders
from unlearn_cli.engine.launch import Launch
from unlearn_cli.errors import UnlearnError

MINE, ORIGINAL, REFERENCE, TOLD = "model.lau-class-3.safetensors", "model.safetensors", "without-3.safetensors", "deletion.json"
EVALUATE = ("evaluate", MINE, "--original", ORIGINAL, "--reference", REFERENCE, "--require", "forget_test_accuracy<=0.01", "-q")


@pytest.fixture(scope="module")
def made(shipped, tmp_path_factory):
    """A folder that holds a deletion with all its evidence, and the record of it."""
    from unlearn_cli import jobs

    place = tmp_path_factory.mktemp("made") / "here"
    shutil.copytree(shipped / "digits", place / "digits")
    for name in (ORIGINAL, REFERENCE):
        shutil.copy(shipped / name, place)
    jobs.forget(str(place / ORIGINAL), "lau", jobs.Request(("3",)), output=str(place / MINE))
    jobs.evaluate(
        str(place / MINE), original=str(place / ORIGINAL), references=[str(place / REFERENCE)],
        require=["forget_test_accuracy<=0.01"], record=str(place / TOLD),
    )  # fmt: skip
    return place


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy to spoil. Its files share their bytes with the original: replace them, never write into them."""
    place = tmp_path / "copy"
    shutil.copytree(made, place, copy_function=os.link)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def text(made):
    return (made / TOLD).read_text(encoding="utf-8")


@pytest.fixture
def told(text):
    return json.loads(text)


def replace(path, content: bytes):
    path.unlink()
    path.write_bytes(content)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rewritten(path, **changes):
    """The record with other fields and a digest of its own that is right again, as somebody who means it would write it."""
    document = deletion_reading.read(str(path)).model_copy(update=changes)
    replace(path, document.model_copy(update={"digest": document.of_itself()}).to_json())


# what it says


def test_the_same_evaluation_writes_the_same_bytes_from_wherever_it_is_called(unlearn, here, made, tmp_path, text):
    again = here / "again.json"
    assert unlearn(*EVALUATE, "--record", "again.json").code == 0
    assert again.read_text(encoding="utf-8") == text
    os.chdir(tmp_path)
    absolute = [here / word if (here / word).is_file() else word for word in EVALUATE]
    assert unlearn(*absolute, "--record", again, "--force").code == 0
    assert again.read_text(encoding="utf-8") == text


def test_another_process_with_other_hashes_writes_the_same_bytes(program, here, text):
    threads = str(torch.get_num_threads())
    done = program(*EVALUATE, "--record", "again.json", cwd=here, PYTHONHASHSEED="7", OMP_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    assert (here / "again.json").read_text(encoding="utf-8") == text


def test_another_seed_and_another_image_write_another_record(unlearn, here, text):
    assert unlearn(*EVALUATE, "--record", "seed.json", "--seed", "1").code == 0
    assert (here / "seed.json").read_text(encoding="utf-8") != text
    replace(here / "digits/train/5/0015.png", (here / "digits/train/5/0032.png").read_bytes())
    unlearn(*EVALUATE, "--record", "image.json")
    changed = json.loads((here / "image.json").read_text(encoding="utf-8"))
    assert changed["data"]["fingerprint"] != json.loads(text)["data"]["fingerprint"]
    assert changed["request"] == json.loads(text)["request"]


def test_the_digests_are_those_of_the_files_taken_by_hand(told, made):
    for entry, name in ((told["unlearned"], MINE), (told["original"], ORIGINAL), (told["references"][0], REFERENCE)):
        found = store.read(str(made / name))
        assert (entry["path"], entry["digest"]) == (name, found.digest)
        assert entry["lineage"] == [step.model_dump(mode="json") for step in found.record.lineage]
    every = sorted(path.relative_to(made / "digits").as_posix() for path in (made / "digits").rglob("*.png"))
    forget, tested = ([path for path in every if path.startswith(f"{part}/3/")] for part in ("train", "test"))

    def fingerprint(paths):
        images = made / "digits"
        return sha(b"".join(path.encode() + b"\0" + hashlib.sha256((images / path).read_bytes()).digest() for path in paths))

    assert told["request"] == {
        "classes": ["3"], "instances": [], "digest": sha(b"3"), "images": len(forget), "images_fingerprint": fingerprint(forget),
        "test_images": len(tested), "test_images_fingerprint": fingerprint(tested),
    }  # fmt: skip
    assert told["data"]["fingerprint"] == fingerprint(every)
    others = [path for path in every if path not in forget and path not in tested]
    assert (told["data"]["others"], told["data"]["others_fingerprint"]) == (len(others), fingerprint(others))
    assert (told["data"]["path"], told["data"]["train"] + told["data"]["test"]) == ("digits", len(every))
    own = told.pop("digest")
    assert own == sha(json.dumps(told, sort_keys=True, ensure_ascii=False, indent=2).encode() + b"\n")


def test_method_settings_numbers_limits_verdict_versions_and_seeds_are_there(unlearn, here, told):
    document = json.loads(unlearn(*EVALUATE, "--json").out)
    step = told["unlearned"]["lineage"][-1]
    assert (step["method"], step["settings"]["epochs"], step["seed"]) == ("lau", 30, 0)
    assert set(told["evaluation"]["versions"]) == {"unlearn", "torch", "python"}
    assert (told["evaluation"]["seed"], told["evaluation"]["device"]) == (0, "cpu")
    assert (told["verdict"], told["exit_code"], told["limits"]) == (document["verdict"], 0, document["limits"])
    assert [row["role"] for row in told["measured"]] == ["original", "reference", "unlearned"]
    for row, shown in zip(told["measured"], [*document["rows"], document]):
        assert row["label"] == shown["label"]
        assert {name: shown[name] for name in row["metrics"]} == row["metrics"]
        assert (row["reasons"], row["details"]) == (shown["reasons"], shown["details"])
    assert told["measured"][-1]["metrics"]["forget_seconds"] == step["seconds"]


def test_it_names_no_fixed_place_and_no_time_of_day_and_promises_nothing(text, made):
    assert str(made) not in text
    assert not re.search(r'": "/', text)
    assert not re.search(r"\d\d:\d\d|\d{4}-\d\d-\d\d", text)
    assert not re.search("certif|guarant", text, re.IGNORECASE)
    assert text.endswith("}\n")


def test_a_record_elsewhere_finds_its_files(unlearn, here):
    (here / "evidence/2").mkdir(parents=True)
    assert unlearn(*EVALUATE, "--record", "evidence/2/told.json").code == 0
    assert json.loads((here / "evidence/2/told.json").read_text())["unlearned"]["path"] == f"../../{MINE}"
    assert unlearn("verify-record", "evidence/2/told.json").code == 0


def test_folders_that_are_links_are_named_by_where_they_lead(unlearn, here, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/link").symlink_to(here)
    linked = [f"link/{word}" if (here / word).is_file() else word for word in EVALUATE]
    os.chdir(tmp_path / "deep/er")
    assert unlearn(*linked, "--record", "told.json").code == 0
    assert json.loads((tmp_path / "deep/er/told.json").read_text())["unlearned"]["path"] == f"../../copy/{MINE}"
    assert unlearn("verify-record", "told.json").code == 0


def test_it_is_written_when_the_verdict_fails_too(unlearn, here):
    done = unlearn("evaluate", ORIGINAL, "--class", "3", "--require", "forget_accuracy<=0.01", "--record", "failed.json")
    assert done.code == 1
    failed = json.loads((here / "failed.json").read_text())
    assert failed["exit_code"] == 1
    assert failed["verdict"].startswith("Not forgotten: forget_accuracy is")
    assert failed["measured"][-1]["role"] == "evaluated"
    assert unlearn("verify-record", "failed.json").code == 0


def test_every_listed_image_is_named_however_many(unlearn, here):
    images = sorted(f"train/3/{path.name}" for path in (here / "digits/train/3").iterdir())[:120]
    (here / "list.txt").write_text("\n".join(reversed(images)))
    asked = ("--instances", "list.txt")
    assert unlearn("forget", "--method", "neg-grad", *asked, "--set", "epochs=1", ORIGINAL, "-o", "out.safetensors", "-q").code == 0
    assert unlearn("evaluate", "out.safetensors", *asked, "--record", "listed.json", "-q").code == 0
    told = json.loads((here / "listed.json").read_text())
    remembered = store.read("out.safetensors").record.request
    assert remembered.instances is None                             # too many for the checkpoint's own record
    assert told["request"]["instances"] == images
    assert told["request"]["digest"] == remembered.instances_digest
    assert told["request"]["images"] == 120
    assert told["original"]["path"] is None
    done = unlearn("verify-record", "listed.json", "--json")
    assert done.code == 0
    assert "not looked at" in json.loads(done.out)["facts"]["original"]
    replace(here / "digits" / images[7], (here / "digits" / images[8]).read_bytes())
    done = unlearn("verify-record", "listed.json", "--json")
    assert done.code == 1
    assert "DIFFERS: 120 images" in json.loads(done.out)["facts"]["images_to_forget"]


def test_a_plain_state_dict_has_a_record_without_a_past(unlearn, here):
    found = store.read(MINE)
    save_file(found.tensors, "plain.safetensors")
    width = found.record.architecture_settings["width"]
    plain = ("--arch", f"compact,width={width}", "--data", "digits", "--class", "3")
    assert unlearn("evaluate", "plain.safetensors", *plain, "--record", "plain.json", "-q").code == 0
    told = json.loads((here / "plain.json").read_text())
    assert (told["unlearned"]["digest"], told["unlearned"]["lineage"], told["original"]) == (found.digest, [], None)
    assert unlearn("verify-record", "plain.json").code == 0


def test_without_an_index_the_images_are_read_and_give_the_same_digests(made, monkeypatch):
    opened = folders.open_folder(made / "digits", size=28, channels=1)
    indexed = copies.digests_of(opened, [3, 1, 700])
    monkeypatch.setattr(copies, "read_index", lambda root: None)
    assert (copies.digests_of(opened, [3, 1, 700]) == indexed).all()


def test_only_the_first_of_several_processes_writes(unlearn, here, monkeypatch):
    for module in ("engine.launch", "jobs.deletion"):
        monkeypatch.setattr(f"unlearn_cli.{module}.launched", lambda: Launch(rank=1, world=2))
    assert unlearn(*EVALUATE, "--record", "second.json", "--junit", "second.xml").code == 0
    assert not (here / "second.json").exists() and not (here / "second.xml").exists()


def test_forgetting_does_not_wait_for_records_and_formats():
    code = "import sys; from unlearn_cli import jobs; print([name for name in sys.argv[1:] if name in sys.modules])"
    names = ("unlearn_cli.jobs.deletion", "unlearn_cli.checkpoints.deletion", "unlearn_cli.cli.formats", "unlearn_cli.cli.render")
    assert subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True).stdout == "[]\n"


# what is refused


@pytest.fixture
def refuses(unlearn, here):
    def check(*arguments):
        before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
        done = unlearn(*arguments)
        assert (done.code, done.out) == (2, ""), done.err
        lines = done.err.splitlines()
        assert len(lines) == 2 and lines[0].startswith("Error: ") and lines[1].startswith("Hint: "), done.err
        assert "our mistake" not in done.err
        assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before
        return done.err

    return check


@pytest.mark.parametrize("option", ["--record", "--junit"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (TOLD, f"{TOLD} already exists"),
        (MINE, f"{MINE} is the input"),
        (ORIGINAL, f"{ORIGINAL} is the input"),
        (REFERENCE, f"{REFERENCE} is the input"),
        ("digits", "digits is a folder"),
        ("nowhere/told", "its folder does not exist"),
        ("-", "cannot be standard output"),
        ("", "was given without a value"),
    ],
)
def test_a_name_that_may_not_be_written_is_refused_before_any_work(refuses, option, name, problem):
    said = refuses(*EVALUATE, option, name)
    assert problem in said
    assert "--output" not in said


@pytest.mark.parametrize("option", ["--record", "--junit"])
def test_an_input_is_not_written_over_even_with_force(refuses, option):
    assert "is the input" in refuses(*EVALUATE, option, REFERENCE, "--force")


def test_force_replaces_an_earlier_file(unlearn, here, text):
    replace(here / TOLD, b"old")
    (here / "old.xml").write_text("old")
    assert unlearn(*EVALUATE, "--record", TOLD, "--junit", "old.xml", "--force").code == 0
    assert (here / TOLD).read_text(encoding="utf-8") == text
    assert (here / "old.xml").read_text().startswith("<?xml")


def test_one_name_for_two_files_is_refused(refuses):
    assert "name the same file" in refuses(*EVALUATE, "--record", "x", "--junit", "./x")


def test_a_model_that_was_asked_to_forget_nothing_has_no_deletion_to_record(refuses):
    assert "has forgotten nothing yet" in refuses("evaluate", ORIGINAL, "--record", "x.json", "-q")


def test_a_checkpoint_from_a_pipe_cannot_be_named(refuses):
    assert "standard input has no name" in refuses("evaluate", "-", "--record", "x.json")


def test_an_original_that_is_another_model_is_refused(refuses):
    said = refuses("evaluate", MINE, "--original", REFERENCE, "--record", "x.json", "-q")
    assert f"{REFERENCE} is not the model that {MINE} was made from" in said


def test_a_name_that_is_not_utf8_is_refused(refuses, here):
    name = os.fsdecode(b"caf\xe9")
    try:
        (here / name).symlink_to("digits")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert "'caf\\udce9' is not UTF-8" in refuses("evaluate", MINE, "--data", name, "--record", "x.json", "-q")


# holding it against the files


@pytest.fixture
def verify(unlearn, here):
    """Exit code and facts of `verify-record`."""

    def check(name=TOLD):
        done = unlearn("verify-record", name, "--json")
        assert done.out, done.err
        document = json.loads(done.out)
        assert document["exit_code"] == done.code
        return done.code, document["facts"], document["verdict"]

    return check


def failing(facts):
    return {name for name, words in facts.items() if "DIFFERS" in words or "NOT READ" in words}


def test_untouched_files_match_here_and_wherever_they_are_moved_together(verify, here, tmp_path, monkeypatch):
    code, facts, verdict = verify()
    assert (code, failing(facts)) == (0, set())
    assert verdict == "Matches: all 7 entries of the record are as they were."
    here.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert verify(f"moved/{TOLD}")[0] == 0


def test_the_table_names_every_entry(unlearn, here):
    done = unlearn("verify-record", TOLD)
    for name in ("record", "unlearned", "original", "reference", "request", "data", "images to forget", "verdict recorded"):
        assert sum(line.startswith(f"{name}  ") for line in done.out.splitlines()) == 1
    assert not re.search("certif|guarant", done.out, re.IGNORECASE)


@pytest.mark.parametrize(("role", "name"), [("unlearned", MINE), ("original", ORIGINAL), ("reference", REFERENCE)])
def test_a_checkpoint_with_one_other_bit_differs(verify, here, role, name):
    found = store.read(name)
    bias = found.tensors["head.bias"].clone()
    bias.view(torch.uint8)[0] ^= 1
    (here / name).unlink()
    store.write(name, found.tensors | {"head.bias": bias}, found.record)
    code, facts, verdict = verify()
    assert (code, failing(facts)) == (1, {role})
    assert verdict.startswith(f"Does not match: {role}: {name}: DIFFERS: its tensors have the digest")
    assert verdict.endswith("(1 of 7 entries).")


def test_the_same_tensors_with_another_history_differ(verify, here):
    found = store.read(MINE)
    step = found.record.last.model_copy(update={"method": "retrain"})
    record = found.record.model_copy(update={"lineage": [*found.record.lineage[:-1], step]})
    (here / MINE).unlink()
    store.write(MINE, found.tensors, record)
    code, facts, _ = verify()
    assert (code, failing(facts)) == (1, {"unlearned"})
    assert "another history" in facts["unlearned"]


def test_the_same_tensors_written_anew_match(verify, here):
    found = store.read(MINE)
    (here / MINE).unlink()
    store.write(MINE, dict(reversed(found.tensors.items())), found.record)
    assert verify()[0] == 0


IMAGES = {
    "an image to forget changed": (lambda d: flip(d / "train/3/0003.png"), {"data", "images_to_forget"}),
    "a retained image changed": (lambda d: flip(d / "train/5/0015.png"), {"data"}),
    "a test image changed": (lambda d: flip(d / "test/3/0059.png"), {"data"}),
    "an image to forget renamed": (
        lambda d: (d / "train/3/0003.png").rename(d / "train/3/0004.png"),
        {"data", "images_to_forget"},
    ),
    "a retained image deleted": (lambda d: (d / "train/5/0015.png").unlink(), {"data"}),
    "an image added": (lambda d: shutil.copy(d / "test/5/0033.png", d / "test/5/9999.png"), {"data"}),
    "the class renamed": (
        lambda d: [(d / part / "3").rename(d / part / "33") for part in ("train", "test")],
        {"data", "images_to_forget"},
    ),
}


def flip(path):
    """One pixel's worth of bytes at the end of the picture data, with size and time of modification as they were."""
    before, stat = path.read_bytes(), path.stat()
    replace(path, before[:-13] + bytes([before[-13] ^ 1]) + before[-12:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(("spoil", "expected"), IMAGES.values(), ids=IMAGES)
def test_images_that_changed_differ(verify, here, spoil, expected):
    spoil(here / "digits")
    code, facts, _ = verify()
    assert (code, failing(facts)) == (1, expected)


def test_every_image_is_read_and_the_cache_is_not_believed(verify, monkeypatch):
    def believed(*_):
        raise AssertionError("the cache was asked")

    monkeypatch.setattr(folders, "read_index", believed)
    monkeypatch.setattr(folders, "read_pixels", believed)
    assert verify()[0] == 0


GONE = {
    "the checkpoint": (lambda p: (p / MINE).unlink(), {"unlearned"}),
    "the reference": (lambda p: (p / REFERENCE).unlink(), {"reference"}),
    "the data": (lambda p: (p / "digits").rename(p / "moved"), {"data", "images_to_forget"}),
    "an image to forget": (lambda p: (p / "digits/train/3/0003.png").unlink(), {"data", "images_to_forget"}),
    "a folder in a file's place": (lambda p: ((p / MINE).unlink(), (p / MINE).mkdir()), {"unlearned"}),
    "a pipe in a file's place": (lambda p: ((p / MINE).unlink(), os.mkfifo(p / MINE)), {"unlearned"}),
    "a device in a file's place": (lambda p: ((p / MINE).unlink(), (p / MINE).symlink_to("/dev/zero")), {"unlearned"}),
    "half a file": (lambda p: replace(p / MINE, (p / MINE).read_bytes()[:500]), {"unlearned"}),
    "a pickle": (lambda p: replace(p / MINE, b"\x80\x04."), {"unlearned"}),
    "an image that is none": (lambda p: replace(p / "digits/train/3/0003.png", b"x" * 99), {"data", "images_to_forget"}),
    "something else among the images": (lambda p: (p / "digits/train/3/a.txt").write_text("a"), {"data", "images_to_forget"}),
}


@pytest.mark.parametrize(("spoil", "expected"), GONE.values(), ids=GONE)
def test_what_cannot_be_read_is_no_answer(verify, here, spoil, expected):
    spoil(here)
    code, facts, verdict = verify()
    assert (code, failing(facts)) == (2, expected)
    assert verdict.startswith("Not checked: ")


def test_one_that_differs_decides_over_one_that_is_missing(verify, here):
    (here / REFERENCE).unlink()
    flip(here / "digits/train/5/0015.png")
    code, facts, verdict = verify()
    assert (code, failing(facts)) == (1, {"reference", "data"})
    assert verdict.startswith("Does not match: data: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"verdict": "Held', '"verdict": "HELD'),
        ('"exit_code": 0', '"exit_code": 1'),
        ('"forget_test_accuracy": 0.0', '"forget_test_accuracy": 0.5'),
        ('"seed": 0', '"seed": 1'),
        ('"outcome": "pass"', '"outcome": "fail"'),
    ],
)
def test_a_number_or_word_changed_in_the_record_shows(verify, here, text, old, new):
    assert old in text
    replace(here / TOLD, text.replace(old, new).encode())
    code, facts, _ = verify()
    assert (code, "record" in failing(facts)) == (1, True)


def test_a_record_laid_out_otherwise_is_the_same_record(verify, here, told):
    replace(here / TOLD, json.dumps(dict(reversed(told.items())), indent=None).encode())
    assert verify()[0] == 0


def test_a_rewritten_record_with_its_digest_made_right_is_still_held_against_the_files(verify, here):
    told = deletion_reading.read(TOLD)
    rewritten(here / TOLD, request=told.request.model_copy(update={"classes": ["5"]}))
    code, facts, _ = verify()
    assert (code, failing(facts)) == (1, {"request", "images_to_forget"})
    rewritten(here / TOLD, request=told.request.model_copy(update={"classes": ["5"], "digest": sha(b"5")}))
    assert failing(verify()[1]) == {"images_to_forget"}
    rewritten(here / TOLD, request=told.request, data=told.data.model_copy(update={"test": 3}))
    assert failing(verify()[1]) == {"data"}


@pytest.mark.parametrize("named", [True, False])
def test_an_original_that_the_unlearned_model_was_not_made_from_differs(verify, here, named):
    other = store.read(REFERENCE)
    path = REFERENCE if named else None
    rewritten(here / TOLD, original=Original(name="x", path=path, digest=other.digest, lineage=other.record.lineage))
    code, facts, _ = verify()
    assert (code, failing(facts)) == (1, {"original"})


# records that somebody else wrote


def changed(document, place, value):
    """A copy of the document with another value at a place such as `request.digest`; `gone` takes the key away."""
    copy = json.loads(json.dumps(document))
    part = copy
    *way, last = place.split(".")
    for step in way:
        part = part[int(step) if isinstance(part, list) else step]
    if value is ...:
        del part[last]
    else:
        part[int(last) if isinstance(part, list) else last] = value
    return json.dumps(copy)


HOSTILE = [
    ("schema_version", 3, "has version 3, this program reads up to 2"),
    ("schema_version", 10**4000, "has version"),
    ("schema_version", True, "schema_version"),
    ("schema_version", "1", "schema_version"),
    ("schema_version", 0, "schema_version"),
    ("kind", "recipe", "is not a deletion record"),
    ("kind", ["deletion record"], "is not a deletion record"),
    ("request", None, "request"),
    ("request.classes", "3", "request.classes"),
    ("request.classes", [], "names classes or images"),
    ("schema_version", 1, "version 1 names classes or images"),
    ("request.test_images", None, "have counts and fingerprints"),
    ("data.others_fingerprint", ..., "have counts and fingerprints"),
    ("data.others", -1, "data.others"),
    ("parts", [{"request": "class 3"}], "parts.0"),
    ("request.images", -1, "request.images"),
    ("request.images", 1.5, "request.images"),
    ("request.digest", "0" * 63, "request.digest"),
    ("request.digest", "Z" * 64, "request.digest"),
    ("unlearned", [], "unlearned"),
    ("unlearned.path", None, "unlearned.path"),
    ("unlearned.path", "", "unlearned.path"),
    ("unlearned.path", "/etc/passwd", "unlearned.path"),
    ("unlearned.path", "a\0b", "unlearned.path"),
    ("unlearned.lineage", [{}], "unlearned.lineage.0"),
    ("unlearned.lineage.0.seconds", -1, "seconds"),
    ("references", {}, "references"),
    ("references.0.path", "/dev/zero", "references.0.path"),
    ("data.path", "/", "data.path"),
    ("data.train", 0, "data.train"),
    ("data.test_fraction", 2, "data.test_fraction"),
    ("evaluation.threads", "1", "evaluation.threads"),
    ("measured.0.metrics", {"a": "b"}, "measured.0.metrics.a"),
    ("measured.0.role", "judge", "measured.0.role"),
    ("limits", [1], "limits.0"),
    ("verdict", 1, "verdict"),
    ("verdict", ..., "verdict"),
    ("exit_code", 7, "exit_code"),
    ("more", 1, "more"),
    ("a\nb\x1b[31m" + "c" * 10_000, 1, "a\\nb\\x1b[31mccc"),
]


@pytest.mark.parametrize(("place", "value", "problem"), HOSTILE, ids=[f"{a[:20]!r}" for a, _, _ in HOSTILE])
def test_a_record_that_cannot_be_right_is_one_line(refuses, here, told, place, value, problem):
    replace(here / TOLD, changed(told, place, value).encode())
    said = refuses("verify-record", TOLD)
    assert problem in said
    assert len(said) < 1000


TEXTS = {
    "nothing": (b"", "is not JSON"),
    "no JSON": (b"deleted, promise!", "is not JSON"),
    "half": (b'{"kind": "deletion rec', "is not JSON"),
    "bytes": (b"\xff\xfe\x00", "is not a text file"),
    "a list": (b"[]", "is not a deletion record"),
    "a number": (b"5", "is not a deletion record"),
    "a report": (b'{"schema": 1, "command": "evaluate"}', "is not a deletion record"),
    "a deep nest": (b"[" * 200_000, "is not JSON"),
    "a deep nest within": (b'{"kind": "deletion record", "x": ' + b'{"x":' * 50_000, "is not JSON"),
    "a number without end": (b'{"kind": "deletion record", "x": ' + b"9" * 5000 + b"}", "is not JSON"),
    "no number": (b'{"kind": "deletion record", "exit_code": NaN}', "is no number in JSON"),
    "infinity": (b'{"kind": "deletion record", "exit_code": Infinity}', "is no number in JSON"),
    "a key twice": (b'{"kind": "deletion record", "verdict": "a", "verdict": "b"}', "a key repeats"),
}


@pytest.mark.parametrize(("content", "problem"), TEXTS.values(), ids=TEXTS)
def test_a_file_that_is_no_record_is_one_line(refuses, here, content, problem):
    replace(here / TOLD, content)
    assert problem in refuses("verify-record", TOLD)


def test_an_absurdly_large_record_is_not_read(refuses, here):
    replace(here / TOLD, b"")
    os.truncate(here / TOLD, deletion_reading.LARGEST + 1)
    assert "too many for a record" in refuses("verify-record", TOLD)


def test_an_infinite_number_is_refused_and_a_large_one_read(refuses, here, text):
    number = '"forget_test_accuracy": 0.0'
    replace(here / TOLD, text.replace(number, '"forget_test_accuracy": 1e999').encode())
    assert "finite" in refuses("verify-record", TOLD)
    replace(here / TOLD, text.replace(number, '"forget_test_accuracy": 1e300').encode())
    assert deletion_reading.read(TOLD).measured


@pytest.mark.parametrize("name", ["nowhere.json", "digits", "-", "pipe"])
def test_what_is_no_file_is_not_read(refuses, here, name):
    os.mkfifo(here / "pipe")
    assert name in refuses("verify-record", name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, way=()):
    """Every place in a document."""
    yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*way, key))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_value_in_any_place_is_read_or_refused_in_words(made, data):
    document = json.loads((made / TOLD).read_text(encoding="utf-8"))
    way = data.draw(st.sampled_from([way for way in places(document) if way]))
    part = document
    for step in way[:-1]:
        part = part[step]
    part[way[-1]] = data.draw(JSON)
    try:
        deletion_reading.checked(document, "x.json")
    except UnlearnError as error:
        assert "\n" not in error.problem and error.problem.isprintable()
        assert len(error.problem) < 800


def test_the_help_says_what_the_codes_mean(unlearn):
    shown = " ".join(unlearn("verify-record", "--help").out.split())
    assert "code 1, as for a limit not met" in shown
    assert "Code 2" in shown
