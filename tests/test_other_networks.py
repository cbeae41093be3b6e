"""The plan of `benchmarks.other_networks` can be run as it stands, and its table says where every figure of a paper is from."""

import re
from dataclasses import replace

import pytest

from tests import results
from tests.benchmarks import other_networks as plan
from unlearn_cli import methods, models
from unlearn_cli.cases.strangers import arch_and_settings
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.recipes import adjusted, published

ROLES = {"original", "retrained"}
SOURCE = re.compile(r"\((LAU|SULI|TMU|UNSIR|GLI)\b[^()]*\)$")
OF_A_ROW = {"network", "request", "method", "label", "seed", "metrics", "seconds", "images_read", "epochs", "stopped_by",
            "settings", "refused"}  # fmt: skip


def ready(setup: plan.Setup) -> None:
    """Raise if the architecture, its images or its recipe are not known."""
    name, settings = arch_and_settings(setup.arch)
    architecture = models.find(name)
    architecture.parsed(settings, setup.size)
    architecture.check(setup.size, architecture.channels[-1])
    recipe = published(setup.recipe).recipe(architecture.recipe) if setup.recipe else architecture.recipe
    adjusted(recipe, dict(setup.chosen), name)


@pytest.mark.parametrize("setup", plan.SETUPS, ids=lambda setup: setup.name)
def test_every_set_up_names_a_network_and_a_recipe_that_are_known(setup):
    ready(setup)
    for wrong in ({"arch": "vgg61"}, {"recipe": "nobody"}, {"chosen": (("bath_size", 32),)}):
        with pytest.raises(UnlearnError):
            ready(replace(setup, **wrong))


def test_what_a_network_begins_with_has_seen_no_class_that_it_is_trained_on():
    begun = [setup for setup in plan.SETUPS if setup.begun_on]
    assert begun
    for setup in begun:
        first, last = setup.classes
        assert not set(range(first, last + 1)) & set(range(setup.begun_on[0], setup.begun_on[1] + 1))


@pytest.mark.parametrize("setup", plan.SETUPS, ids=lambda setup: setup.name)
def test_more_runs_change_settings_that_their_method_has(setup):
    for _, settings in setup.settings:
        own = [text.partition("=")[0].split(".") for text in settings]
        assert len({name for name, _ in own}) == 1
        assert all(setting in methods.get(name).settings for name, setting in own)


def test_every_method_of_the_plan_forgets_one_class():
    assert {"lau", "suli", "unsir"} < set(plan.METHODS)
    for name in plan.METHODS:
        assert "class" in methods.get(name).scope


def test_every_set_up_says_what_differs_and_every_figure_of_a_paper_names_its_source():
    assert list(results.NEAREST) == [setup.name for setup in plan.SETUPS]
    assert not SOURCE.search("93.5 %, forget_test 0 %")
    for differs, papers in results.NEAREST.values():
        assert differs and papers
        assert set(papers) <= {*plan.METHODS, *ROLES}
        assert all(SOURCE.search(figure) for figure in papers.values())


def test_the_results_are_of_the_plan_and_hold_no_name_of_an_image_or_class():
    names = {setup.name for setup in plan.SETUPS}
    for row in results.read("other_networks"):
        assert row["network"] in names and row["request"] == "class"
        assert set(row) <= OF_A_ROW


def test_a_subset_is_the_same_each_time_and_no_larger_than_asked(tmp_path):
    for part in ("train", "test"):
        for name in "abc":
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for number in range(9):
                (tmp_path / "set" / part / name / f"{number}.png").touch()
    asked = replace(plan.SETUPS[0], train=5, test=2)

    def drawn(place: str, setup: plan.Setup) -> list[str]:
        root, classes = plan.subset(tmp_path / "set", tmp_path / place, setup, (1, 2))
        assert classes == ["b", "c"]
        return sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))

    first = drawn("one", asked)
    assert len(first) == 2 * (5 + 2)
    assert drawn("one", asked) == drawn("two", asked) == first
    assert len(drawn("three", replace(asked, train=99))) == 2 * (9 + 2)
