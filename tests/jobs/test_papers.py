"""Set-ups of the papers as files: each can be read and run, gives defaults, and gives way to what is typed."""

import json
import shutil

import pytest
import yaml

from unlearn_cli import models
from unlearn_cli.checkpoints import store
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.recipes import PAPERS, published, published_names

TINY = ("--size", "28", "--epochs", "1", "--precision", "float32", "--device", "cpu", "--set", "batch_size=40")


@pytest.fixture(scope="module")
def few(shipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "digits"
    for part, count in (("train", 10), ("test", 2)):
        for name in "0123":
            (folder / part / name).mkdir(parents=True)
            for path in sorted((shipped / "digits" / part / name).iterdir())[:count]:
                shutil.copy(path, folder / part / name)
    return folder


def test_the_five_papers_have_one():
    assert published_names() == ["gli", "lau", "suli", "tmu", "unsir"]


@pytest.mark.parametrize("name", published_names())
def test_every_value_of_a_recipe_acts_and_has_a_comment_that_says_where_it_is_from(name):
    paper = published(name)
    architecture = models.find(paper.arch)
    recipe = paper.recipe(architecture.recipe)
    assert paper.values.keys() <= recipe.acting.keys()
    assert all(recipe.acting[key] == value for key, value in paper.values.items())
    architecture.check(paper.size, 3)
    text = (PAPERS / f"{name}.yaml").read_text()
    values = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "set:", "paper:"))]
    assert len(values) == 3 + len(yaml.safe_load(text)["set"])
    assert all("#" in line for line in values)


def test_nothing_of_an_architectures_own_recipe_is_mixed_in_but_what_it_freezes():
    own = models.recipe("compact")
    recipe = published("suli").recipe(own)
    assert recipe.frozen == own.frozen
    assert own.label_smoothing and own.norm_bias_scale != 1 and own.lookahead_every
    assert (recipe.label_smoothing, recipe.norm_bias_scale, recipe.lookahead_every) == (0, 1, 0)


def trained(unlearn, few, tmp_path, *more):
    output = tmp_path / "out.safetensors"
    done = unlearn("train", few, "-o", output, "--force", *more, "--json")
    return done, store.read(str(output)).record if done.code == 0 else None


def test_what_is_typed_wins_over_the_recipe(unlearn, few, tmp_path):
    _, record = trained(unlearn, few, tmp_path, "--recipe", "suli", "--arch", "compact,width=4", *TINY, "--set", "lr=0.02")
    settings = record.last.settings
    assert (record.architecture, record.size) == ("compact", 28)
    assert (settings["epochs"], settings["lr"], settings["batch_size"]) == (1, 0.02, 40)
    assert (settings["schedule"], settings["flip"], settings["weight_decay"]) == ("step", "none", 5e-4)
    _, record = trained(unlearn, few, tmp_path, "--recipe", "unsir", "--arch", "compact,width=4", "--epochs", "1")
    settings = record.last.settings
    assert (record.size, settings["optimizer"], settings["clip"], settings["batch_size"]) == (32, "adam", 0.1, 256)
    assert "momentum" not in settings


def test_a_recipe_begins_with_another_files_weights_and_their_architecture_and_says_so(unlearn, few, tmp_path):
    start = tmp_path / "start.safetensors"
    assert unlearn("train", few, "-o", start, "--arch", "compact,width=4", *TINY).code == 0
    done, record = trained(unlearn, few, tmp_path, "--recipe", "unsir", "--weights", start, "--epochs", "1")
    assert (record.architecture, record.size, record.last.settings["optimizer"]) == ("compact", 28, "adam")
    assert "the recipe of unsir is for resnet18; start.safetensors is compact" in json.loads(done.out)["notes"]


def test_a_recipe_that_is_not_there_names_those_that_are(unlearn, few, tmp_path):
    done, _ = trained(unlearn, few, tmp_path, "--recipe", "nope")
    assert (done.code, "there is no recipe 'nope'" in done.err) == (2, True)
    assert "gli, lau, suli, tmu, unsir" in done.err
    with pytest.raises(UnlearnError, match="no recipe"):
        published("../lau")


def test_a_recipe_beside_like_is_refused(unlearn, few, tmp_path):
    done, _ = trained(unlearn, few, tmp_path, "--recipe", "lau", "--like", "any.safetensors")
    assert (done.code, "--like takes from the checkpoint what --recipe says" in done.err) == (2, True)
