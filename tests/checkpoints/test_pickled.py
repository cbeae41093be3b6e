"""A file of torch.save gives tensors and nothing that runs; whatever cannot be read so is refused by name, with the way out."""

import argparse
import datetime
import io
import os
import pathlib
import pickle
import sys
import types
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from unlearn_cli.checkpoints import pickled, store
from unlearn_cli.errors import UnlearnError


class Bomb:
    """Pickled as a call that makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


class Mine:
    """A class of the user's own."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(what, name="m.pth", **how):
    torch.save(what, name, **how)
    return name


def refused(name):
    with pytest.raises(UnlearnError) as error:
        pickled.read(name)
    assert "\n" not in error.value.problem
    return f"{error.value.problem}\n{error.value.hint}"


ZIPPED = [{"_use_new_zipfile_serialization": zipped} for zipped in (True, False)]


@pytest.mark.parametrize("how", ZIPPED)
def test_tensors_come_back_as_they_were_saved(here, how):
    state = OrderedDict(a=torch.randn(2, 3), b=torch.randn(3).bfloat16(), n=torch.tensor(7))
    found = pickled.read(saved({"state_dict": state, "epoch": 3}, **how))
    assert found["epoch"] == 3
    assert all(torch.equal(found["state_dict"][key], tensor) for key, tensor in state.items())
    assert pickled.read(saved(state, "named.safetensors", **how)).keys() == state.keys()


DATA = {
    "args": argparse.Namespace(lr=0.1, folder=pathlib.Path("/data"), inner=argparse.Namespace(a=1)),
    "pure": pathlib.PureWindowsPath("c:/x"),
    "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "took": datetime.timedelta(seconds=3),
    "best": np.float64(71.5),
    "flag": np.bool_(True),
    "dtype": np.dtype("float32"),
    "mean": np.array([0.1, 0.2]),
    "objects": np.array([{"a": 1}, None], dtype=object),
    "counts": Counter("abc"),
    "by": defaultdict(list, a=[1]),
    "size": torch.Size([1, 2]),
}


@pytest.mark.parametrize("how", ZIPPED)
@pytest.mark.parametrize("key", DATA)
def test_what_is_only_data_is_no_hindrance(here, key, how):
    found = pickled.read(saved({"model": {"w": torch.ones(2)}, key: DATA[key]}, **how))
    assert found["model"]["w"].tolist() == [1, 1]
    assert set(found) == {"model", key}


def test_what_is_only_data_is_not_even_built(here):
    found = pickled.read(saved({key: DATA[key] for key in ("args", "best", "mean", "when")}))
    assert all(isinstance(value, pickled.Nothing) and not vars(value) for value in found.values())


def test_nothing_is_allowed_for_longer_than_the_reading(here):
    before = set(map(str, torch.serialization.get_safe_globals()))
    pickled.read(saved(DATA))
    refused(saved({"x": Mine()}))
    assert set(map(str, torch.serialization.get_safe_globals())) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load("m.pth", weights_only=True)


# nothing runs


def payloads(place):
    yield from (({"state_dict": {"w": torch.ones(2)}, "x": Bomb(place)}, how) for how in ZIPPED)
    yield from ((Bomb(place), how | {"pickle_protocol": protocol}) for how in ZIPPED for protocol in (2, 4))


def test_a_payload_does_not_run_and_no_recipe_would_run_it(here, monkeypatch):
    for force in ("0", "1"):
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
        for what, how in payloads(here / "exploded"):
            said = refused(saved(what, **how))
            assert "mkdir called when it is unpickled" in said
            assert "do not unpickle it" in said
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (here / "plain.pkl").write_bytes(pickle.dumps(Bomb(here / "exploded"), protocol))
        assert "called when it is unpickled" in refused("plain.pkl") or protocol < 2
    assert not (here / "exploded").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load("m.pth", weights_only=False)
    assert (here / "exploded").exists(), "the payload is one"


# what needs more


@pytest.mark.parametrize("how", ZIPPED)
def test_an_object_is_refused_by_its_class_with_two_lines_that_take_its_weights_out(here, how):
    said = refused(saved(nn.Sequential(nn.Linear(2, 2)), **how))
    assert "m.pth is a whole pickled object, of torch.nn.modules.container.Sequential." in said
    lines = said.split("\n")[2:]
    assert len(lines) == 2
    exec("\n".join(line.strip() for line in lines), {})
    assert set(pickled.read("weights.pth")) == {"0.weight", "0.bias"}


def test_an_object_within_a_dictionary_is_named_too(here):
    said = refused(saved({"state_dict": {"w": torch.ones(2)}, "config": Mine()}))
    assert f"m.pth needs full unpickling, of {Mine.__module__}.Mine." in said
    exec("\n".join(line.strip() for line in said.split("\n")[2:]), {})
    assert torch.equal(pickled.read("weights.pth")["w"], torch.ones(2))


@pytest.mark.parametrize("place, recipe", [
    ("ultralytics.nn.tasks.DetectionModel", "YOLO('m.pth').model"), ("fastai.learner.Learner", "load_learner('m.pth').model"),
])  # fmt: skip
def test_libraries_that_save_whole_objects_have_a_line_of_their_own(here, monkeypatch, place, recipe):
    module, _, name = place.rpartition(".")
    kind = type(name, (), {"__module__": module})
    for end in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:end])
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    setattr(sys.modules[module], name, kind)
    said = refused(saved({"model": kind(), "args": Mine()}))
    assert place in said
    assert recipe in said and "torch.save(found.state_dict(), 'weights.pth')" in said


def test_torchscript_is_refused_with_its_recipe(here):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), "m.pt")
        said = refused("m.pt")
        assert "TorchScript archive" in said
        exec("\n".join(line.strip() for line in said.split("\n")[2:]), {})
    assert set(pickled.read("weights.pth")) == {"weight", "bias"}


def test_a_pickle_of_another_form_is_refused_with_its_recipe(here):
    state = {"w": torch.ones(2)}
    (here / "plain.pkl").write_bytes(pickle.dumps(state))
    assert "a pickle that torch.save did not write" in refused("plain.pkl")
    said = refused(saved(state, pickle_protocol=4))
    assert "by protocol 4" in said
    for text in (said, refused("plain.pkl")):
        exec("\n".join(line.strip() for line in text.split("\n")[2:]), {})
        assert torch.equal(pickled.read("weights.pth")["w"], torch.ones(2))


# other files


def test_other_files_are_refused_in_words(here):
    (here / "folder").mkdir()
    (here / "empty").touch()
    (here / "text").write_text("hello, this is text")
    np.savez("arrays.npz", a=np.ones(2))
    store.write_plain("m.safetensors", {"w": torch.ones(2)})
    assert "nowhere.pth: no such file" in refused("nowhere.pth")
    assert "is a folder" in refused("folder")
    assert "is empty" in refused("empty")
    assert "is no file of torch.save" in refused("text")
    assert "none of torch.save" in refused("arrays.npz")
    assert "looks like safetensors" in refused("m.safetensors")
    assert "is a device or a pipe" in refused("/dev/zero")
    os.mkfifo("pipe.pth")
    assert "is a device or a pipe" in refused("pipe.pth")


@pytest.mark.parametrize("how", ZIPPED)
def test_a_file_cut_anywhere_is_refused(here, how):
    whole = pathlib.Path(saved({"w": torch.randn(50)}, **how)).read_bytes()
    for length in {*range(1, 40, 7), *range(40, len(whole) - 1, len(whole) // 12), len(whole) - 1}:
        (here / "cut").write_bytes(whole[:length])
        refused("cut")


def test_a_byte_that_changed_is_noticed(here):
    tensor = torch.randn(500)
    whole = pathlib.Path(saved({"w": tensor})).read_bytes()
    at = whole.index(tensor.numpy().tobytes()[:16])
    (here / "changed").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert not torch.equal(torch.load("changed", weights_only=True)["w"], tensor), "torch does not notice"
    assert "truncated or damaged" in refused("changed")


def test_an_archive_that_was_packed_again_is_not_read_as_it_lies(here):
    with zipfile.ZipFile(saved({"w": torch.zeros(500)})) as one, zipfile.ZipFile("packed", "w", zipfile.ZIP_DEFLATED) as other:
        for entry in one.namelist():
            other.writestr(entry, one.read(entry))
    assert "truncated or damaged" in refused("packed")


def test_a_pickle_that_makes_no_sense_is_refused(here):
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    for text in (b"\x80\x02.", b"\x80\x02}q\x00h\x07.", b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.", b"\x80\x02K\x05b."):
        with zipfile.ZipFile(buffer) as one, zipfile.ZipFile("odd", "w") as other:
            for entry in one.namelist():
                other.writestr(entry, text if entry.endswith("data.pkl") else one.read(entry))
        refused("odd")
