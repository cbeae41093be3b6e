"""What is left of the classes that listed images belong to, shown apart from all other images."""

import torch
from said import said

from unlearn_cli.jobs.comparison import MAIN
from unlearn_cli.metrics.registry import Evidence, measure

NAMES = ("remaining_accuracy", "remaining_test_accuracy")
LABELS = torch.arange(3).repeat_interleave(10)
TEST = torch.arange(30) % 10 >= 7
LISTED = torch.tensor([0, 1, 2, 10])          # three images of "ant", one of "bee", none of "cow"


def evidence(wrong=(), listed=LISTED, forgotten=(), **given):
    """A model that is right but on the `wrong` images."""
    says = LABELS.clone()
    says[list(wrong)] = (says[list(wrong)] + 1) % 3
    forget = torch.zeros(30, dtype=torch.bool).index_fill(0, listed, True)
    masks = {"forget": forget, "retain": ~forget & ~TEST, "test": TEST, "forget_test": TEST & False, "retain_test": TEST}
    splits = {name: mask.nonzero()[:, 0] for name, mask in masks.items()}
    return Evidence(said(torch.eye(3)[says]), LABELS, splits, forgotten, names=("ant", "bee", "cow"), **given)


def test_it_is_the_accuracy_on_images_of_the_listed_classes_that_were_not_listed():
    found = measure(evidence(wrong=[3, 8, 12, 27]), (*NAMES, "retain_accuracy"))
    assert found["remaining_accuracy"].value == 8 / 10             # 4 of ant and 6 of bee, one of each wrong
    assert found["remaining_test_accuracy"].value == 5 / 6
    assert found["retain_accuracy"].value == 15 / 17


def test_damage_elsewhere_does_not_count_and_a_listed_image_does_not_either():
    found = measure(evidence(wrong=[0, 1, 2, 10, 20, 21, 28]), NAMES)
    assert [one.value for one in found.values()] == [1, 1]


def test_the_counts_of_each_class_say_how_much_is_listed_and_how_much_is_left():
    found = measure(evidence(), NAMES)
    assert found["remaining_accuracy"].detail == {
        "correct": 10, "n": 10, "classes": ["ant", "bee"], "listed": [3, 1], "left": [4, 6],
    }  # fmt: skip
    assert found["remaining_test_accuracy"].detail["left"] == [3, 3]


def test_a_class_of_which_every_image_is_listed_has_none_left_and_alone_gives_no_number():
    every = torch.arange(7)
    found = measure(evidence(listed=torch.cat([every, torch.tensor([10])])), NAMES)["remaining_accuracy"]
    assert (found.detail["listed"], found.detail["left"], found.value) == ([7, 1], [0, 6], 1)
    alone = measure(evidence(listed=every), NAMES)["remaining_accuracy"]
    assert (alone.value, alone.reason) == (None, "no retain image is left of the listed images' classes")


def test_no_more_than_twenty_classes_are_named_those_with_most_listed():
    labels = torch.arange(60).repeat_interleave(4)
    listed = torch.cat([torch.arange(240)[::4], torch.tensor([4 * 59 + 1])])
    forget = torch.zeros(240, dtype=torch.bool).index_fill(0, listed, True)
    splits = {"forget": forget.nonzero()[:, 0], "retain": (~forget).nonzero()[:, 0]}
    found = measure(Evidence(said(torch.eye(60)[labels]), labels, splits), NAMES)["remaining_accuracy"]
    assert (len(found.detail["classes"]), found.detail["classes"][0], found.detail["more_classes"]) == (20, "59", 40)
    assert (found.detail["listed"][0], found.detail["left"][0], found.detail["n"]) == (2, 2, 179)


def test_it_is_no_question_where_whole_classes_are_forgotten():
    found = measure(evidence(forgotten=(0,)), NAMES)
    assert {one.reason for one in found.values()} == {"defined for requests that name images only"}


def test_a_comparison_of_listed_images_shows_it_and_one_of_classes_does_not():
    assert "remaining_accuracy" in MAIN["images"]
    assert "remaining_accuracy" not in MAIN["classes"]
