"""Every bad input is one clear line with a hint and exit code 2, and nothing is written."""

import json
import os
import pickle
import struct
import zlib

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from unlearn_cli.checkpoints import store

OUT = "out.safetensors"


def contents(folder):
    """Every file outside the data, with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def refuses(unlearn, place, monkeypatch):
    """Run a command line that must fail, in the test's own folder; gives the line that says why."""
    monkeypatch.chdir(place)

    def check(*arguments):
        before = contents(place)
        done = unlearn(*arguments)
        assert (done.code, done.out) == (2, ""), done.err
        lines = done.err.splitlines()
        assert [line for line in lines if line.startswith("Error: ")] == lines[-2:-1], done.err
        assert lines[-1].startswith("Hint: ")
        assert len(lines[-1]) > len("Hint: ")
        assert "Traceback" not in done.err
        assert "our mistake" not in done.err
        assert contents(place) == before
        return lines[-2]

    return check


# the checkpoint


def forget(refuses, checkpoint, *more):
    return refuses("forget", "--method", "mask", "--class", "3", "-o", OUT, checkpoint, *more)


@pytest.mark.parametrize(
    "command",
    ["forget --method lau --class 3", "evaluate", "relearn", "compare", "inspect", "compare model.safetensors"],
)
def test_every_command_names_a_file_that_is_not_there(refuses, command):
    assert "nowhere.safetensors: no such file" in refuses(*command.split(), "nowhere.safetensors")


KINDS = {
    "truncated": (lambda whole: whole[: len(whole) // 2], "not a whole safetensors file"),
    "empty": (lambda _: b"", "is empty"),
    "text": (lambda _: b"this is not a checkpoint", "not a whole safetensors file"),
    "pickle": (lambda _: pickle.dumps({"a": 1}), "pickle"),
    "huge header": (lambda whole: struct.pack("<Q", 2**62) + whole[8:], "not a whole safetensors file"),
    "broken JSON": (lambda whole: whole[:8] + b"}" + whole[9:], "not a whole safetensors file"),
}


@pytest.mark.parametrize("change, problem", KINDS.values(), ids=KINDS)
def test_a_file_that_is_no_whole_safetensors_file_is_refused(refuses, place, change, problem):
    (place / "bad.safetensors").write_bytes(change((place / "model.safetensors").read_bytes()))
    assert problem in forget(refuses, "bad.safetensors")


def test_overlapping_offsets_are_refused(refuses, place):
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"a": one, "b": one}).encode()
    (place / "bad.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    assert "not a whole safetensors file" in forget(refuses, "bad.safetensors")


def altered(place, tensors=None, **changes):
    """A copy of the model with some tensors and fields of its record replaced; raw, as a stranger would write it."""
    found = store.read(str(place / "model.safetensors"))
    document = json.loads(found.record.to_json()) | changes
    save_file(found.tensors | (tensors or {}), place / "bad.safetensors", {"unlearn": json.dumps(document)})
    return "bad.safetensors"


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"schema_version": 99}, "version 99"),
        ({"schema_version": "1"}, "schema_version"),
        ({"classes": "digits"}, "classes"),
        ({"classes": [str(i) for i in range(9)]}, "head"),
        ({"lineage": [{"operation": "magic"}]}, "lineage.0"),
        ({"architecture": "resnet81"}, "no architecture called 'resnet81'"),
        ({"architecture_settings": {"width": 10**9}}, "width"),
        ({"architecture_settings": {"depth": 1}}, "no setting called 'depth'"),
        ({"architecture_settings": {"width": 16}}, "does not fit compact"),
        ({"head": "tail"}, "no linear layer called 'tail'"),
        ({"size": 10**12}, "is not an image size"),
        ({"size": 3}, "3 pixels are too small"),
        ({"data": None}, "names no data folder"),
        ({"channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}, "does not fit compact"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(refuses, place, changes, problem):
    assert problem in forget(refuses, altered(place, **changes))


def test_a_data_folder_that_went_away_is_named(refuses, place):
    (place / "digits").unlink()
    assert "data folder" in forget(refuses, "model.safetensors")


@pytest.mark.parametrize(
    "tensors, problem",
    [
        ({"head.weight": torch.zeros(10, 7)}, "head.weight has the shape (10, 7)"),
        ({"extra": torch.zeros(1)}, "the architecture has no tensor extra"),
        ({"head.weight": torch.zeros(10, 32, dtype=torch.int64)}, "head.weight holds torch.int64"),
        ({"head.bias": torch.full((10,), float("nan"))}, "head.bias has values that are not finite"),
        ({"head.bias": torch.full((10,), float("inf"))}, "head.bias has values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(refuses, place, tensors, problem):
    assert problem in forget(refuses, altered(place, tensors))


def test_a_state_dict_of_another_architecture_is_refused(refuses, place):
    save_file({"weight": torch.zeros(3)}, place / "plain.safetensors")
    line = forget(refuses, "plain.safetensors", "--arch", "compact", "--data", "digits")
    assert "plain.safetensors does not fit compact: it has no tensor" in line


@pytest.mark.parametrize(
    "given, problem",
    [
        ([], "no record of its architecture"),
        (["--arch", "compact"], "no record of its data"),
        (["--arch", "compac", "--data", "digits"], "no architecture called 'compac'"),
        (["--arch", "compact,wide", "--data", "digits"], "'wide' in --arch is no setting"),
        (["--arch", "compact,width=x", "--data", "digits"], "width=x is not allowed"),
        (["--arch", "compact,width=8,width=16", "--data", "digits"], "gives width twice"),
        (
            ["--arch", "compact,width=8", "--data", "digits", "--mean", "a,b", "--std", "1"],
            "--mean 'a,b' is no list of numbers",
        ),
        (["--arch", "compact,width=8", "--data", "digits", "--mean", "1,1", "--std", "1"], "need 1 numbers each"),
        (["--arch", "compact,width=8", "--data", "digits", "--mean", "nan", "--std", "1"], "mean"),
        (["--arch", "compact,width=8", "--data", "digits", "--mean", "0", "--std", "0"], "std"),
    ],
)
def test_what_a_plain_state_dict_lacks_must_be_said_and_be_right(refuses, place, given, problem):
    save_file(store.read(str(place / "model.safetensors")).tensors, place / "plain.safetensors")
    assert problem in forget(refuses, "plain.safetensors", *given)


# the request


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--class", "33"], "no class called '33'"),
        (["--class", "-1"], "no class called '-1'"),
        ([part for i in range(10) for part in ("--class", str(i))], "every training image is to be forgotten"),
        ([], "nothing to forget was named"),
        (["--class", "3", "--method", "laus"], "no method called 'laus'"),
        (["--class", "3", "--set", "epoch=3"], "lau has no setting called 'epoch'"),
        (["--class", "3", "--set", "epochs"], "'epochs' is no setting"),
        (["--class", "3", "--set", "epochs=0"], "epochs=0 is not allowed"),
        (["--class", "3", "--set", "epochs=2.5"], "epochs=2.5 is not allowed"),
        (["--class", "3", "--set", "alpha=1.5"], "alpha=1.5 is not allowed"),
        (["--class", "3", "--set", "lr=nan"], "lr=nan"),
        (["--class", "3", "--set", "lr=inf"], "lr=inf"),
        (["--class", "3", "--set", "attack=pixels"], "attack=pixels is not allowed"),
        (["--class", "3", "--instances", "list.txt"], "exclude each other"),
        (["--instances", "list.txt"], "list.txt: no such file"),
        (["--instances", "comments.txt"], "comments.txt lists no images"),
        (["--instances", "unknown.txt"], "is no image of"),
        (["--instances", "tested.txt"], "is a test image"),
        (["--instances", "binary.txt"], "begins as UTF-16 and stops being it"),
        (["--class", "3", "--data", "nowhere"], "nowhere does not exist"),
        (["--class", "3", "--head", "tail"], "no linear layer called 'tail'"),
        (["--class", "3", "--device", "tpu"], "no device called 'tpu'"),
        (["--class", "3", "--device", "cuda:77"], "this machine has no device 'cuda:77'"),
        (["--class", "3", "--precision", "float23"], "no precision called 'float23'"),
        (["--class", "3", "--precision", "float16", "--device", "cpu"], "float16 is not for the CPU"),
        (["--class", "3", "--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--class", "3", "-o", "model.safetensors"], "model.safetensors is the input"),
        (["--class", "3", "-o", "model.safetensors", "--force"], "model.safetensors is the input"),
        (["--class", "3", "-o", "link.safetensors", "--force"], "link.safetensors is the input"),
        (["--class", "3", "-o", "without-3.safetensors"], "already exists"),
        (["--class", "3", "-o", "digits"], "digits is a folder"),
        (["--class", "3", "-o", "missing/out.safetensors"], "its folder does not exist"),
        (["--class", "3", "-o", "-", "--json"], "both want standard output"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(refuses, place, arguments, problem):
    (place / "link.safetensors").symlink_to("model.safetensors")
    (place / "comments.txt").write_text("# none\n\n")
    (place / "unknown.txt").write_text("train/3/9999.png\n")
    (place / "tested.txt").write_text("test/3/0059.png\n")
    (place / "binary.txt").write_bytes(b"\xff\xfe\xff")
    given = [] if "--method" in arguments else ["--method", "neg-grad" if "--instances" in arguments else "lau"]
    assert problem in refuses("forget", "model.safetensors", *given, *arguments)


@pytest.mark.parametrize(
    "word, meant",
    [
        (["--method", "lua"], "lau"),
        (["--method", "fine_tune"], "fine-tune"),
        (["--method", "lau", "--set", "epoch=1"], "epochs"),
    ],
)
def test_a_slip_is_answered_with_the_nearest_word(unlearn, place, word, meant):
    done = unlearn("forget", place / "model.safetensors", "--class", "3", *word)
    assert done.code == 2
    assert f"did you mean '{meant}'?" in done.err


def test_listed_images_are_refused_by_a_method_for_classes(refuses, place):
    (place / "list.txt").write_text("train/3/0003.png\n")
    assert "lau is not defined for listed images" in refuses(
        "forget", "model.safetensors", "--method", "lau", "--instances", "list.txt"
    )


# the configuration


@pytest.mark.parametrize(
    "text, problem",
    [
        ("methd: lau", "sets 'methd'"),
        ("method: [lau, mask]", "takes one value"),
        ("- lau", "holds no mapping"),
        ("a: b: c", "is not YAML"),
        ("method: {lau: 1}", "cannot be a mapping"),
        ("config: other.yaml", "sets 'config'"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("", "holds no mapping"),
        ("method: nowhere", "no method called"),
        ("method: mask\nmethod: lau", "sets 'method' twice"),
        ("instances:", "instances has no value"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(refuses, place, text, problem):
    (place / "config.yaml").write_text(text)
    assert problem in refuses("forget", "model.safetensors", "--class", "3", "--config", "config.yaml")


# the limits


@pytest.mark.parametrize(
    "limit, problem",
    [
        ("forget_acuracy<=0.1", "no metric called 'forget_acuracy'"),
        ("forget_accuracy", "has a metric but no number"),
        ("forget_accuracy<=5%", "per cent"),
        ("forget_accuracy<=5", "is at most 1"),
        ("forget_accuracy<=nan", "no finite number"),
        ("forget_accuracy<=reference+0.1", "needs a reference model"),
        ("forget_accuracy<=original", "needs the original model"),
        ("activation_distance<=0.1", "needs a reference model"),
        ("relearn_epochs>=3", "is not measured here"),
        ("", "--require was given without a value"),
        ("forget_test_accuracy<=1", "can never be missed"),
    ],
)
def test_a_limit_that_cannot_be_judged_is_refused(refuses, limit, problem):
    assert problem in refuses("evaluate", "model.safetensors", "--class", "3", "--require", limit)


def test_a_limit_on_what_was_never_forgotten_is_refused(refuses):
    assert "has forgotten nothing yet" in refuses("evaluate", "model.safetensors", "--require", "forget_accuracy<=0.1")


def test_a_model_whose_outputs_are_not_finite_is_refused(refuses, place):
    weight = store.read(str(place / "model.safetensors")).tensors["head.weight"]
    bad = altered(place, {"head.weight": torch.full_like(weight, 3e38)})
    assert "outputs are not finite" in refuses("evaluate", bad, "--class", "3", "--require", "forget_accuracy<=0.1")


def test_a_run_that_diverges_stops_and_writes_nothing(refuses):
    command = "forget model.safetensors --method fine-tune --class 3 --set lr=1e30 --set epochs=1"
    assert "no longer finite" in refuses(*command.split())


# the data


def png(width, height):
    """A PNG file of a few bytes that claims to be of that size."""
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT" + zlib.compress(b"\0" * 100),
        b"IEND",
    ]
    parts = [struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def grey(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (28, 28), value).save(path)


@pytest.fixture
def photos(place):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for i in range(3):
                grey(place / "photos" / part / name / f"{i}.png", i)
    return place / "photos"


def cut(photos):
    path = photos / "train/cat/1.png"
    Image.effect_noise((28, 28), 50).save(path)
    path.write_bytes(path.read_bytes()[:200])


def drop(photos, pattern):
    for path in photos.glob(pattern):
        path.unlink()


DATA = {
    "a corrupt image": (
        lambda p: (p / "train/cat/1.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish"),
        "train/cat/1.png is not a readable",
    ),
    "a truncated image": (cut, "train/cat/1.png"),
    "an empty file": (lambda p: (p / "train/cat/1.png").write_bytes(b""), "train/cat/1.png is empty"),
    "a decompression bomb": (lambda p: (p / "train/dog/2.png").write_bytes(png(60_000, 60_000)), "train/dog/2.png has"),
    "a file of another kind": (
        lambda p: (p / "test/dog/notes.txt").write_text("hello"),
        "test/dog/notes.txt is not an image",
    ),
    "a picture that is a text": (lambda p: (p / "test/dog/1.png").write_text("hello"), "test/dog/1.png"),
    "an empty class folder": (lambda p: (p / "train/owl").mkdir(), "train/owl holds no images"),
    "no test images": (lambda p: drop(p, "test/*/*"), "has no test images"),
    "no images at all": (lambda p: drop(p, "*/*/*"), "holds no images"),
    "a class that is tested only": (
        lambda p: grey(p / "test/owl/0.png"),
        "test/owl is a class without training images",
    ),
    "an image outside the classes": (lambda p: grey(p / "train/0.png"), "outside any class folder"),
}


@pytest.mark.parametrize("spoil, problem", DATA.values(), ids=DATA)
def test_a_folder_with_something_wrong_is_refused_by_name(refuses, photos, spoil, problem):
    spoil(photos)
    assert problem in refuses("train", "photos", "-o", OUT, "--arch", "compact")


def test_a_folder_without_a_test_split_is_refused(refuses, photos):
    for path in photos.glob("test/*/*"):
        path.unlink()
    for path in photos.glob("test/*"):
        path.rmdir()
    (photos / "test").rmdir()
    assert "no 'test' folder" in refuses("train", "photos", "-o", OUT, "--arch", "compact")


def test_a_folder_of_one_class_is_refused(refuses, photos):
    for part in ("train", "test"):
        drop(photos, f"{part}/dog/*")
        (photos / part / "dog").rmdir()
    assert "one class only" in refuses("train", "photos", "-o", OUT, "--arch", "compact")


def test_a_head_that_does_not_match_the_folders_is_refused(refuses, photos):
    line = forget(refuses, "model.safetensors", "--data", "photos")
    assert "(10 classes) does not match the folders of photos (2)" in line


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["nowhere", "-o", OUT], "nowhere does not exist"),
        (["photos", "-o", "model.safetensors"], "already exists"),
        (["photos", "-o", "photos"], "is a folder"),
        (["photos", "-o", OUT, "--arch", "compactt"], "no architecture called 'compactt'"),
        (["photos", "-o", OUT, "--arch", "compact", "--set", "widht=8"], "no setting called 'widht'"),
        (["photos", "-o", OUT, "--arch", "compact", "--set", "width=1"], "width=1 is not allowed"),
        (["photos", "-o", OUT, "--arch", "compact", "--set", "lr=-1"], "lr=-1 is not allowed"),
        (["photos", "-o", OUT, "--arch", "compact", "--without-class", "owl"], "no class called 'owl'"),
        (
            ["photos", "-o", OUT, "--arch", "compact", "--without-class", "cat", "--without-class", "dog"],
            "every training image",
        ),
        (["photos", "-o", OUT, "--arch", "compact", "--size", "0"], "0 is not an image size"),
        (["photos", "-o", OUT, "--arch", "compact", "--size", "4"], "4 pixels are too small"),
        (["photos", "-o", OUT, "--arch", "compact", "--channels", "2"], "cannot have 2 channels"),
        (["photos", "-o", OUT, "--arch", "compact", "--resume"], "no training to resume"),
    ],
)
def test_a_training_that_cannot_be_meant_is_refused(refuses, photos, arguments, problem):
    assert problem in refuses("train", *arguments)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(refuses, place):
    (place / "closed").mkdir(mode=0o500)
    assert "no permission" in refuses(
        "forget", "model.safetensors", "--method", "mask", "--class", "3", "-o", "closed/out.safetensors"
    )


# as processes of their own


def test_an_error_goes_to_stderr_and_stdout_stays_empty(program, place):
    done = program("forget", "--method", "lau", "--class", "3", "nowhere.safetensors", cwd=place)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        "Error: nowhere.safetensors: no such file.",
        "Hint: check the path and its permissions.",
    ]


def test_rubbish_on_a_pipe_is_refused(program, place):
    done = program("evaluate", "-", cwd=place, stdin=b"\x80\x04rubbish")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Error: standard input is a pickled PyTorch file" in done.stderr


def test_an_option_that_does_not_exist_is_2(program, place):
    assert program("forget", "--methd", "lau", "model.safetensors", cwd=place).returncode == 2
