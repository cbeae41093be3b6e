"""Training: a file at the end, the same one whether or not the training was killed on the way."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from tests.interrupting import interrupted
from unlearn_cli.checkpoints import store

COMMAND = (
    "--arch",
    "compact,width=4",
    "--set",
    "batch_size=32",
    "--set",
    "lookahead_every=1",
    "--precision",
    "float32",
    "--device",
    "cpu",
)


@pytest.fixture(scope="session")
def few(shipped, tmp_path_factory):
    """Twenty training and five test images of each of four digits."""
    folder = tmp_path_factory.mktemp("few") / "digits"
    for part, count in (("train", 20), ("test", 5)):
        for name in "0123":
            (folder / part / name).mkdir(parents=True)
            for path in sorted((shipped / "digits" / part / name).iterdir())[:count]:
                shutil.copy(path, folder / part / name)
    return folder


@pytest.fixture
def train(unlearn, few, tmp_path):
    def call(name, *more, epochs=3):
        output = tmp_path / name
        done = unlearn("train", few, "-o", output, "--epochs", epochs, *COMMAND, *more)
        return done, output

    return call


def same(a, b):
    a, b = store.read(str(a)).tensors, store.read(str(b)).tensors
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_trains_the_same_tensors_and_another_does_not(train):
    (_, a), (_, b), (_, c) = train("a"), train("b"), train("c", "--seed", "1")
    assert same(a, b)
    assert not same(a, c)


def test_a_training_interrupted_after_an_epoch_goes_on_to_the_same_tensors(train):
    _, whole = train("whole")
    with interrupted():
        for _ in range(2):
            done, broken = train("broken", *(["--resume"] if _ else []))
            assert done.code == 130
            assert not broken.exists()
    done, broken = train("broken", "--resume")
    assert done.code == 0, done.err
    assert same(broken, whole)
    assert sorted(path.name for path in broken.parent.iterdir()) == ["broken", "whole"]


def test_a_training_that_was_killed_goes_on_to_the_same_tensors(train, few, tmp_path):
    _, whole = train("whole", epochs=60)
    output, resume = tmp_path / "killed", tmp_path / "killed.resume"
    command = [sys.executable, "-m", "unlearn_cli", "train", few, "-o", output, "--epochs", 60, *COMMAND]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        patience = time.monotonic() + 60
        while not resume.exists() and time.monotonic() < patience:
            time.sleep(0.005)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not output.exists()
    done, _ = train("killed", "--resume", epochs=60)
    assert done.code == 0, done.err
    assert "epoch 1 of 60" not in done.err
    assert same(output, whole)


def test_a_state_of_another_training_is_refused(train, tmp_path):
    with interrupted():
        train("out")
    before = (tmp_path / "out.resume").read_bytes()
    for other in (("--seed", "1"), ("--set", "lr=0.5"), ("--without-class", "3"), ("--set", "width=5")):
        done, output = train("out", "--resume", *other)
        assert done.code == 2, other
        assert "belongs to a training with other data or settings" in done.err
        assert not output.exists()
    assert (tmp_path / "out.resume").read_bytes() == before
    (tmp_path / "out.resume").write_bytes(before[: len(before) // 2])
    assert train("out", "--resume")[0].code == 2


def test_a_training_without_a_class_reads_none_of_it_and_says_so(train):
    done, output = train("without", "--without-class", "3", epochs=1)
    assert done.code == 0, done.err
    found = store.read(str(output)).record
    assert found.classes == ["0", "1", "2", "3"]
    assert found.last.request.classes == ["3"]
    assert found.last.images_read["retain"] % 60 == 0
    assert set(found.last.images_read) <= {"retain", "test"}


def test_a_training_without_listed_images_reads_none_of_them(train, few, tmp_path):
    left_out = [f"train/2/{path.name}" for path in sorted((few / "train/2").iterdir())[:3]]
    (tmp_path / "list.txt").write_text("\n".join(left_out))
    done, output = train("without", "--without", tmp_path / "list.txt", epochs=1)
    assert done.code == 0, done.err
    last = store.read(str(output)).record.last
    assert last.request.instances == left_out
    assert last.images_read["retain"] % 77 == 0


def test_a_training_says_what_it_found_of_its_list_and_takes_in_copies_when_asked(unlearn, few, tmp_path):
    folder = shutil.copytree(few, tmp_path / "digits")
    first, second = sorted((folder / "train/2").iterdir())[:2]
    tested = min((folder / "test/2").iterdir())
    shutil.copy(first, folder / "train/1/copy.png")
    (tmp_path / "list.txt").write_text("".join(f"{path.relative_to(folder)}\n" for path in (first, second, tested)))

    def trained(name, *more):
        done = unlearn("train", folder, "-o", tmp_path / name, "--epochs", 1, *COMMAND, "--without", tmp_path / "list.txt",
                       "--without-class", "3", "--json", *more)  # fmt: skip
        return done, json.loads(done.out or "{}").get("notes"), tmp_path / name

    done, notes, output = trained("apart")
    assert done.code == 0, done.err
    assert store.read(str(output)).record.last.request.instances == [str(path.relative_to(folder)) for path in (first, second)]
    held_out = f"1 of them test images, which the model never saw: set apart, test/2/{tested.name} among them"
    assert notes[:2] == ["3 lines: 3 images", held_out]
    done, notes, output = trained("copies", "--with-duplicates")
    assert store.read(str(output)).record.last.request.instances[0] == "train/1/copy.png"
    assert "1 exact copy of them taken in" in notes
    done, _, output = trained("strict", "--strict")
    assert (done.code, output.exists()) == (2, False)
    assert "is a test image" in done.err


def test_a_list_to_be_strict_about_has_to_be_there(train):
    for option in ("--strict", "--with-duplicates"):
        done, output = train("out", "--without-class", "3", option)
        assert (done.code, output.exists()) == (2, False)
        assert f"{option} goes with listed images" in done.err


def test_a_training_tells_what_lies_in_the_folder_and_is_not_read(unlearn, few, tmp_path):
    folder = shutil.copytree(few, tmp_path / "digits")
    for note in ([], ["the folder 'val' with 20 images is not read: only train and test are"]):
        done = unlearn("train", folder, "-o", tmp_path / f"{len(note)}", "--epochs", 1, *COMMAND, "--json")
        assert json.loads(done.out)["notes"] == note
        shutil.copytree(folder / "test", folder / "val", dirs_exist_ok=True)


def test_an_existing_output_is_refused_before_any_work(train, tmp_path):
    (tmp_path / "out").write_bytes(b"what was there")
    done, output = train("out")
    assert done.code == 2
    assert "already exists" in done.err
    assert "epoch" not in done.err
    assert output.read_bytes() == b"what was there"


def test_the_record_holds_what_was_trained_how_and_on_what(train, few):
    _, output = train("out", epochs=1)
    record = store.read(str(output)).record
    assert (record.architecture, record.architecture_settings, record.size, record.channels) == (
        "compact",
        {"width": 4},
        28,
        1,
    )
    assert (record.data.train, record.data.test) == (80, 20)
    step = record.last
    assert (step.operation, step.settings["epochs"], step.settings["batch_size"]) == ("train", 1, 32)


def test_a_training_can_be_written_to_a_pipe(program, few, tmp_path):
    done = program("train", few, "-o", "-", "--epochs", "1", *COMMAND, cwd=tmp_path)
    (tmp_path / "out").write_bytes(done.stdout)
    assert store.read(str(tmp_path / "out")).record.data.folder == str(few)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


# references: the same training from several seeds


def trained(done):
    """The epochs that a command ran."""
    return sum(line.startswith("training, epoch") for line in done.err.splitlines())


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


def test_references_are_what_single_trainings_with_the_following_seeds_write(train, tmp_path):
    done, _ = train("out.safetensors", "--without-class", "3", "--references", "2")
    names = [tmp_path / f"out-seed{seed}.safetensors" for seed in (1, 2)]
    assert (done.code, done.out) == (0, "".join(f"{name}\n" for name in names))
    assert sorted(files(tmp_path)) == [name.name for name in names]
    for seed, name in zip((1, 2), names, strict=True):
        assert same(name, train(f"single-{seed}", "--without-class", "3", "--seed", seed)[1])
        last = store.read(str(name)).record.last
        assert (last.seed, last.request.classes) == (seed, ["3"])
    assert not same(*names)


def test_references_that_are_there_are_kept_and_only_the_missing_one_is_trained(train, tmp_path):
    command = ("out.safetensors", "--without-class", "3", "--references", "3")
    whole, _ = train(*command)
    second = tmp_path / "out-seed2.safetensors"
    tensors = store.read(str(second)).tensors
    second.unlink()
    before = files(tmp_path)
    done, _ = train(*command)
    assert (done.code, done.out) == (0, whole.out)
    assert (trained(whole), trained(done)) == (9, 3)
    assert "trained before and kept" in done.err
    assert files(tmp_path).items() > before.items()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in store.read(str(second)).tensors.items())
    anew, _ = train(*command, "--force")
    assert (anew.code, trained(anew)) == (0, 9)
    assert "trained before" not in anew.err


@pytest.mark.parametrize("other", [("--without-class", "2"), ("--without-class", "3", "--set", "lr=0.05")])
def test_a_file_of_another_training_is_refused_before_any_reference_is_trained(train, tmp_path, other):
    _, stranger = train("out-seed2.safetensors", *other, "--seed", "2")
    before = files(tmp_path)
    done, _ = train("out.safetensors", "--without-class", "3", "--references", "2")
    assert (done.code, done.out, trained(done)) == (2, "", 0)
    assert f"{stranger} already exists, and this command does not make it" in done.err
    assert files(tmp_path) == before


def test_an_interrupted_reference_is_resumed_and_those_before_it_are_kept(train, tmp_path):
    command = ("--without-class", "3", "--references", "3")
    train("whole.safetensors", *command)
    with interrupted(after=3):  # of two in each training
        done, _ = train("broken.safetensors", *command)
    assert (done.code, done.out) == (130, "")
    assert {name for name in files(tmp_path) if name.startswith("broken")} == {
        "broken-seed1.safetensors", "broken-seed2.safetensors.resume",
    }  # fmt: skip
    done, _ = train("broken.safetensors", *command, "--resume")
    assert (done.code, trained(done)) == (0, 2 + 3)
    for seed in (1, 2, 3):
        assert same(tmp_path / f"broken-seed{seed}.safetensors", tmp_path / f"whole-seed{seed}.safetensors")
    assert not list(tmp_path.glob("*.resume"))


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("out", ("--references", "2"), "models that never saw a forget set, and none is named"),
        ("out", ("--references", "0", "--without-class", "3"), "--references"),
        ("out", ("--references", "2", "--without-class", "3", "--resume"), "out-seed1.resume"),
        ("nowhere/out", ("--references", "2", "--without-class", "3"), "its folder does not exist"),
    ],
)
def test_references_that_cannot_be_meant_are_refused(train, tmp_path, name, options, problem):
    done, _ = train(name, *options)
    assert (done.code, done.out, trained(done)) == (2, "", 0)
    assert problem in done.err
    assert not files(tmp_path)


def test_several_checkpoints_are_not_written_to_a_pipe(unlearn, few):
    done = unlearn("train", few, "-o", "-", "--without-class", "3", "--references", "2", *COMMAND)
    assert (done.code, done.out) == (2, "")
    assert "several checkpoints cannot go to standard output" in done.err


# as another checkpoint was trained


@pytest.fixture
def model(train):
    return train("model.safetensors", "--set", "lr=0.07", "--seed", "2")[1]


LIKE = ("--precision", "float32", "--device", "cpu")


def test_a_training_like_a_checkpoint_and_with_its_seed_makes_its_tensors_again(unlearn, model, tmp_path):
    for seed in (2, 3):
        done = unlearn("train", "--like", model, "-o", tmp_path / f"again-{seed}", "--seed", seed, *LIKE)
        assert done.code == 0, done.err
    assert same(tmp_path / "again-2", model)
    assert not same(tmp_path / "again-3", model)


def test_references_like_a_checkpoint_have_its_recipe_and_not_its_seed(unlearn, model, few, tmp_path):
    done = unlearn("train", "--like", model, "-o", tmp_path / "out.safetensors", "--without-class", "3", "--references", "2", *LIKE)
    assert done.out.split() == [str(tmp_path / f"out-seed{seed}.safetensors") for seed in (1, 3)]
    original, reference = (store.read(str(path)).record for path in (model, tmp_path / "out-seed1.safetensors"))
    assert reference.last.settings == original.last.settings
    assert reference.last.settings["lr"] == 0.07
    assert reference.architecture_settings == original.architecture_settings
    assert reference.data == original.data
    assert set(reference.last.images_read) <= {"retain", "test"}
    assert reference.mean != original.mean  # of the images that are left


def test_like_leaves_no_room_for_settings_and_needs_a_record(unlearn, model, few, tmp_path):
    before = files(tmp_path)
    for options, problem in (
        (("--epochs", "3"), "--like takes from the checkpoint what --epochs says"),
        (("--arch", "compact"), "what --arch says"),
        (("--set", "lr=1"), "what --set says"),
    ):
        done = unlearn("train", "--like", model, "-o", tmp_path / "out", *options)
        assert (done.code, done.out) == (2, "")
        assert problem in done.err
    assert files(tmp_path) == before
    save_file(store.read(str(model)).tensors, tmp_path / "plain")
    done = unlearn("train", few, "--like", tmp_path / "plain", "-o", tmp_path / "out")
    assert (done.code, "does not say how it was trained" in done.err) == (2, True)
    done = unlearn("train", "-o", tmp_path / "out")
    assert (done.code, "no folder of images was named" in done.err) == (2, True)


# several references by one pattern


def test_a_quoted_pattern_names_every_reference_and_a_files_own_name_wins(unlearn, shipped, place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "without-3.safetensors").rename("without-3-seed1.safetensors")
    for seed in (2, 3):
        name = f"without-3-seed{seed}.safetensors"
        unlearn("train", "--like", "model.safetensors", "-o", name, "--without-class", "3", "--seed", seed)
    shutil.copy("without-3-seed2.safetensors", "without-3-seed[13].safetensors")

    def references(pattern):
        done = unlearn("evaluate", "model.safetensors", "--class", "3", "--reference", pattern, "--json")
        return [row["label"] for row in json.loads(done.out)["rows"] if row["role"] == "reference"] if done.code == 0 else done.err

    assert references("without-3-seed?.safetensors") == [f"without-3-seed{seed}.safetensors" for seed in (1, 2, 3)]
    assert references("without-3-seed[13].safetensors") == ["without-3-seed[13].safetensors"]
    assert "no file matches without-5-*." in references("without-5-*")
