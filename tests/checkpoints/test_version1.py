"""What version 1 wrote is read as it was meant, and verified as it was then; `version1/` holds records that it wrote."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from unlearn_cli.checkpoints import deletion_reading, documents, store
from unlearn_cli.checkpoints.deletion import LAYOUT
from unlearn_cli.checkpoints.record import SCHEMA
from unlearn_cli.errors import UnlearnError

WRITTEN = Path(__file__).parent / "version1"


def text_of(name: str) -> str:
    return (WRITTEN / name).read_text(encoding="utf-8")


@pytest.fixture
def here(place, monkeypatch):
    """The checkpoints that version 1 wrote: the record's own text over the tensors that the same steps give today."""
    from unlearn_cli import jobs

    monkeypatch.chdir(place)
    source = "model.safetensors"
    for made, name, record in (("3", "model.mask-class-3.safetensors", "one-step"), ("5", "two.safetensors", "two-steps")):
        jobs.forget(source, "mask", jobs.Request((made,)), output="new.safetensors", options=jobs.Options(force=True))
        save_file(store.read("new.safetensors").tensors, name, {"format": "pt", "unlearn": text_of(f"{record}.json")})
        source = name
    return place


@pytest.mark.parametrize(
    ("name", "asked"), [("model.mask-class-3.safetensors", ["3"]), ("two.safetensors", ["3", "5"])], ids=["one step", "two steps"]
)
def test_a_lineage_is_read_with_all_its_requests(unlearn, here, name, asked):
    record = store.read(name).record
    forgot = [step for step in record.lineage if step.operation == "forget"]
    assert record.schema_version == 1 and [step.request.classes for step in forgot] == [[one] for one in asked]
    assert all((step.withheld, step.evidence) == (0, None) for step in forgot)
    shown = json.loads(unlearn("evaluate", name, "--json", "-q").out)
    assert [part["request"] for part in shown.get("requests", ())] == ([f"class {one}" for one in asked] if len(asked) > 1 else [])
    assert shown["forget_test_accuracy"] == 0


def test_a_step_after_it_is_of_the_newest_version_and_leaves_the_earlier_steps_as_they_were(unlearn, here):
    assert unlearn("forget", "-m", "mask", "--class", "7", "two.safetensors", "-o", "three.safetensors", "-q").code == 0
    before, after = store.read("two.safetensors").record, store.read("three.safetensors").record
    assert after.schema_version == SCHEMA and after.lineage[:-1] == before.lineage
    assert after.last.withheld == 2


def test_a_version_to_come_is_refused(unlearn, here):
    text = json.dumps(json.loads(text_of("two-steps.json")) | {"schema_version": SCHEMA + 1})
    save_file(store.read("two.safetensors").tensors, "new.safetensors", {"unlearn": text})
    assert f"version {SCHEMA + 1}, this program reads up to {SCHEMA}" in unlearn("evaluate", "new.safetensors").err
    (here / "new.json").write_text(json.dumps(json.loads(text_of("deletion-class.json")) | {"schema_version": 3}))
    assert "version 3, this program reads up to 2" in unlearn("verify-record", "new.json").err


@pytest.mark.parametrize("name", ["deletion-class.json", "deletion-images.json"])
def test_a_deletion_record_has_its_own_digest_still(name):
    told, digest = deletion_reading.read_whole(str(WRITTEN / name))
    assert (told.schema_version, told.digest) == (1, digest)
    changed = json.loads(text_of(name))
    changed["measured"][0]["metrics"]["retain_accuracy"] = 0.5
    assert documents.digest_of(changed, **LAYOUT) != digest


def test_fields_of_version_2_make_no_record_of_version_1():
    told = json.loads(text_of("deletion-class.json"))
    told["data"]["others"] = 3
    with pytest.raises(UnlearnError, match="version 1 names"):
        deletion_reading.checked(told, "x.json")


def test_a_deletion_record_is_verified_as_it_was(unlearn, here):
    shutil.copy(WRITTEN / "deletion-class.json", here / "told.json")
    done = unlearn("verify-record", "told.json", "--json")
    assert (done.code, json.loads(done.out)["verdict"]) == (0, "Matches: all 6 entries of the record are as they were.")


def test_it_does_not_know_what_stays_so_that_erased_images_differ(unlearn, here, shipped):
    shutil.copy(WRITTEN / "deletion-class.json", here / "told.json")
    (here / "digits").unlink()
    shutil.copytree(shipped / "digits", here / "digits")
    for part in ("train", "test"):
        shutil.rmtree(here / "digits" / part / "3")
    done = unlearn("verify-record", "told.json", "--json")
    assert done.code == 1
    assert "DIFFERS" in json.loads(done.out)["facts"]["data"]
