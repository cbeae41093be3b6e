"""Only the images to forget are there: what reads no others runs, what does is refused, and what cannot be measured says why."""

from dataclasses import replace

import pytest
from toys import Toy, same

from tests.quick import quick
from unlearn_cli import methods
from unlearn_cli.cases.case import open_case
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.cases.measuring import Subjects, measured, read, rows_of
from unlearn_cli.cases.unlearning import unlearn
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError

OPTIONS = Options(device="cpu", precision="float32")
THREE = Request(("3",))
READ_RETAIN = [name for name in methods.names() if "retain" in methods.get(name).reads and "class" in methods.get(name).scope]


def only_threes(toy: Toy, tested: bool) -> Loaded:
    """The shipped model with the folder's threes alone, as if the others lay elsewhere."""
    loaded = toy.load()
    images = loaded.folder.images
    here = (images.labels == 3) & (~images.test | tested)
    at = here.nonzero()[:, 0]
    paths = [images.paths[i] for i in at.tolist()]
    few = replace(images, paths=paths, labels=images.labels[at], test=images.test[at], pixels=images.pixels[at])
    loaded.folder = replace(loaded.folder, images=few, fingerprint=f"threes {tested}")
    return loaded


def forgotten(toy, name, tested, **settings):
    loaded, method = only_threes(toy, tested), methods.get(name)
    values = method.parse(quick(name) | settings, "classes")
    return unlearn(loaded, method, values, resolve(THREE, loaded.folder), OPTIONS)


@pytest.mark.parametrize("tested", [True, False])
def test_a_method_that_reads_the_forget_set_alone_gives_what_it_gives_on_the_whole_folder(toy, tested):
    tensors = forgotten(toy, "lau", tested)[1]
    assert same(tensors, toy.forget("lau").tensors)


@pytest.mark.parametrize("name", READ_RETAIN)
def test_a_method_that_reads_the_retain_set_is_refused_with_those_that_do_not(toy, name):
    with pytest.raises(UnlearnError, match=f"no training image to retain is in .*, and {name} reads them") as caught:
        forgotten(toy, name, True)
    able = caught.value.hint.partition(";")[0].removeprefix("methods that read none of them: ").split(", ")
    assert "lau" in able and not set(able) & set(READ_RETAIN)


def test_a_setting_that_opens_the_retain_set_is_the_one_to_leave_out(toy):
    with pytest.raises(UnlearnError, match="neg-grad with bn=recalibrate reads them") as caught:
        forgotten(toy, "neg-grad", True, bn="recalibrate")
    assert caught.value.hint.startswith("leave out bn=recalibrate;")
    assert forgotten(toy, "neg-grad", True)[0].images_read["forget"]


@pytest.mark.parametrize("tested", [True, False])
def test_every_number_is_measured_or_null_with_its_reason(toy, tested):
    loaded = only_threes(toy, tested)
    case = open_case(loaded, THREE).case
    outputs = read(loaded, OPTIONS)
    names = measured({"revived_accuracy"}, case, False, True)
    rows = rows_of(case, Subjects([loaded, loaded], ["original", "unlearned"], [outputs, outputs]), names, OPTIONS)
    for row in rows:
        assert all(one.value is not None or one.reason for one in row.measures.values())
        assert row.measures["forget_accuracy"].value > 0.9
        assert row.measures["retain_accuracy"].reason == "there are no images to retain"
        assert row.measures["retain_test_accuracy"].reason == "there are no test images of retained classes"
        assert [row.measures[name].value is not None for name in ("forget_test_accuracy", "test_accuracy")] == [tested, tested]
