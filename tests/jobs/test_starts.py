"""Trainings that begin with another checkpoint's weights: what they take of it, what they say, and what may stand beside them."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tests.interrupting import interrupted
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.checkpoints import store
from unlearn_cli.engine.run import Options

QUICK = ("--precision", "float32", "--device", "cpu", "--epochs", 2, "--set", "batch_size=32")
PLAIN = ("--precision", "float32", "--device", "cpu")
STILL = ("--set", "lr=1e-12", "--set", "weight_decay=0")
BODY = ("whiten.weight", "group1.conv1.weight", "group3.conv2.weight")


@pytest.fixture(scope="session")
def data(shipped, tmp_path_factory):
    """Of a few digits: 0 to 3, 2 to 5, and 4 to 7, these in words too, with twenty training and five test images each."""
    top = tmp_path_factory.mktemp("halves")
    for folder, names in (("low", "0123"), ("mixed", "2345"), ("high", "4567")):
        for part, count in (("train", 20), ("test", 5)):
            for name in names:
                (top / folder / part / name).mkdir(parents=True)
                for path in sorted((shipped / "digits" / part / name).iterdir())[:count]:
                    shutil.copy(path, top / folder / part / name)
    for part in ("train", "test"):
        for name, word in (("4", "four"), ("5", "five"), ("6", "six"), ("7", "seven")):
            shutil.copytree(top / "high" / part / name, top / "named" / part / word)
    return top


@pytest.fixture
def train(unlearn, data, tmp_path):
    def call(folder, name, *more, quick=QUICK):
        output = tmp_path / f"{name}.safetensors"
        done = unlearn("train", *([data / folder] if folder else []), "-o", output, *more, *quick, "--json")
        return done, output

    return call


@pytest.fixture
def start(train):
    done, output = train("low", "start", "--arch", "compact,width=4")
    assert done.code == 0, done.err
    return output


def notes(done):
    return "\n".join(json.loads(done.out)["notes"])


def tensors(path):
    return store.read(str(path)).tensors


def same(a, b):
    a, b = tensors(a), tensors(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_for_other_classes_begins_with_the_body_and_a_head_from_its_seed(train, start):
    """Seen at a rate that moves nothing."""
    found = [train("high", f"tuned-{seed}", "--weights", start, *STILL, "--seed", seed) for seed in (1, 2)]
    assert "the head is new: start.safetensors has 4 classes, and not those of these images" in notes(found[0][0])
    before, one, two = tensors(start), *(tensors(path) for _, path in found)
    for name in BODY:
        torch.testing.assert_close(one[name], before[name], rtol=0, atol=1e-9)
    assert not torch.equal(one["head.weight"], two["head.weight"])
    assert (one["head.weight"] - before["head.weight"]).abs().max() > 0.01


def test_a_training_for_the_same_classes_keeps_the_head(train, start):
    done, tuned = train("low", "tuned", "--weights", start, *STILL)
    assert "the head is new" not in notes(done)
    torch.testing.assert_close(tensors(tuned)["head.weight"], tensors(start)["head.weight"], rtol=0, atol=1e-9)


def test_the_record_takes_the_starts_input_and_tells_where_it_came_from(train, start):
    _, tuned = train("high", "tuned", "--weights", start, "--set", "body_lr=0.1")
    before, after = store.read(str(start)), store.read(str(tuned)).record
    assert after.classes == ["4", "5", "6", "7"]
    assert (after.mean, after.std, after.architecture_settings) == (
        before.record.mean, before.record.std, before.record.architecture_settings,
    )  # fmt: skip
    assert after.data.fingerprint != before.record.data.fingerprint
    assert after.lineage[:-1] == before.record.lineage
    source = after.last.source
    assert (source.name, source.digest) == ("start.safetensors", before.digest)
    assert (source.classes, source.data) == (before.record.classes, before.record.data.fingerprint)
    assert after.last.settings["body_lr"] == 0.1
    assert load(str(tuned), Plain(), Options(device="cpu")).recipe().body_lr == 0.1     # of the two trainings, the last


def test_the_same_command_makes_the_same_tensors_whether_or_not_it_was_interrupted(train, start):
    _, whole = train("high", "whole", "--weights", start)
    with interrupted():
        assert train("high", "broken", "--weights", start)[0].code == 130
    done, broken = train("high", "broken", "--weights", start, "--resume")
    assert done.code == 0, done.err
    assert same(broken, whole)


@pytest.mark.parametrize(("more", "problem"), [
    (("--arch", "resnet18"), "start.safetensors is compact,width=4, and --arch says resnet18"),
    (("--arch", "compact,width=8"), "and --arch says compact,width=8"),
    (("--set", "width=8"), "start.safetensors says what --set width does"),
    (("--size", "32"), "says what --size does"),
])  # fmt: skip
def test_what_the_start_says_is_not_said_otherwise(train, start, tmp_path, more, problem):
    done, output = train("high", "tuned", "--weights", start, *more)
    assert (done.code, output.exists()) == (2, False)
    assert problem in done.err
    assert train("high", "tuned", "--weights", start, "--arch", "compact,width=4")[0].code == 0


def test_a_file_without_a_record_needs_its_architecture_and_may_be_for_any_number_of_classes(train, start, tmp_path):
    plain = tmp_path / "plain.safetensors"
    save_file(tensors(start), plain)
    done, _ = train("high", "tuned", "--weights", plain)
    assert (done.code, "has no record of its architecture" in done.err) == (2, True)
    done, kept = train("high", "kept", "--weights", plain, "--arch", "compact,width=4", *STILL)
    assert "does not say what its 4 classes are: its head is kept as theirs" in notes(done)
    torch.testing.assert_close(tensors(kept)["head.weight"], tensors(start)["head.weight"], rtol=0, atol=1e-9)
    more = {**tensors(start), "head.weight": torch.randn(9, 16), "head.bias": torch.zeros(9)}
    save_file(more, plain)
    done, new = train("high", "new", "--weights", plain, "--arch", "compact,width=4", *STILL)
    assert "the head is new: plain.safetensors has 9 classes" in notes(done)
    torch.testing.assert_close(tensors(new)[BODY[1]], more[BODY[1]], rtol=0, atol=1e-9)
    done, _ = train("high", "other", "--weights", plain, "--arch", "compact,width=8")
    assert (done.code, "does not fit compact" in done.err) == (2, True)


# like a checkpoint that began with another


@pytest.fixture
def tuned(train, start):
    done, output = train("high", "tuned", "--weights", start, "--seed", 3)
    assert done.code == 0, done.err
    return output


def test_a_training_like_one_that_began_with_a_start_begins_with_it_too(train, tuned):
    assert same(train(None, "again", "--like", tuned, "--seed", 3, quick=PLAIN)[1], tuned)
    assert not same(train(None, "other", "--like", tuned, "--seed", 4, quick=PLAIN)[1], tuned)


def test_the_start_is_looked_for_beside_it_or_where_the_command_says_and_no_other_is_taken(train, start, tuned, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    start.rename(elsewhere / "moved.safetensors")
    done, output = train(None, "again", "--like", tuned, "--seed", 3, quick=PLAIN)
    assert (done.code, output.exists()) == (2, False)
    assert "tuned.safetensors was trained from start.safetensors" in done.err and "not beside it" in done.err
    named = ("--weights", elsewhere / "moved.safetensors")
    assert same(train(None, "again", "--like", tuned, *named, "--seed", 3, quick=PLAIN)[1], tuned)
    for place, more in ((start, ()), (tuned, ("--weights", tuned))):
        if place == start:
            shutil.copy(tuned, start)
        done, _ = train(None, "third", "--like", tuned, *more, quick=PLAIN)
        assert (done.code, "is not what tuned.safetensors was trained from" in done.err) == (2, True)


def test_a_training_from_scratch_has_no_start_to_name(train, start, tuned):
    done, _ = train(None, "again", "--like", start, "--weights", tuned, quick=PLAIN)
    assert (done.code, "was trained from scratch" in done.err) == (2, True)


def test_retraining_begins_where_the_original_began(unlearn, train, start, tuned, tmp_path):
    _, like = train(None, "like", "--like", tuned, "--without-class", "7", "--seed", 5, quick=PLAIN)
    made = tmp_path / "retrained.safetensors"
    done = unlearn("forget", "--method", "retrain", "--class", "7", tuned, "-o", made, "--seed", 5, *PLAIN)
    assert done.code == 0, done.err
    assert same(made, like)
    start.unlink()
    done = unlearn("forget", "--method", "retrain", "--class", "7", tuned, "-o", tmp_path / "none", "--seed", 5, *PLAIN)
    assert (done.code, "which is not beside it" in done.err, (tmp_path / "none").exists()) == (2, True, False)
    assert unlearn("forget", "--method", "neg-grad", "--class", "7", tuned, "-o", tmp_path / "other", *PLAIN).code == 0


def test_retraining_never_begins_with_what_saw_the_images_to_forget(unlearn, train, start, tmp_path):
    _, tuned = train("low", "tuned", "--weights", start)
    done = unlearn("forget", "--method", "retrain", "--class", "3", tuned, "-o", tmp_path / "none", *PLAIN)
    assert (done.code, (tmp_path / "none").exists()) == (2, False)
    assert "tuned.safetensors began with start.safetensors, which was trained on everything" in done.err
    _, clean = train("low", "clean", "--arch", "compact,width=4", "--without-class", "3")
    _, after = train("low", "after", "--weights", clean)
    done = unlearn("forget", "--method", "retrain", "--class", "3", after, "-o", tmp_path / "made", "--json", *PLAIN)
    assert done.code == 0, done.err
    assert "clean.safetensors, which this training begins with too, was made for classes to forget as well" in notes(done)


# what may stand as a reference, and what stays asked


def judged(unlearn, model, reference, *more):
    return unlearn("evaluate", model, "--reference", reference, *more, "--json", "--device", "cpu")


def test_a_reference_that_began_where_the_judged_model_did_stands(unlearn, train, tuned):
    _, reference = train(None, "reference", "--like", tuned, "--without-class", "7", quick=PLAIN)
    done = judged(unlearn, tuned, reference, "--class", "7")
    assert done.code == 0, done.err
    assert "began with" not in done.out


def test_a_model_that_saw_the_forget_set_before_is_no_reference_whatever_its_last_training_left_out(unlearn, train, start):
    """Going on without a class is a way to forget it, and no reference."""
    _, tuned = train("low", "tuned", "--weights", start, "--without-class", "3")
    done = judged(unlearn, start, tuned, "--class", "3")
    assert done.code == 2
    assert "tuned.safetensors is no reference: it began with start.safetensors, which was trained on everything" in done.err
    _, clean = train("low", "clean", "--arch", "compact,width=4", "--without-class", "3")
    _, fine = train("low", "fine", "--weights", clean, "--without-class", "3")
    assert judged(unlearn, start, fine, "--class", "3").code == 2       # made for a class that it never saw: nobody can tell
    assert judged(unlearn, start, clean, "--class", "3").code == 0      # the control


def test_a_start_for_a_class_of_the_request_is_said_in_a_note_and_stands_only_beside_a_model_that_began_there(
    unlearn, train, start
):  # fmt: skip
    done, tuned = train("mixed", "tuned", "--weights", start)
    assert "was made for" not in notes(done)
    done, reference = train(None, "reference", "--like", tuned, "--without-class", "3", quick=PLAIN)
    assert "start.safetensors was made for class 3 too" in notes(done)
    done = judged(unlearn, tuned, reference, "--class", "3")
    assert done.code == 0, done.err
    assert "what that knew of class 3, both may know" in done.out
    _, scratch = train("mixed", "scratch", "--arch", "compact,width=4")
    done = judged(unlearn, scratch, reference, "--class", "3")
    assert (done.code, "which was made for class 3 too" in done.err) == (2, True)
    _, other = train(None, "other", "--like", tuned, "--without-class", "5", quick=PLAIN)
    assert judged(unlearn, scratch, other, "--class", "5").code == 0    # of which the start knows nothing


def test_a_start_that_says_nothing_of_its_classes_is_no_beginning_for_a_reference(unlearn, train, start, tmp_path):
    plain = tmp_path / "plain.safetensors"
    save_file(tensors(start), plain)
    _, reference = train("low", "reference", "--weights", plain, "--arch", "compact,width=4", "--without-class", "3")
    done = judged(unlearn, start, reference, "--class", "3")
    assert (done.code, "does not say what that was made for" in done.err) == (2, True)


@pytest.fixture
def forgot(unlearn, start, tmp_path):
    output = tmp_path / "forgot.safetensors"
    done = unlearn("forget", "--method", "lau", "--class", "3", start, "-o", output, *PLAIN)
    assert done.code == 0, done.err
    return output


def test_weights_that_have_learned_go_on_at_a_tenth_of_the_rate_unless_it_is_said(train, start):
    _, gentle = train("low", "gentle", "--weights", start)
    _, said = train("low", "said", "--weights", start, "--set", "lr=0.19")
    anew = store.read(str(start)).record.last.settings["lr"]
    rates = [store.read(str(name)).record.last.settings["lr"] for name in (gentle, said)]
    assert rates == [pytest.approx(anew / 10), 0.19] and anew == 0.19


def test_what_the_start_forgot_stays_asked(unlearn, train, forgot):
    done, again = train("low", "again", "--weights", forgot, "--set", "lr=0.19")
    assert "forgot.safetensors forgot class 3: trained on all the same, unless --without-forgotten is given" in notes(done)
    assert json.loads(unlearn("evaluate", again, "--json", "--device", "cpu").out)["title"] == "again.safetensors: forgot class 3"
    assert unlearn("evaluate", again, "--require", "forget_accuracy<=0.01", "--device", "cpu").code == 1
    done, without = train("low", "without", "--weights", forgot, "--without-forgotten")
    assert done.code == 0, done.err
    last = store.read(str(without)).record.last
    assert (last.request.classes, last.images_read["retain"] % 60) == (["3"], 0)
    _, third = train("low", "third", "--weights", again, "--without-class", "2", "--without-forgotten")
    assert store.read(str(third)).record.last.request.classes == ["2", "3"]


def test_a_start_that_forgot_nothing_leaves_nothing_out(train, start):
    done, _ = train("low", "again", "--weights", start, "--without-forgotten")
    assert (done.code, "start.safetensors has forgotten nothing yet" in done.err) == (2, True)


def test_classes_that_the_start_forgot_and_these_images_have_not_are_said(train, forgot):
    done, _ = train("high", "again", "--weights", forgot, "--without-forgotten")
    assert done.code == 0, done.err
    assert "forgot.safetensors forgot class 3, and these images have no such class" in notes(done)


def test_what_was_forgotten_on_other_classes_is_never_passed_over_nor_taken_for_one_of_these(unlearn, train, forgot, tmp_path):
    """Class 3 of the start is a name there, and would be an index here."""
    _, tuned = train("named", "tuned", "--weights", forgot)
    done = unlearn("evaluate", tuned, "--device", "cpu")
    assert (done.code, "asked to forget class 3 before it was trained on images of other classes" in done.err) == (2, True)
    assert unlearn("evaluate", tuned, "--only-last", "--device", "cpu").code == 2
    after = tmp_path / "after.safetensors"
    done = unlearn("forget", "--method", "fine-tune", "--class", "five", tuned, "-o", after, "--set", "epochs=1", *PLAIN)
    assert done.code == 0, done.err
    assert store.read(str(after)).record.last.images_read["retain"] == 60      # of all the others
    assert unlearn("evaluate", after, "--device", "cpu").code == 2
    done = unlearn("evaluate", after, "--only-last", "--json", "--device", "cpu")
    assert (done.code, "that is not judged" in notes(done)) == (0, True)
    assert json.loads(done.out)["title"] == "after.safetensors: forgot class five"


NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_classes=4):
        super().__init__(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes))
"""


def test_code_of_the_users_is_named_on_the_command_line_each_time(train, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    named = ("--arch", f"{tmp_path / 'net.py'}:Net")
    _, start = train("low", "start", *named, "--size", "28")
    done, tuned = train("high", "tuned", "--weights", start, *named)
    assert done.code == 0, done.err
    assert same(train(None, "again", "--like", tuned, *named, quick=PLAIN)[1], tuned)
    for done, output in (train("high", "out", "--weights", start), train(None, "out", "--like", tuned, quick=PLAIN)):
        assert (done.code, output.exists()) == (2, False)
        assert "code that only the command line may name" in done.err


def test_pretrained_begins_with_the_weights_of_the_library_and_says_which(train, monkeypatch, tmp_path):
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    theirs, asked = models.squeezenet1_1(num_classes=1000).state_dict(), []

    def download(weights, **given):
        asked.append((str(weights), given["weights_only"]))
        return dict(theirs)

    monkeypatch.setattr(models.SqueezeNet1_1_Weights, "get_state_dict", download)
    arch = ("--arch", "torchvision/squeezenet1_1", "--size", 32)
    still = ("--precision", "float32", "--device", "cpu", "--epochs", 1, *STILL)
    done, output = train("low", "own", *arch, "--pretrained", quick=still)
    assert done.code == 0, done.err
    assert asked == [("SqueezeNet1_1_Weights.IMAGENET1K_V1", True)], "tensors alone are read, nothing is unpickled"
    record, source = store.read(str(output)).record, store.read(str(output)).record.last.source
    assert source.name == "torchvision/squeezenet1_1.IMAGENET1K_V1" and source.digest == store.digest(theirs)
    assert record.mean == pytest.approx([0.485, 0.456, 0.406]) and len(record.classes) == 4
    assert "the head is new" in notes(done)
    assert torch.allclose(tensors(output)["features.0.weight"], theirs["features.0.weight"], atol=1e-6)
    fresh, scratch = train("low", "scratch", *arch, quick=still)
    assert fresh.code == 0 and len(asked) == 1, "nothing is fetched unasked"
    assert not torch.allclose(tensors(scratch)["features.0.weight"], theirs["features.0.weight"], atol=1e-3)

    like, reference = train(None, "reference", "--like", output, "--pretrained", "--without-class", "3", quick=PLAIN)
    assert like.code == 0, like.err
    assert store.read(str(reference)).record.last.source.digest == source.digest
    unasked, _ = train(None, "unasked", "--like", output, quick=PLAIN)
    assert unasked.code == 2 and "--like CHECKPOINT --pretrained" in unasked.err and len(asked) == 2
    theirs = {name: tensor + 1 for name, tensor in theirs.items()}
    others, _ = train(None, "others", "--like", output, "--pretrained", quick=PLAIN)
    assert others.code == 2 and "are others now" in others.err


def test_pretrained_weights_that_cannot_be_had_are_one_line(train, monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    timm.models.save_for_hf(timm.create_model("test_resnet", num_classes=4), tmp_path / "folder", safe_serialization=True)
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def fails(*args, **kwargs):
        raise OSError("no route to host\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    done, output = train("low", "model", "--arch", "timm/test_resnet", "--pretrained")
    assert done.code == 2 and "the weights of timm/test_resnet.r160_in1k could not be downloaded (no route to host)" in done.err
    assert not output.exists()
    for given, said in (
        (("--arch", "compact", "--pretrained"), "no library has weights for compact"),
        (("--pretrained",), "none is named"),
        (("--arch", "timm/test_resnet", "--pretrained", "--weights", "x"), "both say what to begin with"),
        (("--weights", tmp_path / "folder", "--channels", 1), "takes images of 3 channels, and --channels says 1"),
        (("--arch", "timm/test_resnet.none"), "timm has no weights 'none' of test_resnet"),
    ):
        done, _ = train("low", "model", *given)
        assert done.code == 2 and said in done.err, given


def test_pretrained_takes_the_file_that_the_hub_has_for_timm(train, monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    huggingface_hub = pytest.importorskip("huggingface_hub")
    theirs = timm.create_model("test_resnet").state_dict()
    save_file(theirs, tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(tmp_path))
    done, output = train("low", "own", "--arch", "timm/test_resnet", "--size", 32, "--pretrained",
                         quick=("--precision", "float32", "--device", "cpu", "--epochs", 1, *STILL))  # fmt: skip
    assert done.code == 0, done.err
    source = store.read(str(output)).record.last.source
    assert source.name == "timm/test_resnet.r160_in1k" and source.digest == store.digest(theirs)
    assert torch.allclose(tensors(output)["conv1.0.weight"], theirs["conv1.0.weight"], atol=1e-6)


def test_a_training_writes_a_file_and_says_so_before_it_begins(unlearn, data):
    done = unlearn("train", data / "low", "-o", "folder/", *QUICK)
    assert done.code == 2 and "names a folder, and a file is to be written" in done.err
