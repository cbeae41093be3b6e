"""Evidence comes back as it was written, belongs to one checkpoint, and whatever else stands there is one clear line."""

import json
import os

import pytest
from examples import record, tensors

from unlearn_cli.cases import evidence as kept
from unlearn_cli.checkpoints import evidence, store
from unlearn_cli.checkpoints.evidence import Evidence, Image, Meant
from unlearn_cli.checkpoints.record import RequestRecord, Source
from unlearn_cli.errors import UnlearnError


def example() -> Evidence:
    images = [Image(path=f"train/cat/{i}.png", digest=f"{i}" * 64, split="train", class_name="cat") for i in range(3)]
    listed = RequestRecord(instances=["train/dog/ü.png"], instances_count=1, instances_digest="d" * 64)
    requests = [Meant(request=RequestRecord(classes=["cat"]), images=images), Meant(request=listed, images=[])]
    return Evidence(checkpoint=store.digest(tensors()), requests=requests).signed()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A checkpoint with its evidence beside it."""
    monkeypatch.chdir(tmp_path)
    step = record().last.model_copy(update={"evidence": example().digest})
    store.write("m.safetensors", tensors(), record().model_copy(update={"lineage": [step]}))
    (tmp_path / "m.evidence.json").write_bytes(example().to_json())
    return tmp_path


def refused(call) -> str:
    with pytest.raises(UnlearnError) as raised:
        call()
    assert "\n" not in raised.value.problem and raised.value.hint
    return raised.value.problem


def test_it_comes_back_as_it_was_written_with_the_same_bytes(here):
    found = evidence.read("m.evidence.json")
    assert found == example() and found.to_json() == (here / "m.evidence.json").read_bytes()
    assert found.lists == [["train/dog/ü.png"]]
    assert [image.path for image in found.of(RequestRecord(classes=["cat"]))] == [f"train/cat/{i}.png" for i in range(3)]
    assert found.of(RequestRecord(classes=["dog"])) == []


def test_a_name_that_is_no_text_comes_back_too(here):
    name = os.fsdecode(b"train/cat/caf\xe9.png")
    image = Image(path=name, digest="0" * 64, split="train", class_name="cat")
    found = example().model_copy(update={"requests": [Meant(request=RequestRecord(classes=["cat"]), images=[image])]}).signed()
    (here / "m.evidence.json").write_bytes(found.to_json())
    assert evidence.read("m.evidence.json") == found


def test_it_lies_beside_its_checkpoint_and_may_be_given_from_elsewhere(here):
    assert kept.of(store.read("m.safetensors")) == (example(), [])
    (here / "m.evidence.json").rename(here / "e.json")
    assert kept.of(store.read("m.safetensors")) == (None, [])
    assert kept.of(store.read("m.safetensors"), "e.json") == (example(), [])


def test_that_of_an_earlier_step_serves_where_the_last_one_kept_none(here):
    before = store.read("m.safetensors")
    step = record().last.model_copy(update={"source": Source(name="m.safetensors", digest=before.digest)})
    store.write("n.safetensors", {name: tensor + 1 for name, tensor in tensors().items()}, before.record.after(step))
    assert kept.of(store.read("n.safetensors")) == (example(), [])
    (here / "m.evidence.json").write_bytes(example().model_copy(update={"checkpoint": "0" * 64}).signed().to_json())
    assert kept.of(store.read("n.safetensors")) == (None, [])


def test_evidence_of_another_checkpoint_is_refused_by_both_digests(here):
    other = example().model_copy(update={"requests": []}).signed()
    (here / "m.evidence.json").write_bytes(other.to_json())
    found = store.read("m.safetensors")
    for said in (refused(lambda: kept.of(found)), refused(lambda: kept.of(found, "m.evidence.json"))):
        assert other.digest[:16] in said and example().digest[:16] in said


def test_the_right_digest_over_other_tensors_is_refused(here):
    found = store.read("m.safetensors")
    store.write("m.safetensors", {name: tensor + 1 for name, tensor in found.tensors.items()}, found.record, force=True)
    assert "is no evidence of m.safetensors" in refused(lambda: kept.of(store.read("m.safetensors")))


def test_a_checkpoint_that_names_none_reads_none(here):
    store.write("m.safetensors", tensors(), record(), force=True)
    found, notes = kept.of(store.read("m.safetensors"))
    assert found is None and "m.evidence.json is not read" in notes[0]
    assert "names none" in refused(lambda: kept.of(store.read("m.safetensors"), "m.evidence.json"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 2}, "has version 2, this program reads up to 1"),
        ({"schema_version": "1"}, "schema_version"),
        ({"kind": "deletion record"}, "is not evidence"),
        ({"requests": [{"images": []}]}, "requests.0.request"),
        ({"requests": [{"request": {"classes": ["a"]}, "images": [{"path": ""}]}]}, "images.0.path"),
        ({"requests": [{"request": {"classes": ["a"]}, "images": [{"path": "a\0b"}]}]}, "images.0.path"),
        ({"checkpoint": "0"}, "checkpoint"),
        ({"digest": None}, "was changed after it was written"),
        ({"requests": []}, "was changed after it was written"),
        ({"more": 1}, "more"),
    ],
)
def test_what_was_changed_or_cannot_be_right_is_one_line(here, change, problem):
    (here / "m.evidence.json").write_text(json.dumps(json.loads(example().to_json()) | change))
    assert problem in refused(lambda: evidence.read("m.evidence.json"))


TWICE = b'{"kind": "evidence", "kind": "evidence"}'


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"{", b"[" * 100_000, TWICE])
def test_what_is_no_evidence_is_one_line(here, content):
    (here / "m.evidence.json").write_bytes(content)
    assert "m.evidence.json" in refused(lambda: evidence.read("m.evidence.json"))


def test_an_absurdly_large_file_and_a_folder_are_not_read(here):
    os.truncate("m.evidence.json", evidence.LARGEST + 1)
    assert "too many" in refused(lambda: evidence.read("m.evidence.json"))
    assert "is no file" in refused(lambda: evidence.read("."))
    assert "no such file" in refused(lambda: evidence.read("nowhere.json"))
