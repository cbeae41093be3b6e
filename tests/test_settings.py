"""Settings from text and YAML, against what the signature declares."""

from typing import Annotated, Literal

import pytest

from unlearn_cli.errors import UnlearnError
from unlearn_cli.settings import declared, from_text, parse, setting


def example(
    plain,
    *,
    share: Annotated[float, setting("a share", ge=0, le=1)] = 0.5,
    count: Annotated[int, setting("a count", ge=1)] = 3,
    on: Annotated[bool, setting("a switch")] = True,
    kind: Annotated[Literal["none", "some"], setting("a kind")] = "none",
    low: Annotated[float | None, setting("a bound", gt=0)] = None,
):
    pass


KNOWN = declared(example)


def test_keyword_only_parameters_are_the_settings():
    assert list(KNOWN) == ["share", "count", "on", "kind", "low"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("share", "1", 1.0),
        ("share", 0.25, 0.25),
        ("count", "7", 7),
        ("on", "false", False),
        ("on", True, True),
        ("kind", "none", "none"),
        ("kind", "some", "some"),
        ("low", "none", None),
        ("low", "null", None),
        ("low", None, None),
        ("low", "2", 2.0),
    ],
)
def test_text_and_yaml_are_understood(name, text, value):
    assert parse(KNOWN, {name: text}, "example") == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("share", "1.1"),
        ("share", "nan"),
        ("share", "none"),
        ("share", ""),
        ("count", "0"),
        ("count", "1.5"),
        ("count", True and "yes"),
        ("kind", "null"),
        ("kind", "all"),
        ("low", "0"),
        ("low", "inf"),
        ("on", "maybe"),
    ],
)
def test_what_is_out_of_range_is_refused_with_what_is_allowed(name, text):
    with pytest.raises(UnlearnError) as raised:
        parse(KNOWN, {name: text}, "example")
    assert raised.value.problem.startswith(f"{name}={text}")
    assert raised.value.hint.startswith("allowed: ")


def test_ranges_read_as_words():
    assert [s.range for s in KNOWN.values()] == [
        "a number >= 0 and <= 1",
        "a whole number >= 1",
        "true | false",
        "none | some",
        "a number > 0",
    ]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnlearnError) as raised:
        parse(KNOWN, {"shere": 1}, "example")
    assert raised.value.hint == "did you mean 'share'?"


def test_name_value_texts_may_use_dashes():
    assert from_text(["batch-size=3", "a = b=c "]) == {"batch_size": "3", "a": "b=c"}


@pytest.mark.parametrize("text", ["epochs", "=3", " =3"])
def test_a_text_without_a_name_and_an_equals_sign_is_refused(text):
    with pytest.raises(UnlearnError):
        from_text([text])
