"""The score by which a state of a model is chosen."""

import pytest
import torch

from tests.splitting import split
from unlearn_cli.data.requests import Request
from unlearn_cli.techniques.selection import scorer


def scored(run, loaded, request):
    """The scores of the shipped model, and of its head turned into one answer."""
    with run.adopted(loaded.model, loaded.head) as model:
        score = scorer(run, model, split(loaded.folder, request, ("forget", "selection"), 0.5), "test")
        first = score()
        run.images_read.clear()
        assert score() == first
        with torch.no_grad():
            run.split(model)[1].weight.zero_()
            run.split(model)[1].bias.copy_(torch.arange(10) == 8)
        return first, score()


def listed(loaded, count):
    images = loaded.folder.images
    train = (~images.test).nonzero().squeeze(1)
    return Request(instances=tuple(images.paths[i] for i in train[torch.linspace(0, len(train) - 1, count).long()].tolist()))


@pytest.mark.parametrize("classes", [True, False])
def test_the_score_is_one_at_best_and_a_model_that_knows_nothing_has_a_low_one(new_run, loaded, classes):
    run = new_run()
    first, blind = scored(run, loaded, Request(("3",)) if classes else listed(loaded, 100))
    assert 0.8 < first <= 1
    assert 0.4 < blind < 0.75
    assert set(run.images_read) == {"forget", "selection"}
    assert not run.notes


def test_of_a_class_its_own_selection_images_are_the_unseen_ones(new_run, loaded):
    run = new_run()
    scored(run, loaded, Request(("3",)))
    assert run.images_read["forget"] == 2 * 18  # as many as the class has selection images, at every look
    assert run.images_read["selection"] == 2 * 179


def test_with_one_listed_image_the_score_is_the_accuracy_and_that_is_said(new_run, loaded):
    run = new_run()
    _, blind = scored(run, loaded, listed(loaded, 1))
    assert blind < 0.25, "one answer is right for a tenth of the images"
    assert run.notes == ["too few images to tell forgotten from unseen ones, 1 on each side: the accuracy alone chose the model"]
    assert "forget" not in run.images_read
