"""A folder that is a part of what a model was trained on: one class, no test images, classes that only these have."""

import shutil

import pytest
from pictures import picture, put

from tests.splitting import split
from unlearn_cli.data.folder import open_folder, read_anew
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.errors import UnlearnError


def refused(root, **options) -> UnlearnError:
    with pytest.raises(UnlearnError) as caught:
        open_folder(root, **options)
    return caught.value


def test_training_images_alone_are_enough_for_a_part_and_for_no_whole(photos):
    shutil.rmtree(photos / "test")
    assert "no 'test' folder" in refused(photos).problem
    opened = open_folder(photos, partial=True)
    assert opened.classes == ["cat", "dog", "owl"] and len(opened.images) == 15 and not opened.images.test.any()
    (photos / "test").mkdir()
    assert "no test images" in refused(photos).problem
    assert open_folder(photos, partial=True).fingerprint == opened.fingerprint
    assert read_anew(photos, 0.2, partial=True)[0].paths == opened.images.paths


def test_one_class_is_enough_for_a_part(photos):
    for name in ("cat", "owl"):
        shutil.rmtree(photos / "train" / name), shutil.rmtree(photos / "test" / name)
    opened = open_folder(photos, partial=True)
    assert opened.classes == ["dog"] and len(opened.images) == 8
    known = open_folder(photos, partial=True, may_lack=["owl", "dog", "cat"])
    assert known.classes == ["cat", "dog", "owl"] and known.images.labels.unique().tolist() == [1]


def test_a_part_may_have_test_images_of_a_class_without_training_images(photos):
    shutil.rmtree(photos / "train" / "cat")
    assert "test/cat is a class without training images" in refused(photos).problem
    opened = open_folder(photos, partial=True)
    assert opened.classes == ["cat", "dog", "owl"]
    for path, label in zip(opened.images.paths, opened.images.labels.tolist(), strict=True):
        assert path.split("/")[1] == opened.classes[label]
    assert opened.images.labels[opened.images.test].unique().tolist() == [0, 1, 2]
    assert opened.images.labels[~opened.images.test].unique().tolist() == [1, 2]


def test_a_part_is_the_same_folder_as_a_whole_where_nothing_is_missing(photos):
    whole, part = open_folder(photos), open_folder(photos, partial=True)
    assert (part.classes, part.fingerprint, part.images.paths, part.notes) == (
        whole.classes, whole.fingerprint, whole.images.paths, whole.notes)  # fmt: skip
    assert part.images.test.tolist() == whole.images.test.tolist()


def test_validation_images_of_a_part_are_its_test_images(photos):
    (photos / "test").rename(photos / "valid")
    opened = open_folder(photos, partial=True)
    assert int(opened.images.test.sum()) == 9 and "'valid' are read as the test images" in opened.notes[0]


def test_one_level_of_classes_of_a_part_is_split_by_hash_and_keeps_a_training_image_of_each(tmp_path):
    for i in range(40):
        put(tmp_path / "many" / "ant" / f"{i}.png", picture(i, (4, 4)))
    whole, part = open_folder(tmp_path / "many"), open_folder(tmp_path / "many", partial=True)
    assert part.classes == ["ant"] and part.images.test.tolist() == whole.images.test.tolist()
    assert whole.notes == () and part.notes[0].startswith(f"{int(part.images.test.sum())} of the 40 images are held out")
    name = next(path for path, test in zip(whole.images.paths, whole.images.test, strict=True) if not test)
    put(tmp_path / "one" / name, picture(0, (4, 4)))
    assert "no test images" in refused(tmp_path / "one").problem
    assert len(open_folder(tmp_path / "one", partial=True).images) == 1
    held = next(path for path, test in zip(whole.images.paths, whole.images.test, strict=True) if test)
    put(tmp_path / "held" / held, picture(0, (4, 4)))
    assert "keeps no training images" in refused(tmp_path / "held", partial=True).problem


@pytest.mark.parametrize("names", [("Train",), ("train", "Test"), ("train", "dev"), ("train", "val", "valid"), ("test",)])
def test_parts_of_a_data_set_under_doubtful_names_are_refused_of_a_part_too(photos, names):
    shutil.copytree(photos / "train", photos.parent / "kept")
    shutil.rmtree(photos)
    for name in names:
        shutil.copytree(photos.parent / "kept", photos / name)
    assert refused(photos, partial=True).hint


def test_a_part_without_training_images_and_an_empty_class_are_refused(photos):
    (photos / "train" / "fox").mkdir()
    assert "train/fox holds no images" in refused(photos, partial=True).problem
    shutil.rmtree(photos / "train"), (photos / "train").mkdir()
    assert "holds no images" in refused(photos, partial=True).problem


# Splits


def test_what_is_not_there_makes_empty_splits_where_a_class_that_stays_lies_elsewhere(photos):
    shutil.rmtree(photos / "test"), shutil.rmtree(photos / "train" / "cat"), shutil.rmtree(photos / "train" / "owl")
    opened = open_folder(photos, partial=True, may_lack=["cat", "owl"])
    for request in (Request(("dog",)), Request(instances=("train/dog/*.png",))):
        s = split(opened, request, ALL, 0.5)
        assert {name: len(getattr(s, name)) for name in ALL if len(getattr(s, name))} == {"forget": 5, "train": 5}


def test_all_of_a_folder_that_lacks_no_class_is_refused_and_so_are_all_classes(photos):
    lacking = open_folder(photos, may_lack=["fox"])
    whole = open_folder(photos)
    every = Request(instances=("train/**/*.png",))
    assert len(split(lacking, every, ALL).retain) == 0
    three, four = Request(("cat", "dog", "owl")), Request(("cat", "dog", "owl", "fox"))
    assert len(split(lacking, three, ALL).retain) == 0
    for folder, request in ((whole, every), (whole, three), (lacking, four)):
        with pytest.raises(UnlearnError, match="every training image is to be forgotten"):
            split(folder, request, ALL)
