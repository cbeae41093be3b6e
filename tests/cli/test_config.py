"""--config: every scalar is the text of the file, every key stands once, and nothing empty is given."""

import pytest
import typer

from unlearn_cli.cli.app import app
from unlearn_cli.cli.config import eager_config
from unlearn_cli.errors import UnlearnError

TYPED = ["03", "1.10", "0x10", "1e3", "1_000", "012", "no", "true", "null", "~", "2020-01-01", "12:30:45", "0o7", ".inf", "=", "猫"]
"""Names that YAML readers take for something else."""


@pytest.fixture
def defaults(tmp_path):
    """What a configuration gives the options of a command, by their Python names."""

    def read(text, command="evaluate"):
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        found = typer.main.get_command(app).commands[command]
        context = found.context_class(found, info_name=command)
        eager_config(context, str(tmp_path / "c.yaml"))
        return context.default_map

    return read


@pytest.fixture
def refused(defaults):
    def problem(text, command="evaluate"):
        with pytest.raises(UnlearnError) as raised:
            defaults(text, command)
        assert raised.value.hint
        return raised.value.problem

    return problem


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_name_is_the_text_in_the_file(defaults, name, quote):
    shown = f"{quote}{name}{quote}"
    assert defaults(f"class: {shown}\nverify: {shown}") == {"classes": [name], "verify": name}
    assert defaults(f"class: [{shown}, a]\nreference:\n- {shown}\n") == {"classes": [name, "a"], "reference": [name]}
    assert defaults(f"set: {{kind: {shown}}}", "relearn") == {"settings": [f"kind={name}"]}


def test_options_convert_their_text_themselves(unlearn, place):
    (place / "c.yaml").write_text("seed: 1e3\n")
    done = unlearn("evaluate", place / "model.safetensors", "--config", place / "c.yaml")
    assert done.code == 2 and "--seed" in done.err and "integer" in done.err


@pytest.mark.parametrize(("word", "value"), [
    ("true", True), ("yes", True), ("on", True), ("True", True), ("false", False), ("no", False), ("OFF", False), ("'no'", False),
])  # fmt: skip
def test_a_flag_is_true_or_false(defaults, word, value):
    assert defaults(f"quiet: {word}") == {"quiet": value}


@pytest.mark.parametrize("word", ["1", "0", "y", "null", "~", "maybe", "2"])
def test_a_flag_that_is_neither_is_refused(refused, word):
    assert f"quiet is '{word}'" in refused(f"quiet: {word}")


@pytest.mark.parametrize(
    "nothing", ["", " ''", ' ""', ' " "', " # - a", "\n  # - a", " []", ' [""]', ' ["", a]', "\n- a\n-", " |", " !!str"]
)
@pytest.mark.parametrize("key", ["require", "class", "reference", "shadow"])
def test_an_empty_value_of_a_repeating_option_is_refused(refused, key, nothing):
    assert f"{key} has no value" in refused(f"seed: 3\n{key}:{nothing}\n")


@pytest.mark.parametrize("nothing", ["", " ''", " # full", ' "\\t"'])
@pytest.mark.parametrize("key", ["verify", "instances", "data", "seed", "quiet", "junit", "original"])
def test_an_empty_value_of_any_other_option_is_refused(refused, key, nothing):
    assert f"{key} has no value" in refused(f"{key}:{nothing}\n")


def test_an_empty_setting_is_refused_and_none_is_a_value(refused, defaults):
    assert "set has no value" in refused("set: {}", "relearn")
    assert "set has no value" in refused("set:", "relearn")
    assert "set: cap has no value" in refused("set: {cap: }", "relearn")
    assert defaults("set: {cap: none, steps: null}", "relearn") == {"settings": ["cap=none", "steps=null"]}


@pytest.mark.parametrize(("text", "key"), [
    ("require: a<=0.1\nseed: 1\nrequire: b<=0.1", "require"),
    ("seed: 1\n'seed': 1", "seed"),
    ("test_fraction: 0.1\ntest-fraction: 0.2", "test-fraction"),
    ("test-fraction: 0.1\ntest_fraction: 0.2", "test_fraction"),
    ("? require\n: a\n? require\n: b", "require"),
    ("&k require: a\n*k : b", "require"),
])  # fmt: skip
def test_a_key_given_twice_is_refused_by_name(refused, text, key):
    assert f"sets '{key}' twice" in refused(text)


def test_a_setting_given_twice_is_refused_by_name(refused, defaults):
    assert "sets 'batch-size' twice (first as 'batch_size')" in refused("set: {batch_size: 1, batch-size: 2}", "relearn")
    assert defaults("set: {batch_size: 1, steps: 2}", "relearn") == {"settings": ["batch_size=1", "steps=2"]}


@pytest.mark.parametrize(("text", "problem"), [
    ("class: [[a]]", "class holds a list or a mapping"),
    ("class: [{a: b}]", "class holds a list or a mapping"),
    ("class: {a: b}", "class cannot be a mapping"),
    ("seed: [1]", "seed takes one value"),
    ("? [a, b]\n: c", "a key holds a list or a mapping"),
    ("seed: 1\n---\nseed: 2", "one document"),
    ("<<: {seed: 1}\nseed: 2", "merges another mapping"),
    ("seed: !!int 3", "has the tag"),
    ("require: !!null ''", "has the tag"),
    ("- seed", "holds no mapping"),
    ("&a [*a]", "holds no mapping"),
    ("class: &a [*a]", "class holds a list or a mapping"),
])  # fmt: skip
def test_what_cannot_be_one_value_is_refused(refused, text, problem):
    assert problem in refused(text)


def test_settings_are_one_mapping_deep_and_not_merged(refused):
    assert "set: a holds a list or a mapping" in refused("set: {a: [1]}", "relearn")
    assert "set: a holds a list or a mapping" in refused("set: {a: {b: 1}}", "relearn")
    assert "merges another mapping" in refused("set: {<<: {steps: 1}, steps: 2}", "relearn")


def test_a_mark_before_the_first_letter_and_other_line_ends_change_nothing(defaults):
    assert defaults("\ufeffclass: 03\r\nrequire:\r\n- a\r\n") == {"classes": ["03"], "require": ["a"]}


def test_an_alias_stands_for_its_text(defaults):
    assert defaults("class: &name 03\nreference: *name") == {"classes": ["03"], "reference": ["03"]}


def test_the_class_that_is_forgotten_is_the_one_in_the_file(unlearn, place):
    """Nothing is called 03 here; as a number it would be the digit 3."""
    (place / "c.yaml").write_text("method: mask\nclass: 03\n")
    done = unlearn("forget", place / "model.safetensors", "--config", place / "c.yaml", "-o", place / "o.safetensors")
    assert (done.code, (place / "o.safetensors").exists()) == (2, False)
    assert "no class called '03'" in done.err
    (place / "c.yaml").write_text("method: mask\nclass: 3\n")
    done = unlearn("forget", place / "model.safetensors", "--config", place / "c.yaml", "-o", place / "o.safetensors")
    assert (done.code, (place / "o.safetensors").exists()) == (0, True)
