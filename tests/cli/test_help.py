"""What the help of the commands has in common."""

from itertools import combinations

import pytest
import typer

from unlearn_cli.cli import app
from unlearn_cli.cli.options import PANELS

COMMANDS = typer.main.get_command(app.app).commands
OWN = {("train", "--arch"), ("compare", "--verify")}
"""Options that say more in one command than in the others."""


def options(name):
    return [param for param in COMMANDS[name].params if param.param_type_name == "option"]


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_come_first_and_options_panel_by_panel(name):
    params = COMMANDS[name].params
    places = [PANELS.index(one.rich_help_panel) if one.param_type_name == "option" else -1 for one in params]
    assert places == sorted(places)


@pytest.mark.parametrize(("one", "other"), list(combinations(COMMANDS, 2)))
def test_options_that_two_commands_share_stand_in_one_order_and_say_the_same(one, other):
    mine, its = ({option.opts[0]: option for option in options(name)} for name in (one, other))
    assert [name for name in mine if name in its] == [name for name in its if name in mine]
    for name in mine.keys() & its.keys():
        assert mine[name].rich_help_panel == its[name].rich_help_panel
        assert (mine[name].opts, mine[name].multiple) == (its[name].opts, its[name].multiple)
        if not {(one, name), (other, name)} & OWN:
            assert mine[name].help == its[name].help


@pytest.mark.parametrize("name", ["train", "forget", "evaluate", "relearn", "compare"])
def test_every_command_that_takes_a_list_reads_it_in_the_same_way(name):
    known = {option.opts[0] for option in options(name)}
    assert {"--column", "--strict", "--with-duplicates", "--forgotten"} <= known


@pytest.mark.parametrize("name", ["forget", "evaluate", "relearn", "compare"])
def test_every_command_that_reads_a_checkpoint_takes_a_plain_one(name):
    known = {option.opts[0] for option in options(name)}
    assert {"--data", "--arch", "--size", "--mean", "--std", "--head", "--class-names", "--test-fraction"} <= known
