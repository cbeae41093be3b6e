"""Several requests as one: nothing of any of them is lost, however long the lists are."""

import pytest
import torch

from unlearn_cli.cases.requests import all_in_words, digest_of, in_words, recorded, union
from unlearn_cli.checkpoints.record import LIST_LIMIT
from unlearn_cli.data.requests import Target
from unlearn_cli.tasks.classes import Classes

NOWHERE = torch.empty(0, dtype=torch.int64)
LONG = tuple(f"train/5/{i:04d}.png" for i in range(LIST_LIMIT + 50))
OTHER = tuple(f"train/6/{i:04d}.png" for i in range(LIST_LIMIT + 1))


def of_images(paths):
    return Target("images", (), tuple(paths), NOWHERE, Classes(10))


def of_classes(*names):
    return Target("classes", names, (), NOWHERE, Classes(10, tuple(map(int, names))))


@pytest.mark.parametrize("lists", [[LONG], [LONG, OTHER], [LONG, LONG[:3]], [LONG[:3], LONG[2:5]], [LONG, OTHER, LONG]])
@pytest.mark.parametrize("classes", [[], ["3"], ["3", "8"]])
def test_a_union_counts_every_image_once_and_keeps_every_class(lists, classes):
    paths = sorted({path for one in lists for path in one})
    found = union([*map(of_classes, classes), *map(of_images, lists)])
    assert found.classes == classes
    assert (found.instances_count, found.instances_digest) == (len(paths), digest_of(paths))
    assert found.instances == (paths if len(paths) <= LIST_LIMIT else None)


def test_a_union_of_nothing_is_nothing_and_of_one_request_is_that_request():
    assert union([]) is None
    for one in (of_classes("3", "8"), of_images(LONG), of_images(LONG[:5])):
        assert union([one]) == recorded(one)
        assert all_in_words([recorded(one)]) == in_words(recorded(one))


def test_words_of_several_requests_leave_no_list_out():
    long, other, short = (recorded(of_images(paths)) for paths in (LONG, OTHER, LONG[:3]))
    three = recorded(of_classes("3"))
    assert all_in_words([]) == "nothing"
    assert all_in_words([three, long]) == "class 3 and 150 listed images"
    assert all_in_words([three, recorded(of_classes("8", "3")), short]) == "classes 3, 8 and 3 listed images"
    assert all_in_words([long, three, other]) == "class 3 and up to 251 listed images"
    assert all_in_words([long, short]) == "up to 153 listed images"
    assert all_in_words([long, long]) == "150 listed images"
