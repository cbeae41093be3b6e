"""Files are read with suspicion: nothing is unpickled, and a hostile or damaged file is one clear line."""

import json
import os
import pickle

import pytest
import torch
from examples import entry, file_of, record, tensors
from safetensors.torch import save_file

from unlearn_cli.checkpoints import store
from unlearn_cli.errors import UnlearnError


def refused(path):
    with pytest.raises(UnlearnError) as raised:
        store.read(str(path))
    assert raised.value.hint
    assert "\n" not in raised.value.problem
    return raised.value.problem


class Bomb:
    """A pickle of this runs code when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_its_payload_does_not_run(tmp_path, protocol):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded"), protocol))
    problem = refused(tmp_path / "model.pt")
    assert "pickle" in problem or protocol < 2
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_save_is_refused_and_its_payload_does_not_run(tmp_path, zipped):
    torch.save(
        {"w": torch.ones(2), "bomb": Bomb(tmp_path / "exploded")},
        tmp_path / "model.pt",
        _use_new_zipfile_serialization=zipped,
    )
    assert "pickled PyTorch file" in refused(tmp_path / "model.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("length", [0x0480, 0x4B50])
def test_a_header_length_that_looks_like_the_start_of_a_pickle_is_none(tmp_path, length):
    text = json.dumps({"w": entry()}).encode().ljust(length)
    assert store.read(str(file_of(tmp_path / "m.safetensors", text, b"\0" * 4))).tensors["w"].tolist() == [0.0]


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "nowhere.safetensors: no such file" in refused(tmp_path / "nowhere.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path):
    assert "is a folder" in refused(tmp_path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "m").write_bytes(b"")
    assert "is empty" in refused(tmp_path / "m")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission_is_named(tmp_path):
    (tmp_path / "m").write_bytes(b"x")
    (tmp_path / "m").chmod(0)
    assert "no permission" in refused(tmp_path / "m")


@pytest.mark.parametrize("content", [b"x", b"hello, this is text\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"\0" * 8, b"{}" * 50])
def test_another_kind_of_file_is_refused(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    assert "is not a whole safetensors file" in refused(tmp_path / "m")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    store.write(str(tmp_path / "whole"), tensors(), record())
    whole = (tmp_path / "whole").read_bytes()
    for length in {*range(1, 20), len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        (tmp_path / "m").write_bytes(whole[:length])
        refused(tmp_path / "m")


DEEP = b'{"w":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
HOSTILE = {
    "a huge header length": ({"w": entry()}, b"\0" * 4, 2**63 - 1),
    "a header length beyond the file": ({"w": entry()}, b"\0" * 4, 10_000),
    "overlapping offsets": ({"a": entry(end=4), "b": entry(end=4)}, b"\0" * 4, None),
    "overlapping parts": ({"a": entry(shape=(2,), end=8), "b": entry(shape=(2,), start=4, end=12)}, b"\0" * 12, None),
    "offsets beyond the file": ({"w": entry(shape=(1000,), end=4000)}, b"\0" * 4, None),
    "offsets that run backwards": ({"w": entry(start=4, end=0)}, b"\0" * 4, None),
    "negative offsets": ({"w": entry(start=-4, end=0)}, b"\0" * 4, None),
    "a hole between tensors": ({"a": entry(), "b": entry(start=8, end=12)}, b"\0" * 12, None),
    "bytes after the tensors": ({"w": entry()}, b"\0" * 400, None),
    "a shape that does not fit its bytes": ({"w": entry(shape=(2,))}, b"\0" * 4, None),
    "a shape whose product overflows": ({"w": entry(shape=(2**32, 2**32), end=0)}, b"", None),
    "a negative shape": ({"w": entry(shape=(-1,))}, b"\0" * 4, None),
    "an unknown type": ({"w": entry("F31")}, b"\0" * 4, None),
    "broken JSON": (b'{"w": {"dtype"', b"", None),
    "no mapping": (b"[1, 2, 3]", b"", None),
    "deep nesting": (DEEP, b"", None),
    "bytes that are not UTF-8": (b'{"\xff": 1}', b"", None),
    "metadata that is no text": ({"__metadata__": {"unlearn": 7}, "w": entry()}, b"\0" * 4, None),
    "no tensors": ({"__metadata__": {"format": "pt"}}, b"", None),
    "an empty header": (b"", b"", None),
}


@pytest.mark.parametrize("header, data, length", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_is_refused(tmp_path, header, data, length):
    refused(file_of(tmp_path / "m.safetensors", header, data, length))


@pytest.mark.parametrize(
    "dtype, size",
    [
        ("F64", 8),
        ("F16", 2),
        ("BF16", 2),
        ("I8", 1),
        ("U8", 1),
        ("BOOL", 1),
        ("I64", 8),
        ("U16", 2),
        ("U32", 4),
        ("U64", 8),
        ("F8_E4M3", 1),
        ("F8_E5M2", 1),
        ("F8_E8M0", 1),
        ("C64", 8),
        ("F4", 1),
    ],
)
def test_every_type_of_the_format_is_read_or_refused_in_words(tmp_path, dtype, size):
    path = file_of(tmp_path / "m", {"w": entry(dtype, (2,), 0, 2 * size)}, b"\0" * 2 * size)
    try:
        assert len(store.read(str(path)).digest) == 64
    except UnlearnError as error:
        assert error.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_weight_that_is_not_finite_is_named(tmp_path, value, dtype):
    save_file({"head.bias": torch.tensor([0.0, value], dtype=dtype)}, tmp_path / "m")
    assert "the tensor head.bias has values that are not finite" in refused(tmp_path / "m")


def test_a_broken_record_is_named(tmp_path):
    save_file(tensors(), tmp_path / "m", {"unlearn": "{"})
    assert "its record is not JSON" in refused(tmp_path / "m")


def test_a_file_without_a_record_is_a_plain_state_dict(tmp_path):
    save_file(tensors(), tmp_path / "m", {"format": "pt"})
    assert store.read(str(tmp_path / "m")).record is None


def test_reading_leaves_the_tensors_free_of_the_file(tmp_path):
    save_file({"w": torch.ones(4)}, tmp_path / "m")
    found = store.read(str(tmp_path / "m"))
    (tmp_path / "m").write_bytes(b"")
    assert found.tensors["w"].tolist() == [1, 1, 1, 1]
