"""What is kept is made once for what it depends on, and again where the file is not what it should be."""

import os
import shutil

import pytest
import torch

from unlearn_cli.engine import kept as keeping
from unlearn_cli.engine.kept import kept


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def get(new_run, cache):
    """Ask for something under a key; `get.made` is the keys that it was made for."""

    def ask(*key, rows=2, run=None):
        def make():
            made.append(key)
            return {"x": torch.full((rows,), float(len(made)), dtype=torch.float64)}

        return kept(run or new_run(), "thing", key, make, lambda found: "x" in found and len(found["x"]) == rows)["x"].tolist()

    made = ask.made = []
    return ask


def test_it_is_made_once_for_each_key(get, cache):
    assert [get("a"), get("a"), get("b"), get("a", 1), get("a")] == [[1, 1], [1, 1], [2, 2], [3, 3], [1, 1]]
    assert get.made == [("a",), ("b",), ("a", 1)]
    assert len(list(cache.glob("thing-*.safetensors"))) == len(list(cache.iterdir())) == 3


SPOILED = [
    lambda whole: b"damaged", lambda whole: whole[:-3], lambda whole: b"", lambda whole: whole.replace(b'"x"', b'"y"'),
    lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_damaged_file_is_made_again_and_is_whole_afterwards(get, cache, spoil):
    get("a")
    (path,) = cache.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    assert [get("a"), get("a")] == [[2, 2], [2, 2]]


def test_a_file_under_another_name_is_not_taken_for_it(get, cache):
    get("a")
    (one,) = cache.iterdir()
    get("b")
    (other,) = set(cache.iterdir()) - {one}
    shutil.copy(one, other)
    assert [get("b"), get("a")] == [[3, 3], [1, 1]]


def test_those_not_used_for_the_longest_go_first_and_other_kinds_stay(get, cache, monkeypatch):
    for key in "abc":
        get(key)
    files = {key: keeping.place("thing", (key,)) for key in "abc"}
    another = cache / "another-kind.safetensors"
    for age, path in enumerate([files["b"], files["a"], files["c"], shutil.copy(files["a"], another)]):
        os.utime(path, (1000 - age, 1000 - age))
    monkeypatch.setattr(keeping, "MOST", int(3.5 * another.stat().st_size))
    get("c")                                                            # used now
    get("d")
    assert [key for key, path in files.items() if path.exists()] == ["b", "c"] and another.exists()


def test_a_file_of_another_shape_is_made_again(get):
    get("a", rows=3)
    assert get("a") == [2, 2]


def test_a_folder_that_takes_no_file_costs_time_only(get, cache):
    cache.write_text("a file where the folder should be")
    assert [get("a"), get("a")] == [[1, 1], [2, 2]]


def test_what_is_too_large_is_used_and_not_kept(get, cache, monkeypatch):
    monkeypatch.setattr(keeping, "LARGEST", 15)
    assert [get("a"), get("a")] == [[1, 1], [2, 2]]
    assert not cache.exists()


def test_what_one_of_several_processes_lacks_all_make(get, new_run):
    get("a")
    run = new_run(world=2)
    run.ranks.sum_ = lambda tensor: tensor              # the other one has found nothing
    run.ranks.wait = lambda: None
    assert get("a", run=run) == [2, 2]
    run.ranks.sum_ = lambda tensor: tensor * 2          # and now it has
    assert get("a", run=run) == [2, 2]
