"""A record comes back as it was written, and whatever else stands there is one clear line."""

import json
from pathlib import Path

import pytest
from examples import record
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_cli.checkpoints.record import SCHEMA, Record, folder_from, folder_to, from_json
from unlearn_cli.errors import UnlearnError


def test_a_record_comes_back_as_it_was_written():
    assert from_json(record().to_json(), "m") == record()


def test_the_same_record_is_written_with_the_same_bytes():
    assert from_json(record().to_json(), "m").to_json() == record().to_json()


def test_a_newer_version_asks_for_an_upgrade():
    newer = json.loads(record().to_json()) | {"schema_version": SCHEMA + 1}
    with pytest.raises(UnlearnError) as raised:
        from_json(json.dumps(newer), "m.safetensors")
    assert f"version {SCHEMA + 1}" in raised.value.problem
    assert "upgrade" in raised.value.hint


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, None, True, [1]])
def test_a_version_that_never_was_is_refused(version):
    with pytest.raises(UnlearnError, match="schema_version"):
        from_json(json.dumps(json.loads(record().to_json()) | {"schema_version": version}), "m")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"text"', "{]", "\x00", "[" * 100_000, '{"a":' * 100_000, "1" * 5000])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(UnlearnError, match="m.safetensors: its record"):
        from_json(text, "m.safetensors")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", ["only"]),
        ("classes", ["cat", "cat", "dog"]),
        ("classes", "cat"),
        ("classes", [1, 2]),
        ("size", 0),
        ("size", "28"),
        ("size", 28.5),
        ("channels", 2),
        ("mean", [0.1, 0.2]),
        ("mean", [float("nan")]),
        ("std", [0.0]),
        ("std", [float("inf")]),
        ("task", "boxes"),
        ("architecture", None),
        ("architecture_settings", []),
        ("lineage", {}),
        ("data", {"folder": "digits"}),
        ("lineage", [{"operation": "train"}]),
        ("unknown", 1),
        ("head", 3),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, value):
    document = json.loads(record().to_json()) | {field: value}
    with pytest.raises(UnlearnError) as raised:
        from_json(json.dumps(document), "m.safetensors")
    assert raised.value.problem.startswith("m.safetensors: its record is not valid: ")
    assert field in raised.value.problem or "mean and std" in raised.value.problem or "repeat" in raised.value.problem


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(document, path=()):
    """Every place in a document, as the keys that lead there."""
    yield path
    inside = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in inside:
        yield from places(value, (*path, key))


def put(document, path, value):
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_record_with_one_place_replaced_is_refused_or_can_be_written_again(data):
    document = json.loads(record().to_json())
    where = data.draw(st.sampled_from([place for place in places(document) if place]))
    put(document, where, data.draw(ANYTHING))
    try:
        found = from_json(json.dumps(document), "m")
    except UnlearnError:
        return
    assert isinstance(found, Record)
    assert from_json(found.to_json(), "m") == found
    found.to_json().encode()


def test_settings_nested_deeper_than_can_be_written_are_refused():
    document = json.loads(record().to_json())
    text = json.dumps(document).replace('"epochs": 30', '"epochs": ' + "[" * 600 + "]" * 600)
    with pytest.raises(UnlearnError):
        from_json(text, "m")


def test_a_folder_beside_the_checkpoint_is_named_relatively_and_found_again(tmp_path):
    (tmp_path / "digits").mkdir()
    assert folder_to(tmp_path / "m.safetensors", tmp_path / "digits") == "digits"
    assert folder_from(tmp_path / "m.safetensors", "digits") == tmp_path / "digits"


def test_a_folder_elsewhere_is_named_in_full(tmp_path):
    assert folder_to(tmp_path / "a" / "m.safetensors", tmp_path / "digits") == str(tmp_path / "digits")


def test_for_a_pipe_the_working_folder_takes_the_checkpoints_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_to(None, tmp_path / "digits") == "digits"
    assert folder_from(None, "digits") == Path.cwd() / "digits"
