"""What is typed: nothing empty, nothing twice, and mistakes in one line."""

import pytest


@pytest.mark.parametrize("option", ["--require", "--verify", "--class", "--reference", "--instances", "--data", "--seed"])
@pytest.mark.parametrize("nothing", ["", " "])
def test_an_option_without_a_value_is_refused_by_name(unlearn, option, nothing):
    done = unlearn("evaluate", "nowhere.safetensors", option, nothing)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0] == f"Error: {option} was given without a value."


def test_one_empty_value_among_several_is_refused(unlearn):
    assert "--require was given without a value" in unlearn("evaluate", "a", "--require", "test_accuracy>=0.5", "--require=").err
    assert "CHECKPOINT was given without a value" in unlearn("evaluate", "").err
    assert "CHECKPOINT... was given without a value" in unlearn("compare", "a", "").err


@pytest.mark.parametrize("twice", [
    ("--verify", "full", "--verify", "output"), ("--seed", "1", "--seed=2"), ("--data", "a", "--data", "a"),
    ("--junit", "a", "--seed", "1", "--junit", "b"), ("--config", "a", "--config", "b"), ("--format", "csv", "--format", "json"),
])  # fmt: skip
def test_an_option_of_one_value_that_is_given_twice_is_refused_by_name(unlearn, twice):
    done = unlearn("evaluate", "nowhere.safetensors", *twice)
    assert done.code == 2
    assert done.err.splitlines()[0] == f"Error: {twice[0]} was given twice."


def test_a_short_name_and_a_long_one_are_one_option(unlearn):
    done = unlearn("forget", "nowhere.safetensors", "-m", "mask", "--method", "lau")
    assert (done.code, done.err.splitlines()[0]) == (2, "Error: --method was given twice.")


def test_options_that_repeat_and_flags_may_be_given_twice(unlearn):
    done = unlearn("evaluate", "nowhere.safetensors", "--class", "1", "--class", "2", "-q", "-q")
    assert "nowhere.safetensors: no such file" in done.err


@pytest.mark.parametrize("second", ["epochs=2", "epochs = 1", "epochs=1"])
def test_a_setting_given_twice_is_refused_by_name(unlearn, second):
    done = unlearn("forget", "nowhere.safetensors", "-m", "lau", "--class", "3", "--set", "epochs=1", "--set", second)
    assert (done.code, "the setting 'epochs' is given twice" in done.err) == (2, True)


@pytest.mark.parametrize(("words", "problem"), [
    (("forget", "--methd", "lau"), "No such option: --methd"), (("forgett",), "No such command 'forgett'"),
    (("train", "a"), "Missing option '--output'"), (("evaluate", "a", "--seed", "x"), "Invalid value for '--seed'"),
])  # fmt: skip
def test_a_mistake_in_typing_is_an_error_and_a_hint(unlearn, words, problem):
    done = unlearn(*words)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"Error: {problem}")
    assert second.startswith("Hint: `unlearn ") and second.endswith("--help` shows what there is.")
