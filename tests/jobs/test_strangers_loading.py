"""A state dict from elsewhere: its names, its counters, and which of its outputs is which class."""

import json
import unicodedata
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearn_cli.cases import class_order, plausibility
from unlearn_cli.cases.plausibility import doubted, sample
from unlearn_cli.cases.references import refuse_twins
from unlearn_cli.cases.unlearning import in_own_types, unchanged
from unlearn_cli.checkpoints import store
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.images import Images
from unlearn_cli.errors import UnlearnError

PLAIN = ("--arch", "compact,width=8", "--mean", "0.305", "--std", "0.325", "--precision", "float32")
NATURAL = ",".join(str(i) for i in range(1, 11))


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def folders(here, names):
    """The digits 0, 1, .. under other names, in a folder called photos."""
    for part in ("train", "test"):
        (here / "photos" / part).mkdir(parents=True)
        for digit, name in enumerate(names):
            (here / "photos" / part / name).symlink_to((here / "digits" / part / str(digit)).resolve())


def plain(here, name="plain.safetensors", **changes):
    """The classifier of the digits as a stranger would keep it; its outputs are the digits from 0 on."""
    save_file(load_file(here / "model.safetensors") | changes, name)
    return name


def order_of_heads(here, order):
    """The classifier with its outputs in another order."""
    tensors = load_file(here / "model.safetensors")
    return plain(here, **{key: tensors[key][order].contiguous() for key in ("head.weight", "head.bias") if key in tensors})


def forget(unlearn, *arguments, data="photos", name="plain.safetensors"):
    return unlearn("forget", name, "-m", "mask", *PLAIN, "--data", data, "-o", "out.safetensors", "--force", *arguments)


# names and counters


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_a_prefix_changes_neither_what_is_forgotten_nor_a_single_output(unlearn, here, prefix):
    tensors = load_file(plain(here))
    save_file({prefix + key: tensor for key, tensor in tensors.items()}, "wrapped.safetensors")
    assert forget(unlearn, "--class", "3", data="digits").code == 0
    theirs = store.read("out.safetensors")
    done = forget(unlearn, "--class", "3", data="digits", name="wrapped.safetensors")
    assert done.code == 0
    assert f"the prefix {prefix} was taken off every tensor's name of wrapped.safetensors" in done.out + done.err
    ours = store.read("out.safetensors")
    assert ours.digest == theirs.digest
    assert ours.record.lineage[-1].source.digest == store.read("wrapped.safetensors").digest
    verdict = unlearn("evaluate", "out.safetensors", "--verify", "output", "--original", "wrapped.safetensors", *PLAIN)
    assert verdict.code == 0, verdict.err


def test_of_a_plain_and_an_averaged_copy_the_plain_one_forgets_and_the_output_holds_no_other(unlearn, here):
    tensors = load_file(plain(here))
    averaged = {f"ema_model.module.{key}": tensor + 1 for key, tensor in tensors.items()}
    save_file({f"model.{key}": tensor for key, tensor in tensors.items()} | averaged, "both.safetensors")
    for name in ("plain.safetensors", "both.safetensors"):
        done = forget(unlearn, "--class", "3", data="digits", name=name)
        assert done.code == 0, done.err
        store.write_plain(f"out-{name}", load_file("out.safetensors"))
    assert load_file("out-both.safetensors").keys() == tensors.keys()
    assert store.read("out-both.safetensors").digest == store.read("out-plain.safetensors").digest


def test_of_two_plain_copies_none_forgets(unlearn, here):
    tensors = load_file(plain(here))
    copies = {f"{name}.{key}": tensor + i for i, name in enumerate(("student", "teacher")) for key, tensor in tensors.items()}
    save_file(copies, "two.safetensors")
    done = forget(unlearn, "--class", "3", data="digits", name="two.safetensors")
    assert done.code == 2
    assert "it holds 2 copies of the network, under student., teacher." in done.err
    assert not (here / "out.safetensors").exists()


def test_the_original_in_a_wrapper_is_no_reference(unlearn, here):
    save_file({f"module.{key}": tensor for key, tensor in load_file("model.safetensors").items()}, "wrapped.safetensors")
    assert unlearn("forget", "model.safetensors", "-m", "mask", "--class", "3", "-o", "out.safetensors").code == 0
    for more in ((), ("--verify", "output")):
        done = unlearn("evaluate", "out.safetensors", "--reference", "wrapped.safetensors", *PLAIN, *more)
        assert done.code == 2
        assert "wrapped.safetensors is no reference: it is what out.safetensors was made from" in done.err


def test_the_original_out_of_its_wrapper_is_no_reference(unlearn, here):
    save_file({f"module.{key}": tensor for key, tensor in load_file("model.safetensors").items()}, "wrapped.safetensors")
    assert forget(unlearn, "--class", "3", data="digits", name="wrapped.safetensors").code == 0
    (here / "wrapped.safetensors").unlink()
    done = unlearn("evaluate", "out.safetensors", "--reference", plain(here), *PLAIN)
    assert done.code == 2
    assert "plain.safetensors is no reference: it is what out.safetensors was made from" in done.err
    save_file(load_file("without-3.safetensors"), "theirs.safetensors")
    assert unlearn("evaluate", "out.safetensors", "--reference", "theirs.safetensors", *PLAIN).code == 0


def test_a_reference_in_two_types_counts_once(unlearn, here):
    assert unlearn("forget", "model.safetensors", "-m", "mask", "--class", "3", "-o", "out.safetensors").code == 0
    save_file({key: tensor.double() for key, tensor in load_file("without-3.safetensors").items()}, "wide.safetensors")
    done = unlearn("evaluate", "out.safetensors", "--reference", "without-3.safetensors", "--reference", "wide.safetensors", *PLAIN,
                   "--json")  # fmt: skip
    assert "wide.safetensors is the same model as without-3.safetensors: counted once" in json.loads(done.out)["notes"]


def halved(name, kind=torch.bfloat16):
    return {key: tensor.to(kind) if tensor.is_floating_point() else tensor for key, tensor in load_file(name).items()}


def test_the_original_in_half_precision_is_no_reference_and_a_reference_in_it_counts_once(unlearn, here):
    assert unlearn("forget", "model.safetensors", "-m", "mask", "--class", "3", "-o", "out.safetensors").code == 0
    save_file(halved("model.safetensors"), "narrow.safetensors")
    done = unlearn("evaluate", "out.safetensors", "--reference", "narrow.safetensors", "--verify", "output", *PLAIN)
    assert (done.code, "narrow.safetensors is no reference: it is model.safetensors itself" in done.err) == (2, True)
    save_file(halved("without-3.safetensors", torch.float16), "other.safetensors")
    done = unlearn("evaluate", "out.safetensors", "--reference", "without-3.safetensors", "--reference", "other.safetensors",
                   *PLAIN, "--json")  # fmt: skip
    assert done.code == 0
    assert "other.safetensors is the same model as without-3.safetensors: counted once" in json.loads(done.out)["notes"]


def test_the_weights_from_which_half_precision_was_made_are_no_reference(unlearn, here):
    save_file(halved("model.safetensors"), "narrow.safetensors")
    assert forget(unlearn, "--class", "3", data="digits", name="narrow.safetensors").code == 0
    done = unlearn("evaluate", "out.safetensors", "--reference", plain(here), *PLAIN)
    assert (done.code, "plain.safetensors is no reference: it is what out.safetensors was made from" in done.err) == (2, True)


def test_what_a_method_made_of_a_strangers_model_is_no_reference(unlearn, here):
    name, command = plain(here), ("forget", "plain.safetensors", "--class", "3", *PLAIN, "--data", "digits")
    for output, more in (("out.safetensors", ("-m", "mask")), ("theirs.safetensors", ("-m", "neg-grad", "--set", "epochs=1")),
                         ("new.safetensors", ("-m", "retrain", "--set", "epochs=1"))):  # fmt: skip
        assert unlearn(*command, *more, "-o", output).code == 0
    done = unlearn("evaluate", "out.safetensors", "--reference", "theirs.safetensors")
    assert (done.code, f"it was trained on all that {name} was" in done.err) == (2, True)
    assert unlearn("evaluate", "out.safetensors", "--reference", "new.safetensors").code == 0


def test_a_reference_that_answers_as_the_original_is_the_original_whatever_its_weights_are_called():
    logits = torch.randn(20, 4)
    for near, refused in ((logits + 1e-5, True), (logits + 0.1, False), (logits[:, :3], False)):
        if refused:
            with pytest.raises(UnlearnError, match="b is no reference: it answers every image as a does"):
                refuse_twins([("b", near)], [("a", logits)])
        else:
            refuse_twins([("b", near)], [("a", logits)])
    refuse_twins([("b", torch.zeros(20, 4))], [("a", torch.zeros(20, 4))])     # two that collapsed


def test_another_network_is_no_original(unlearn, here):
    """A limit relative to one that knows less would hold sooner."""
    assert unlearn("forget", "model.safetensors", "-m", "mask", "--class", "3", "-o", "out.safetensors").code == 0
    command = ("evaluate", "out.safetensors", "--require", "retain_test_accuracy>=original-0.01", "--original")
    done = unlearn(*command, "without-3.safetensors")
    assert (done.code, "without-3.safetensors is not the model that out.safetensors was made from" in done.err) == (2, True)
    for name in ("model.safetensors", plain(here)):
        assert unlearn(*command, name, *PLAIN).code == 0
    save_file({f"module.{key}": tensor for key, tensor in load_file("model.safetensors").items()}, "wrapped.safetensors")
    assert unlearn(*command, "wrapped.safetensors", *PLAIN).code == 0


def test_a_change_that_the_files_type_does_not_hold_is_none():
    layer = torch.nn.Linear(2, 2)
    kept = {key: tensor.bfloat16() for key, tensor in layer.state_dict().items()}
    layer.load_state_dict({key: tensor.float() * (1 + 1e-6) for key, tensor in kept.items()})
    loaded = SimpleNamespace(model=layer, checkpoint=SimpleNamespace(tensors=kept))
    assert unchanged(loaded, in_own_types(loaded))
    layer.weight.data *= 1.1
    assert not unchanged(loaded, in_own_types(loaded))


HELPED = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, helper=True):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten())
        self.head = nn.Linear(36, num_classes)
        if helper:
            self.aux = nn.Linear(36, num_classes)

    def forward(self, x):
        x = self.body(x)
        return (self.head(x), self.aux(x)) if self.training and hasattr(self, "aux") else self.head(x)
"""


def test_a_network_with_a_classifier_that_only_helped_its_training_is_not_said_to_have_forgotten(unlearn, here):
    """It knows the class by itself, and whoever has the file may ask it."""
    (here / "net.py").write_text(HELPED)
    quick = ("--epochs", "1", "--precision", "float32", "--device", "cpu", "-q")
    for output, arch in (("helped.safetensors", "./net.py:Net"), ("alone.safetensors", "./net.py:Net,helper=false")):
        assert unlearn("train", "digits", "--arch", arch, "-o", output, *quick).code == 0
    command = ("-m", "mask", "--class", "3", "--arch", "./net.py:Net", "-o", "out.safetensors")
    done = unlearn("forget", "helped.safetensors", *command)
    assert (done.code, (here / "out.safetensors").exists()) == (2, False)
    assert "net.py:Net has a second classifier of its classes, 'aux', that no answer is made of" in done.err
    assert unlearn("forget", "alone.safetensors", *command).code == 0


def test_counters_may_be_missing_or_halved(unlearn, here):
    tensors = load_file("model.safetensors")
    counters = [key for key in tensors if key.endswith("num_batches_tracked")]
    assert counters
    save_file({key: tensor for key, tensor in tensors.items() if key not in counters}, "missing.safetensors")
    save_file({key: tensor.half() for key, tensor in tensors.items()}, "half.safetensors")
    save_file(tensors | {key: torch.tensor(1e6).half() for key in counters}, "overflowed.safetensors")
    for name in ("missing.safetensors", "half.safetensors", "overflowed.safetensors"):
        done = forget(unlearn, "--class", "3", data="digits", name=name)
        assert done.code == 0, done.err
        written = load_file("out.safetensors")
        assert all((written[key].dtype, written[key].shape) == (torch.int64, ()) for key in counters)
    assert load_file("out.safetensors").keys() == tensors.keys()


# the order of the classes


@pytest.fixture
def natural(here):
    """Folders 1 to 10, which sort as 1, 10, 2, .., and a head in the order of the numbers."""
    folders(here, NATURAL.split(","))
    return plain(here)


def test_a_head_in_natural_order_is_not_edited_in_alphabetical(unlearn, natural, here):
    done = forget(unlearn, "--class", "10")
    assert done.code == 2
    assert "no better than guessing" in done.err
    assert "in natural order it would be 1" in done.err
    assert f"--class-names {NATURAL}" in done.err
    assert not (here / "out.safetensors").exists()


def test_with_its_order_given_the_right_output_is_edited(unlearn, natural):
    before = load_file(natural)
    assert forget(unlearn, "--class", "10", "--class-names", NATURAL).code == 0
    after = store.read("out.safetensors")
    assert after.record.classes == NATURAL.split(",")
    changed = (after.tensors["head.bias"] != before["head.bias"]).nonzero().flatten().tolist()
    assert changed == [9]                                                # the tenth digit, and no other
    held = unlearn("evaluate", "out.safetensors", *PLAIN, "--original", natural, "--verify", "output")
    assert held.code == 0, held.err


def test_the_order_may_stand_in_a_file_with_a_byte_order_mark_and_carriage_returns(unlearn, natural, here):
    (here / "names.txt").write_bytes(b"\xef\xbb\xbf" + NATURAL.replace(",", "\r\n").encode() + b"\r\n\r\n")
    assert forget(unlearn, "--class", "10", "--class-names", "names.txt").code == 0
    assert store.read("out.safetensors").record.classes == NATURAL.split(",")


@pytest.mark.parametrize("command", ["evaluate", "relearn", "compare"])
def test_no_command_judges_in_the_wrong_order(unlearn, natural, command):
    done = unlearn(command, natural, *PLAIN, "--data", "photos", "--class", "10")
    assert (done.code, done.out) == (2, "")
    assert "no better than guessing" in done.err


def test_an_original_in_another_order_than_the_judged_model_is_refused(unlearn, natural):
    assert forget(unlearn, "--class", "10", "--class-names", NATURAL).code == 0
    order = sorted(range(10), key=lambda i: str(i + 1))
    tensors = load_file(natural)
    save_file(tensors | {key: tensors[key][order].contiguous() for key in ("head.weight", "head.bias")}, "sorted.safetensors")
    done = unlearn("evaluate", "out.safetensors", *PLAIN, "--original", "sorted.safetensors", "--verify", "output")
    assert done.code == 2
    assert "sorted.safetensors gives" in done.err


def test_an_order_that_is_mostly_right_by_accident_is_still_refused(unlearn, here):
    names = ["1", "2", "3", "4", "5", "6", "7", "img9", "img10", "z"]           # two of ten change places
    folders(here, names)
    plain(here)
    done = forget(unlearn, "--class", "img10")
    assert done.code == 2
    assert "in natural order it would be" in done.err
    assert forget(unlearn, "--class", "img10", "--class-names", ",".join(names)).code == 0


def test_two_outputs_in_each_others_places_are_named(unlearn, here):
    order_of_heads(here, [0, 1, 2, 5, 4, 3, 6, 7, 8, 9])
    done = forget(unlearn, "--class", "3", data="digits")
    assert done.code == 2
    assert "images of 3 are answered as 5" in done.err


def test_the_users_word_stands_with_a_note(unlearn, here):
    torch.manual_seed(0)
    head = load_file("model.safetensors")["head.weight"]
    plain(here, **{"head.weight": torch.randn_like(head)})
    assert forget(unlearn, "--class", "3", data="digits").code == 2
    done = forget(unlearn, "--class", "3", "--class-names", "0,1,2,3,4,5,6,7,8,9", data="digits")
    assert done.code == 0
    assert "no better than guessing" in done.out + done.err


def test_a_model_that_forgot_a_class_is_no_stranger(unlearn, here):
    for name in ("without-3.safetensors", "mask.safetensors"):
        if name.startswith("mask"):
            assert unlearn("forget", "model.safetensors", "-m", "mask", "--class", "3", "-o", name).code == 0
        save_file(load_file(name), "plain.safetensors")
        done = unlearn("evaluate", "plain.safetensors", *PLAIN, "--data", "digits", "--class", "3")
        assert done.code == 0, done.err


def test_the_look_changes_no_tensor_and_counts_no_image(unlearn, here):
    assert unlearn("forget", "model.safetensors", "-m", "neg-grad", "--class", "3", "--set", "epochs=1", *PLAIN[-2:], "-o",
                   "known.safetensors").code == 0  # fmt: skip
    record = store.read("model.safetensors").record
    mean, std = ("--mean", ",".join(map(repr, record.mean))), ("--std", ",".join(map(repr, record.std)))
    plain(here)
    given = (*PLAIN[:2], *PLAIN[-2:], *mean, *std)
    done = unlearn("forget", "plain.safetensors", "-m", "neg-grad", "--class", "3", "--set", "epochs=1", *given, "--data", "digits",
                   "-o", "out.safetensors")  # fmt: skip
    assert done.code == 0, done.err
    one, other = store.read("known.safetensors"), store.read("out.safetensors")
    assert one.digest == other.digest
    assert one.record.lineage[-1].images_read == other.record.lineage[-1].images_read


@pytest.mark.parametrize(
    "names, problem",
    [
        ("1,2,3", "names 3 of 10 classes: 0, 4, 5, 6, 7 and 2 more of digits is missing"),
        ("0,1,2,3,4,5,6,7,8,8", "names 8 more than once"),
        ("0,1,2,3,4,5,6,7,8,9,10", "names 10, and digits has no such folder"),
        ("0,1,2,3,4,5,6,7,8,09", "names 09, and digits has no such folder"),
        ("nowhere.txt", "no such file, and no list of names"),
        ("0,1,,2", "has an empty name"),
    ],
)
def test_names_that_are_no_order_of_the_classes_are_refused(unlearn, here, names, problem):
    plain(here)
    done = forget(unlearn, "--class", "3", "--class-names", names, data="digits")
    assert done.code == 2
    assert problem in done.err


def test_a_record_is_not_contradicted(unlearn, here):
    command = ("forget", "model.safetensors", "-m", "mask", "--class", "3", "-o", "out.safetensors")
    assert "has a record of its classes" in unlearn(*command, "--class-names", "9,8,7,6,5,4,3,2,1,0").err
    assert unlearn(*command, "--class-names", "0,1,2,3,4,5,6,7,8,9").code == 0


def test_a_record_names_its_folders_however_their_letters_are_composed(unlearn, here):
    composed, taken_apart = (unicodedata.normalize(form, "fenêtre") for form in ("NFC", "NFD"))
    assert composed != taken_apart
    names = [*map(str, range(9)), composed]
    folders(here, [*names[:9], taken_apart])
    found = store.read("model.safetensors")
    store.write("named.safetensors", found.tensors, found.record.model_copy(update={"classes": names}))
    command = ("named.safetensors", "-m", "mask", "--data", "photos", "-o", "out.safetensors")
    done = unlearn("forget", *command, "--class", composed)
    assert done.code == 0, done.err
    names[9] = "fenetre"
    store.write("named.safetensors", found.tensors, found.record.model_copy(update={"classes": names}), force=True)
    assert "does not match the folders" in unlearn("forget", *command, "--class", "fenetre", "--force").err


# the judgement itself


def answers(classes, each, places):
    """What a faultless network says whose output places[k] is the k-th class."""
    y = torch.arange(classes).repeat_interleave(each)
    return torch.tensor(places)[y], y


def names(count):
    return sorted(str(i) for i in range(count))


def test_few_images_are_looked_at_and_some_of_each_class():
    for classes, each, looked in ((10, 100, 200), (1000, 30, 2000), (3, 4, 12), (5000, 2, 2000)):
        labels = torch.arange(classes).repeat_interleave(each)
        chosen = sample(labels, classes)
        counts = labels[chosen].bincount(minlength=classes)
        assert len(chosen) == looked == len(chosen.unique())
        assert counts.max() - counts.min() <= (classes > 2000)
    assert len(sample(torch.zeros(0, dtype=torch.int64), 3)) == 0
    assert set(sample(torch.tensor([2, 0, 2]), 4).tolist()) == {0, 1, 2}


def test_faultless_answers_raise_no_doubt():
    for classes in (2, 10, 1000):
        assert doubted(*answers(classes, 2, range(classes)), names(classes), original=True) is None


def test_one_class_that_is_always_another_is_bad_and_no_other_order():
    for original in (True, False):
        assert doubted(*answers(10, 20, [0, 1, 2, 5, 4, 5, 6, 7, 8, 9]), names(10), original) is None


def test_classes_in_each_others_places_raise_a_doubt_of_an_original_alone():
    said, y = answers(10, 20, [0, 1, 2, 5, 4, 3, 6, 7, 8, 9])
    assert "20 of 20 images of 3 are answered as 5" in doubted(said, y, names(10), original=True).why
    assert doubted(said, y, names(10), original=False) is None
    assert doubted(*answers(10, 20, [1, 2, 3, 4, 5, 0, 6, 7, 8, 9]), names(10), original=False) is not None


def test_of_a_folder_with_some_of_the_classes_these_alone_tell_whether_most_are_in_each_others_places():
    """Whether a thousand others are in place nobody has seen."""
    for places, doubt in (([1, 2, 0, 3, 4], True), ([0, 1, 2, 3, 4], False)):
        assert (doubted(*answers(5, 20, places), names(1000), original=False) is not None) == doubt


def test_a_class_that_is_always_answered_as_one_without_images_raises_a_doubt_of_an_original():
    """Two names in each other's places, of which the folder has one: the row of the other would be edited."""
    said, y = answers(5, 20, [0, 1, 2, 8, 4])
    doubt = doubted(said, y, names(10), original=True)
    assert doubt.why == "20 of 20 images of 3 are answered as 8, of which it has none"
    assert doubted(said, y, names(10), original=False) is None                  # it may have forgotten 3
    said[:60], y[:60] = 0, 0
    said[60:80:2] = 3
    assert doubted(said, y, names(10), original=True) is None                   # a class that is often taken for another


def test_names_in_each_others_places_are_not_believed_where_the_folder_has_one_of_them(unlearn, here):
    for part in ("train", "test"):
        (here / "some" / part).mkdir(parents=True)
        for digit, name in enumerate(("zero", "one", "two", "three", "four")):
            (here / "some" / part / name).symlink_to((here / "digits" / part / str(digit)).resolve())
    command = ("--class", "three", "--labels")
    done = forget(unlearn, *command, "zero,one,two,eight,four,five,six,seven,three,nine", data="some", name=plain(here))
    assert (done.code, "images of three are answered as eight, of which it has none" in done.err) == (2, True)
    assert "--class-names" not in done.err
    assert forget(unlearn, *command, "zero,one,two,three,four,five,six,seven,eight,nine", data="some").code == 0


def test_two_images_of_two_alike_classes_are_too_few_for_a_doubt():
    places = list(range(1000))
    places[3], places[5] = 5, 3
    assert doubted(*answers(1000, 2, places), names(1000), original=True) is None
    turned = [(k + 1) % 200 if k < 200 else k for k in range(1000)]
    assert doubted(*answers(1000, 2, turned), names(1000), original=True) is not None


@pytest.mark.parametrize("classes", [["a", "B", "c"], ["10", "9"], ["i1", "i10", "i2"], ["-1", "-2", "0"], ["a_c", "ab", "b"]])
def test_the_usual_orders_are_each_once_and_none_is_the_one_at_hand(classes):
    found = [order for _, order in class_order.usual(sorted(classes))]
    assert found
    assert sorted(classes) not in found
    assert all(sorted(order) == sorted(classes) for order in found)
    assert len({tuple(order) for order in found}) == len(found)


def test_every_usual_order_is_told_from_another():
    classes = ["B10", "B9", "a_1", "a1", "c"]
    for words, order in class_order.usual(sorted(classes)):
        places = [order.index(name) for name in sorted(classes)]
        assert doubted(*answers(5, 20, places), sorted(classes), original=True) is not None, words


def test_without_images_the_look_is_left_out():
    none = torch.zeros(0, dtype=torch.int64)
    folder = Folder("photos", ["a", "b"], "", Images("photos", [], none, none.bool(), 28, 1, torch.zeros(0, 28, 28, 1).byte()))
    told = plausibility.checked(None, None, "head", folder, "plain.safetensors", original=True, given=False)
    assert told == ["there are no images to tell whether the classes of plain.safetensors are in the order of the folders"]
