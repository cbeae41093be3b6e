from dataclasses import replace

import pytest
import torch

from tests.splitting import split
from unlearn_cli.data.folder import open_folder
from unlearn_cli.data.requests import Request, resolve, resolve_classes
from unlearn_cli.data.splits import ALL
from unlearn_cli.errors import UnlearnError


@pytest.fixture
def opened(photos):
    return open_folder(photos)


def refused(call, *args) -> UnlearnError:
    with pytest.raises(UnlearnError) as caught:
        call(*args)
    return caught.value


@pytest.mark.parametrize("request_", [Request(("dog",)), Request(("0", "owl")), Request((), ("train/cat/0.png",))])
@pytest.mark.parametrize("fraction", [0.0, 0.34])
def test_splits_partition_the_images(opened, request_, fraction):
    s = split(opened, request_, ALL, fraction)
    assert torch.cat([s.forget.index, s.retain.index]).sort().values.tolist() == s.train.index.tolist()
    assert torch.cat([s.forget_test.index, s.retain_test.index]).sort().values.tolist() == s.test.index.tolist()
    everything = torch.cat([s.train.index, s.test.index, s.selection.index])
    assert everything.sort().values.tolist() == list(range(24))
    assert len(s.selection) == (3 if fraction else 0)


def test_a_class_request_takes_the_classes_train_and_test_images(opened):
    s = split(opened, Request(("dog", "2")), ALL)
    assert s.task.forgotten == (1, 2) and s.task.count == 3
    assert set(s.forget.y.tolist()) == set(s.forget_test.y.tolist()) == {1, 2}
    assert set(s.retain.y.tolist()) == set(s.retain_test.y.tolist()) == {0}
    assert (len(s.forget), len(s.forget_test)) == (10, 6)


def test_an_instance_request_takes_only_those_images(opened):
    s = split(opened, Request((), ("./train/owl/3.png", "train/cat/1.png", "train/cat/1.png")), ALL)
    assert [opened.images.paths[i] for i in s.forget.index] == ["train/cat/1.png", "train/owl/3.png"]
    assert len(s.forget_test) == 0 and len(s.retain_test) == 9 and s.task.forgotten == ()


def test_only_declared_splits_can_be_had(opened):
    s = split(opened, Request(("dog",)), "forget")
    assert len(s.forget) == 5
    problem = refused(getattr, s, "retain").problem
    assert problem == "this method declares that it reads only forget, not retain."
    with pytest.raises(AttributeError):
        s.forgot  # noqa: B018 - a misspelt name is our own mistake, and no user's


def test_subset_keeps_the_masked_images(opened):
    train = split(opened, Request(("dog",)), ALL).train
    assert train.subset(train.y == 2).y.tolist() == [2] * 5


def test_an_exact_class_name_wins_over_an_index():
    assert resolve_classes(["b", "0", "a", "b", 2], ["c", "b", "a"]) == (1, 0, 2)


TO_TEN = [f"{number:02}" for number in range(1, 11)]


@pytest.mark.parametrize(("asked", "classes"), [
    ("3", TO_TEN), ("0", TO_TEN), ("03", ["cat", "dog", "owl", "yak"]), ("2", ["11", "12", "14", "25"]), ("1", ["1.10", "1.9"]),
    ("1", ["cat", "dog", "7"]), ("3", [f"class_{number}" for number in range(1, 6)]), ("1", ["cat 1", "dog 1"]),
    ("\u0663", ["cat", "dog", "owl", "yak"]), ("1", ["-1", "-2"]), ("", ["cat", "dog"]),
])  # fmt: skip
def test_a_number_that_could_be_a_name_is_no_index(asked, classes):
    assert f"no class called '{asked}'" in refused(resolve_classes, [asked], classes).problem


def test_the_name_that_was_meant_is_offered():
    assert "did you mean '03'?" in refused(resolve_classes, ["3"], TO_TEN).hint
    assert resolve_classes(["03"], TO_TEN) == (2,)


def test_a_number_is_an_index_where_no_name_has_it():
    assert resolve_classes(["1"], ["cat", "dog"]) == (1,)
    assert resolve_classes(["1"], ["n01440764", "n01443537"]) == (1,)
    assert resolve_classes(["1"], ["class_0", "class_1"]) == (1,)


def test_an_unknown_class_gets_a_question_and_the_list():
    error = refused(resolve_classes, ["dgo"], ["cat", "dog"])
    assert "'dgo'" in error.problem and "did you mean 'dog'?" in error.hint and "0 cat, 1 dog" in error.hint
    refused(resolve_classes, ["-1"], ["cat", "dog"])
    refused(resolve_classes, ["2"], ["cat", "dog"])


def test_unknown_and_test_instances_are_named_and_counted(opened):
    error = refused(resolve, Request((), ("train/cat/0.png", "train/x.png", "y.png")), opened)
    assert "train/x.png" in error.problem and "y.png" in error.problem
    assert "every one of the 1 listed images is a test image" in refused(resolve, Request((), ("test/cat/0.png",)), opened).problem


def test_test_images_in_a_list_are_set_apart_and_counted_or_refused(opened):
    both = Request((), ("train/cat/0.png", "test/cat/0.png"))
    target = resolve(both, opened)
    assert target.paths == ("train/cat/0.png",) and target.counts["test_images"] == 1
    assert any("test/cat/0.png" in line for line in target.said)
    assert "test/cat/0.png is a test image" in refused(resolve, replace(both, strict=True), opened).problem


def test_requests_for_nothing_everything_or_both_kinds_are_refused(opened):
    assert "nothing to forget" in refused(split, opened, Request()).problem
    assert "every training image" in refused(split, opened, Request(("cat", "dog", "owl"))).problem
    refused(split, opened, Request(("cat",), ("train/dog/0.png",)))


def test_selection_is_stratified_repeatable_and_drawn_by_seed(opened):
    draws = [split(opened, Request(("dog",)), ALL, 0.34, seed).selection for seed in (0, 0, 1, 2, 3)]
    assert all(draw.y.bincount().tolist() == [1, 1, 1] for draw in draws)
    assert draws[0].index.equal(draws[1].index)
    assert len({tuple(draw.index.tolist()) for draw in draws}) > 1
