"""When enough is forgotten: the epochs that a budget allows, and looks that end them."""

import pytest
import torch

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL, Splits
from unlearn_cli.errors import UnlearnError
from unlearn_cli.techniques.stopping import goal_of, still_known, unseen_accuracy, until_forgotten, watch

THREES = 147


def biased(model, classes, low=100.0):
    """The model gives none of these classes any more, or does so less often."""
    with torch.no_grad():
        model.head.bias[list(classes)] -= low


@pytest.fixture
def place(new_run, loaded, splits):
    run = new_run()
    with run.adopted(loaded.model, loaded.head) as model:
        yield run, model, splits.forget


# epochs


def test_the_epoch_after_which_few_enough_are_known_is_the_last(place):
    run, model, forget = place
    seen = []
    for epoch in until_forgotten(run, model, forget, 5, "unlearning", 0.0):
        seen.append(epoch)
        if epoch == 2:
            biased(model, [3])
    assert seen == [0, 1, 2]
    assert run.stopped_by == "the forget accuracy reached 0, epoch 3"
    assert run.notes == []
    assert run.images_read == {"forget": 3 * THREES}


def test_a_budget_that_ends_first_is_said_with_what_is_left(place):
    run, model, forget = place
    assert list(until_forgotten(run, model, forget, 2, "unlearning", 0.5)) == [0, 1]
    known = still_known(run, model, forget)
    assert known > THREES / 2
    assert run.notes == [f"the budget of 2 epochs ended with {known} of 147 forget images known"]
    assert run.stopped_by == "the end of its schedule"


def test_without_an_accuracy_nobody_looks(place):
    run, model, forget = place
    biased(model, [3])
    assert list(until_forgotten(run, model, forget, 2, "unlearning", None)) == [0, 1]
    assert not run.images_read
    assert run.notes == []


def test_an_accuracy_that_is_reached_exactly_is_enough(place):
    run, model, forget = place
    known = still_known(run, model, forget)
    assert list(until_forgotten(run, model, forget, 3, "unlearning", known / THREES)) == [0]
    assert list(until_forgotten(run, model, forget, 3, "unlearning", (known - 1) / THREES)) == [0, 1, 2]


def test_of_several_classes_an_image_given_another_one_of_them_is_still_known(new_run, loaded):
    run, parts = new_run(), split(loaded.folder, Request(("3", "5")), ALL)
    with run.adopted(loaded.model, loaded.head) as model:
        biased(model, [k for k in range(10) if k not in (3, 5)])
        biased(model, [3])  # everything is a five
        n = len(parts.forget)
        assert still_known(run, model, parts.forget) == n
        list(until_forgotten(run, model, parts.forget, 1, "unlearning", 0.0))
        assert 0 < run.correct(model, parts.forget) == int((parts.forget.y == 5).sum()) < n
    assert run.notes == [f"the budget of 1 epochs ended with {n} of {n} forget images known"]


@pytest.mark.parametrize("ends", [True, False])
def test_the_last_epoch_is_in_the_trajectory_whether_stopped_or_not(place, ends):
    run, model, forget = place
    run.trajectory.look = dict
    with run.timed():
        for _ in until_forgotten(run, model, forget, 2, "unlearning", 1.0 if ends else 0.0):
            pass
    assert [row["epoch"] for row in run.trajectory.rows] == ([0, 1, 0] if ends else [0, 1, 2, 0])


def test_an_error_within_an_epoch_leaves_no_row_of_it(place):
    run, model, forget = place
    run.trajectory.look = dict
    with pytest.raises(ZeroDivisionError), run.timed():
        for _ in until_forgotten(run, model, forget, 2, "unlearning", 0.0):
            raise ZeroDivisionError
    assert [row["phase"] for row in run.trajectory.rows] == ["start"]


@pytest.mark.parametrize("images", [None, 1000])
def test_progress_is_over_the_forget_set_or_what_else_is_shown(place, monkeypatch, images):
    run, model, forget = place
    begun = []
    monkeypatch.setattr(type(run.progress), "start", lambda self, phase, total: begun.append((phase, total)))
    list(until_forgotten(run, model, forget, 1, "unlearning", None, images))
    assert begun == [("unlearning, epoch 1 of 1", images or THREES)]


# looks


def test_a_look_at_the_known_ones_first_sees_what_a_look_at_all_sees(place):
    run, model, forget = place
    run.inference_batch = 10
    with torch.no_grad():
        for allowed in (0, 30, 138):
            begin = model.head.bias.clone()
            reached = watch(run, model, forget, allowed)
            answers = []
            for low in (0, 2, 4, 1, 6, 8, 30, 30, 3):  # on the way down some come back
                model.head.bias[3] = begin[3] - low
                answers.append(reached())
                assert answers[-1] == (run.correct(model, forget) <= allowed)
            assert len(set(answers)) == 2
            model.head.bias.copy_(begin)


def test_a_look_reads_few_images_while_some_are_known(place):
    run, model, forget = place
    run.inference_batch = 10
    reached = watch(run, model, forget, 2)
    assert [reached() for _ in range(3)] == [False] * 3
    assert run.images_read == {"forget": THREES + 12 + 12}


# what to come down to


def test_listed_images_come_down_to_the_accuracy_on_unseen_images_whose_classes_weigh_as_theirs(new_run, loaded):
    run, paths = new_run(), ("train/3/0003.png", "train/3/0013.png", "train/5/0005.png")
    with run.adopted(loaded.model, loaded.head) as model:
        parts = split(loaded.folder, Request(instances=paths), ALL, 0.9)
        unseen = parts.selection

        def accuracy(label: int) -> float:
            these = unseen.subset(unseen.y == label)
            return run.correct(model, these) / len(these)

        with torch.no_grad():
            model.head.bias[3] -= 2         # so that threes are known less than fives
        assert accuracy(3) < accuracy(5)
        assert goal_of(run, model, parts) == pytest.approx((2 * accuracy(3) + accuracy(5)) / 3, abs=1e-12)
        without_threes = Splits({"forget": parts.forget, "selection": unseen.subset(unseen.y != 3)}, ALL, "images", parts.task)
        assert goal_of(run, model, without_threes) == accuracy(5)
        others = unseen.subset((unseen.y != 3) & (unseen.y != 5))
        without_both = Splits({"forget": parts.forget, "selection": others}, ALL, "images", parts.task)
        assert unseen_accuracy(run, model, without_both) is None
        assert goal_of(run, model, without_both) == run.correct(model, others) / len(others)


def test_an_accuracy_to_come_down_to_that_rests_on_a_few_images_is_not_measurable_and_says_how_many_would_do(new_run, loaded):
    run, paths = new_run(), ("train/3/0003.png", "train/3/0013.png")
    with run.adopted(loaded.model, loaded.head) as model:
        few, many = (split(loaded.folder, Request(instances=paths), ALL, fraction) for fraction in (0.2, 0.9))
        with pytest.raises(UnlearnError, match="rests on 7 selection images, 25 would do"):
            goal_of(run, model, few)
        assert 0 < goal_of(run, model, many) <= 1
