"""Checkpoint folders on disk: what is read of them, and what is refused with the name that shows why."""

import json
import pickle
import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file

from unlearn_cli.checkpoints import card, folders, store
from unlearn_cli.checkpoints.record import RequestRecord, Source, Step
from unlearn_cli.errors import UnlearnError

CONFIG = {"architecture": "resnet18", "num_classes": 2, "label_names": ["a", "b"], "pretrained_cfg": {"input_size": [3, 32, 32]}}
TENSORS = {"one": torch.arange(6.0).reshape(2, 3), "two": torch.ones(3), "three": torch.zeros(2, dtype=torch.int64)}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "net"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    save_file(TENSORS, place / "model.safetensors")
    return place


def shard(folder, **more):
    """The same tensors in two files; more for the index."""
    (folder / "model.safetensors").unlink()
    parts = {"model-00001-of-00002.safetensors": ["one"], "model-00002-of-00002.safetensors": ["two", "three"]}
    for file, names in parts.items():
        save_file({name: TENSORS[name] for name in names}, folder / file)
    told = {name: file for file, names in parts.items() for name in names} | more
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 52}, "weight_map": told}))


def refused(path):
    with pytest.raises(UnlearnError) as caught:
        store.read(str(path))
    assert "\n" not in caught.value.problem
    return f"{caught.value.problem} {caught.value.hint}"


def test_a_folder_is_read_as_its_file_is(folder):
    whole, file = store.read(str(folder)), store.read(str(folder / "model.safetensors"))
    assert whole.digest == file.digest == store.read(f"{folder}/").digest
    assert (whole.name, whole.path, whole.folder) == ("net", folder, folder)
    assert whole.described.architecture == "timm/resnet18" and file.described is None


def test_the_working_folder_has_a_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert store.read(".").name == "net"


def test_shards_have_the_digest_of_the_one_file_that_they_were(folder):
    whole = store.read(str(folder)).digest
    shard(folder)
    assert store.read(str(folder)).digest == whole
    save_file(TENSORS | {"two": torch.zeros(3)}, folder / "model.safetensors")      # a control: the libraries prefer the one file
    assert store.read(str(folder)).digest != whole


def test_shards_that_are_not_what_the_index_says_are_refused(folder):
    outside = folder.parent / "outside.safetensors"
    save_file({"four": torch.ones(1)}, outside)
    shutil.copytree(folder, folder.parent / "again")
    shard(folder, four="../outside.safetensors")
    assert "'../outside.safetensors', which is not one in the folder" in refused(folder)
    for place in (str(outside), "sub/outside.safetensors", "..", "model.bin", ""):
        shutil.rmtree(folder)
        shutil.copytree(folder.parent / "again", folder)
        shard(folder, four=place)
        assert "which is not one in the folder" in refused(folder)
    index = folder / "model.safetensors.index.json"
    first = "model-00001-of-00002.safetensors"
    for told, words in (
        ({"one": 3}, "does not say which tensor"),
        ({}, "does not say which tensor"),
        ([], "does not say which tensor"),
        ({"one": "model-00003-of-00003.safetensors"}, "lacks model-00003-of-00003"),
        ({"one": first, "x": first}, "x is in one of them"),
    ):
        index.write_text(json.dumps({"weight_map": told}))
        assert words in refused(folder)
    index.write_text('{"weight_map": {"one": "a.safetensors", "one": "b.safetensors"}}')
    assert "a key repeats" in refused(folder)


def test_a_tensor_in_two_shards_is_refused(folder):
    shard(folder)
    save_file({"one": TENSORS["one"]}, folder / "model-00002-of-00002.safetensors")
    told = {"one": "model-00001-of-00002.safetensors", "two": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": told}))
    assert "holds the tensor one in two files" in refused(folder)


def test_what_is_missing_is_said_with_what_to_do(folder):
    (folder / "config.json").rename(folder / "aside")
    assert "has no config.json" in refused(folder) and "pass --arch" in refused(folder)
    (folder / "aside").rename(folder / "config.json")
    (folder / "model.safetensors").rename(folder / "best.safetensors")
    assert f"give one checkpoint: {folder}/best.safetensors" in refused(folder)
    (folder / "best.safetensors").unlink()
    assert "it has config.json, and no model.safetensors" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert f"unlearn import {folder}/pytorch_model.bin" in refused(folder)
    (folder / "pytorch_model.bin").unlink()
    (folder / "adapter_config.json").write_text("{}")
    assert "an adapter, not a model" in refused(folder)
    empty = folder.parent / "empty"
    empty.mkdir()
    assert "neither config.json nor model.safetensors" in refused(empty)


def test_a_configuration_that_is_damaged_is_one_line(folder):
    for text in ("{", "[]", '{"architecture": "resnet18", "architecture": "vgg"}', '{"crop_pct": NaN}', "\x00", "{}"):
        (folder / "config.json").write_text(text)
        assert "config.json" in refused(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"pretrained_cfg": {"input_size": "large"}}))
    assert "config.json" in refused(folder) or "channels" in refused(folder)


# the card


def recorded(shipped, classes=(), count=0):
    record = store.read(str(shipped / "model.safetensors")).record
    request = RequestRecord(classes=list(classes), instances_count=count, instances_digest="ab" * 32 if count else None)
    step = Step(operation="forget", method="lau", settings={"alpha": 0.5}, request=request, seed=3, seconds=1.25, device="cpu",
                images_read={"forget": 20}, precision="float32", versions={},
                source=Source(name="net", digest="cd" * 32))  # fmt: skip
    return record.model_copy(update={"lineage": []}).after(step)


def front(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_a_card_says_what_was_forgotten_how_and_from_what(shipped):
    about, body = front(card.text(recorded(shipped, ["3", "5"]), {}, "hf://someone/net@v1", {"license": "mit"}))
    assert about.pop("tags") == ["unlearning", "image-classification"]
    assert about == {"license": "mit", "base_model": "someone/net", "library_name": "compact",
                     "pipeline_tag": "image-classification"}  # fmt: skip
    for words in ("the classes `3`, `5`", "`lau`", "| `alpha` | 0.5 |", "cd" * 32, "20 forget images", "not a guarantee",
                  "unlearn evaluate"):  # fmt: skip
        assert words in body
    _, listed = front(card.text(recorded(shipped, count=1200), {}, "net", {}))
    assert f"1,200 images; the digest of their list is `{'ab' * 32}`" in listed


def test_names_of_others_break_no_card(shipped):
    wild = "a`|b\n# [x](http://y) <b>"
    about, body = front(card.text(recorded(shipped, [wild]), {}, "net", {}))
    line = next(line for line in body.splitlines() if line.startswith("- the class"))
    assert line == "- the class `a'\\|b\\n# [x](http://y) <b>`"
    assert "\n# [x]" not in body and about["base_model"] == "net"
    assert "base_model" not in front(card.text(recorded(shipped, ["3"]), {}, "ein Netz: ja", {}))[0]


def test_of_the_old_card_the_licence_alone_is_taken_over(tmp_path):
    path = tmp_path / "README.md"
    told = {"license": "other", "license_name": "theirs", "license_link": [1], "datasets": ["faces"], "library_name": "timm"}
    path.write_text(f"---\n{yaml.safe_dump(told)}---\n# Hi\n")
    assert card.front_matter(path) == {"license": "other", "license_name": "theirs", "library_name": "timm"}
    for text in ("# no front matter", "---\n- a\n---\n", "---\n: [\n---\n", "---\n!!python/object/apply:os.system ['true']\n---\n"):
        path.write_text(text)
        assert card.front_matter(path) == {}
    assert card.front_matter(tmp_path / "none") == {}


def test_only_what_was_written_here_is_ours(folder, shipped, tmp_path):
    assert not folders.is_ours(folder)
    ours = tmp_path / "ours"
    ours.mkdir()
    shutil.copy(shipped / "model.safetensors", ours / "model.safetensors")
    assert folders.is_ours(ours)
    for name in ("photo.png", "pytorch_model.bin", "more.safetensors"):
        (ours / name).write_bytes(b"")
        assert not folders.is_ours(ours)
        (ours / name).unlink()
    (ours / "sub").mkdir()
    assert not folders.is_ours(ours)
