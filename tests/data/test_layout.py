"""Folders that look like parts or like classes and are not are refused with their names; the well-formed one beside is read."""

import os
import shutil

import pytest
import torch
from pictures import picture, put

from unlearn_cli.data.folder import Folder, open_folder
from unlearn_cli.data.layout import VALIDATION, count_images, role
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.errors import UnlearnError


def classes_in(folder, names=("ant", "bee"), count=4):
    """Class folders with a few images each; in one level about a fifth of these become test images."""
    for c, name in enumerate(names):
        for i in range(count):
            put(folder / name / f"{i}.png", picture(100 * c + i, (4, 4)))


def refused(root) -> UnlearnError:
    with pytest.raises(UnlearnError) as caught:
        open_folder(root)
    assert caught.value.hint and "\n" not in caught.value.problem + caught.value.hint
    return caught.value


def read(root) -> Folder:
    return open_folder(root)


TRAIN_NAMES = ["Train", "TRAIN", "Training", "training", "training_set", "train_set", "trainset", "TrainSet", "Training Set",
               "train-images", "training_data", "train2017", "trn"]  # fmt: skip
TEST_NAMES = ["Test", "TEST", "Testing", "testing", "test_set", "testset", "TestSet", "Test Set", "test-images", "test_data",
              "test2017", "tst"]  # fmt: skip
VAL_NAMES = ["val", "VAL", "Val", "valid", "Valid", "validation", "Validation_Set", "dev", "devset", "holdout", "hold-out",
             "held_out", "eval", "evaluation", "val2017"]  # fmt: skip


def test_names_of_parts_are_known_and_names_of_things_are_not():
    assert {role(name) for name in ["train", *TRAIN_NAMES]} == {"train"}
    assert {role(name) for name in ["test", *TEST_NAMES]} == {"test"}
    assert {role(name) for name in VAL_NAMES} == {"val"}
    others = ["trainer", "trains", "train station", "test tube", "protest", "contest", "value", "valley", "devil", "evil", "set",
              "images", "data", "0", "", "latest", "Übungstest", "invalid", "traffic"]  # fmt: skip
    assert [name for name in others if role(name)] == []


@pytest.mark.parametrize("train, test", list(zip(TRAIN_NAMES, [*TEST_NAMES, "tests"], strict=True)))
def test_two_parts_under_other_names_are_refused_with_both_names_and_read_once_renamed(tmp_path, train, test):
    root = tmp_path / "d"
    classes_in(root / train), classes_in(root / test)
    put(root / "readme.txt", b"x")
    error = refused(root)
    assert f"'{train}'" in error.problem and f"'{test}'" in error.problem
    assert f"'{train}' to 'train'" in error.hint and f"'{test}' to 'test'" in error.hint
    (root / train).rename(root / "train"), (root / test).rename(root / "test")
    assert read(root).notes == ()
    assert read(root).classes == ["ant", "bee"]


@pytest.mark.parametrize("name", TEST_NAMES)
def test_a_test_part_under_another_name_is_refused_and_read_once_renamed(tmp_path, name):
    classes_in(tmp_path / "d" / "train"), classes_in(tmp_path / "d" / name)
    error = refused(tmp_path / "d")
    assert f"'{name}'" in error.problem and f"rename '{name}' to 'test'" in error.hint
    (tmp_path / "d" / name).rename(tmp_path / "d" / "test")
    assert read(tmp_path / "d").notes == ()


@pytest.mark.parametrize("name", ["train", *TRAIN_NAMES])
@pytest.mark.parametrize("others", [(), ("images",), ("ant", "bee")])
def test_a_training_part_alone_or_among_others_is_refused(tmp_path, name, others):
    classes_in(tmp_path / "d" / name), classes_in(tmp_path / "d", others)
    error = refused(tmp_path / "d")
    assert f"'{name}'" in error.problem and "no 'test' folder" in error.problem
    assert name == "train" or f"rename '{name}' to 'train'" in error.hint


@pytest.mark.parametrize("name", ["test", *TEST_NAMES])
def test_a_test_part_among_class_folders_is_refused(tmp_path, name):
    classes_in(tmp_path / "d", count=20)
    assert read(tmp_path / "d").classes == ["ant", "bee"]
    for nested in (True, False):  # with folders of classes, and with images right in it
        classes_in(tmp_path / "d" / name) if nested else classes_in(tmp_path / "d", [name])
        assert f"'{name}'" in refused(tmp_path / "d").problem
        shutil.rmtree(tmp_path / "d" / name)


@pytest.mark.parametrize("train", ["train", "Train", "Training"])
def test_two_parts_without_class_folders_are_refused(tmp_path, train):
    classes_in(tmp_path / "d", [train, "Testing"])
    assert "'Testing'" in refused(tmp_path / "d").problem


@pytest.mark.parametrize("name", ["train", "Train", "valid", "dev"])
def test_a_class_of_such_a_name_among_other_classes_is_read_and_noted(tmp_path, name):
    classes_in(tmp_path / "d", ["car", "plane", name], count=20)
    opened = read(tmp_path / "d")
    assert opened.classes == sorted(["car", "plane", name])
    (note,) = opened.notes
    assert f"'{name}' is read as a class" in note


def test_classes_that_all_have_such_names_are_classes(tmp_path):
    classes_in(tmp_path / "d", ["test1", "test2", "test3"], count=20)
    assert read(tmp_path / "d").classes == ["test1", "test2", "test3"]


@pytest.mark.parametrize("name", VAL_NAMES)
def test_validation_images_beside_both_parts_are_noted_with_their_number(photos, name):
    assert read(photos).notes == ()
    fingerprint = read(photos).fingerprint
    classes_in(photos / name, ["cat", "dog"], count=3)
    opened = read(photos)
    (note,) = opened.notes
    assert f"'{name}' with 6 images is not read" in note
    assert opened.fingerprint == fingerprint


MISNAMED = [("Train", name) for name in VAL_NAMES] + [("train", name) for name in VAL_NAMES if name not in VALIDATION]


@pytest.mark.parametrize("train, name", MISNAMED)
def test_validation_images_in_place_of_test_images_under_other_names_are_refused_with_the_rename(tmp_path, name, train):
    classes_in(tmp_path / "d" / train), classes_in(tmp_path / "d" / name)
    error = refused(tmp_path / "d")
    assert f"'{name}' is not read" in error.problem and f"rename '{name}' to 'test'" in error.hint


@pytest.mark.parametrize("name", VALIDATION)
def test_validation_images_stand_in_for_test_images_that_are_not_there_and_are_noted(photos, name):
    before = read(photos)
    (photos / "test").rename(photos / name)
    opened = read(photos)
    assert opened.notes == (f"the images in '{name}' are read as the test images: there is no folder 'test'",)
    assert {path.partition("/")[0] for path, test in zip(opened.images.paths, opened.images.test, strict=True) if test} == {name}
    assert opened.classes == before.classes and opened.images.paths == sorted(opened.images.paths)
    for path, label, pixels in zip(opened.images.paths, opened.images.labels, opened.images.pixels, strict=True):
        old = before.images.paths.index(path.replace(f"{name}/", "test/"))
        assert before.images.labels[old] == label and torch.equal(before.images.pixels[old], pixels)


def test_a_listed_image_of_the_other_part_is_suggested_where_validation_images_are_the_test_images(photos):
    (photos / "test").rename(photos / "val")
    (photos / "train" / "cat" / "4.png").rename(photos / "train" / "cat" / "9.png")
    (photos / "val" / "cat" / "0.png").rename(photos / "val" / "cat" / "7.png")
    for listed, meant in (("train/cat/7.png", "val/cat/7.png"), ("val/cat/9.png", "train/cat/9.png")):
        with pytest.raises(UnlearnError) as caught:
            resolve(Request(instances=(listed,)), read(photos))
        assert caught.value.hint == f"did you mean '{meant}'?"


def test_validation_images_are_test_images_only_while_there_is_no_test_folder_of_any_name(photos):
    shutil.copytree(photos / "test", photos / "val")
    assert "'val' with 9 images is not read" in read(photos).notes[0]
    (photos / "test").rename(photos / "Testing")
    assert "rename 'Testing' to 'test'" in refused(photos).hint
    shutil.rmtree(photos / "Testing")
    assert "'val' are read as the test images" in read(photos).notes[0]
    (photos / "test").mkdir()
    assert "no test images" in refused(photos).problem


@pytest.mark.parametrize("second", ["valid", "validation", "Val", "dev", "holdout"])
def test_two_folders_of_validation_images_and_no_test_images_are_refused(photos, second):
    (photos / "test").rename(photos / "val")
    (photos / second).mkdir()
    assert len(read(photos).images) == 24  # an empty folder holds nothing that could be meant
    classes_in(photos / second, ["cat"])
    error = refused(photos)
    assert "'val'" in error.problem and f"'{second}'" in error.problem and "the one of them that is meant" in error.hint
    (photos / "val").rename(photos / "test")
    assert f"'{second}' with 4 images is not read" in read(photos).notes[0]


def test_a_class_of_validation_images_alone_is_refused_like_one_of_test_images(photos):
    (photos / "test").rename(photos / "val")
    classes_in(photos / "val", ["fox"])
    assert "val/fox is a class without training images" in refused(photos).problem
    (photos / "val" / "fox").rename(photos / "train" / "fox")
    put(photos / "val" / "stray.png", picture(1))
    assert "val/stray.png lies outside any class folder" in refused(photos).problem


def test_what_lies_beside_validation_images_is_noted(photos):
    (photos / "test").rename(photos / "valid")
    classes_in(photos / "other", ["cat"]), put(photos / "cover.png", picture(1))
    _, other, stray = read(photos).notes
    assert other == "the folder 'other' with 4 images is not read: only train and valid are"
    assert stray == "1 image right beside the folders train and valid is not read"


@pytest.mark.parametrize("name", ["val", "Validation"])
@pytest.mark.parametrize("with_classes", [True, False])
def test_a_validation_part_beside_class_folders_is_refused(tmp_path, name, with_classes):
    classes_in(tmp_path / "d" / name)
    if with_classes:
        classes_in(tmp_path / "d", count=20)
    assert f"the folder {name} holds" in refused(tmp_path / "d").problem
    if with_classes:
        shutil.rmtree(tmp_path / "d" / name)
        assert read(tmp_path / "d").notes == ()


def test_other_folders_and_images_beside_the_parts_are_noted(photos):
    put(photos / "unlabeled" / "deep" / "down" / "1.JPG", b"never opened")
    put(photos / "documents" / "notes.txt", b"x")
    put(photos / ".thumbnails" / "1.png", b"x")
    put(photos / "__MACOSX" / "train" / "._1.png", b"x")
    (photos / "empty").mkdir()
    put(photos / "cover.png", b"never opened")
    notes = read(photos).notes
    assert len(notes) == 2 and "'unlabeled' with 1 image is not read" in notes[0] and notes[1].startswith("1 image right beside")


def test_many_folders_beside_the_parts_make_few_notes(photos):
    for i in range(300):
        put(photos / f"old {i:03}" / "1.png", b"never opened")
    notes = read(photos).notes
    assert len(notes) == 5 and "296 more" in notes[-1]


@pytest.mark.parametrize("name", ["Train", "training", "Testing"])
def test_a_part_that_is_there_twice_is_refused(photos, name):
    (photos / name).mkdir()
    assert len(read(photos).images) == 24  # an empty folder holds nothing that could be meant
    classes_in(photos / name, ["cat"])
    assert f"both '{role(name)}' and '{name}'" in refused(photos).problem


def test_links_count_as_the_folders_that_they_lead_to(photos, tmp_path):
    root = tmp_path / "d"
    root.mkdir()
    (root / "Training").symlink_to(photos / "train"), (root / "Testing").symlink_to(photos / "test")
    assert "'Training'" in refused(root).problem
    (root / "Training").rename(root / "train"), (root / "Testing").rename(root / "test")
    assert read(root).fingerprint == read(photos).fingerprint
    (root / "val").symlink_to(photos / "test"), (root / "back").symlink_to(root)
    assert any("'val' with 9 images" in note for note in read(root).notes)
    (root / "back").unlink(), (root / "val").unlink()
    (root / "Train").symlink_to(root / "train")  # the same folder under a second name leaves no doubt
    assert len(read(root).images) == 24


def test_a_link_to_itself_ends_the_counting(tmp_path):
    put(tmp_path / "a" / "1.png", b"x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "nowhere").symlink_to(tmp_path / "gone")
    assert count_images(str(tmp_path)) == 1


# Levels


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "Testing"), ("train", "val")])
@pytest.mark.parametrize("litter", [False, True])
def test_a_root_one_level_too_high_is_refused_with_the_folder_to_pass(tmp_path, parts, litter):
    for part in parts:
        classes_in(tmp_path / "d" / "dataset" / part)
    if litter:
        put(tmp_path / "d" / "readme.txt", b"x")
        put(tmp_path / "d" / "__MACOSX" / "._1.png", b"x")
    error = refused(tmp_path / "d")
    assert "dataset" in error.problem and f"'{parts[0]}'" in error.problem
    assert error.hint == f"pass {tmp_path / 'd' / 'dataset'}."
    if parts == ("train", "test"):
        assert read(tmp_path / "d" / "dataset").classes == ["ant", "bee"]


def test_class_folders_one_level_too_high_are_refused_with_the_folder_to_pass(tmp_path):
    classes_in(tmp_path / "d" / "images", count=20)
    assert refused(tmp_path / "d").hint == f"pass {tmp_path / 'd' / 'images'}."
    assert read(tmp_path / "d" / "images").classes == ["ant", "bee"]


@pytest.mark.parametrize("part", ["", "train"])
@pytest.mark.parametrize("second", [("ant", "bee"), ("rose",), ()])
def test_folders_of_folders_are_no_classes(tmp_path, part, second):
    root = tmp_path / "d"
    classes_in(root / part / "animals", ("cat", "dog"), count=20)
    classes_in(root / part / "plants", second) if second else classes_in(root / part, ("plants",), count=20)
    if part:
        classes_in(root / "test", ("animals", "plants"))
    error = refused(root)
    assert "animals holds no images itself, only 'cat' and 'dog'" in error.problem and "look like the classes" in error.problem
    for name in ("cat", "dog"):
        for file in (root / part / "animals" / name).iterdir():
            file.rename(root / part / "animals" / f"{name}-{file.name}")
    if second:
        shutil.rmtree(root / part / "plants")
        classes_in(root / part, ("plants",), count=20)
    assert read(root).classes == ["animals", "plants"]


def test_test_images_one_level_too_deep_are_refused(photos):
    for i in range(3):
        put(photos / "test" / "dog" / f"batch {i}" / "1.png", picture(i))
    assert read(photos).classes == ["cat", "dog", "owl"]
    for path in (photos / "test" / "dog").glob("*.png"):
        path.unlink()
    assert "test/dog holds no images itself" in refused(photos).problem


def test_parts_within_each_class_are_refused(tmp_path):
    for name in ("ant", "bee"):
        classes_in(tmp_path / "d" / name, ("train", "test"))
    error = refused(tmp_path / "d")
    assert "'test' and 'train'" in error.problem and "train/<class>/" in error.hint


HALVES = [("cat_train", "cat_test"), ("Test Cat", "Train Cat"), ("catVal", "catTrain"), ("cat 1 train", "cat 1 dev")]


@pytest.mark.parametrize("pair", HALVES)
def test_two_parts_of_one_class_are_no_classes(tmp_path, pair):
    classes_in(tmp_path / "d", ("dog", "train station", "test tube", pair[0]), count=20)
    assert len(read(tmp_path / "d").classes) == 4
    classes_in(tmp_path / "d", (pair[1],), count=20)
    problem = refused(tmp_path / "d").problem
    assert f"'{pair[0]}'" in problem and f"'{pair[1]}'" in problem


def test_a_part_within_a_part_is_refused(tmp_path):
    for part in ("train", "test"):
        classes_in(tmp_path / "d" / part / part)
    assert "looks like one part of the data" in refused(tmp_path / "d").problem


@pytest.mark.parametrize("part", ["test", "Validation", "train"])
def test_a_part_within_a_class_that_holds_images_too_is_refused(photos, part):
    put(photos / "train" / "cat" / "tabby" / "1.png", picture(1))
    assert read(photos).classes == ["cat", "dog", "owl"]
    put(photos / "train" / "cat" / part / "1.png", picture(2))
    assert f"train/cat/{part} looks like" in refused(photos).problem


def test_one_folder_of_one_name_in_every_class_is_read_and_noted(tmp_path):
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            classes_in(tmp_path / "d" / part / name, ("images",))
    opened = read(tmp_path / "d")
    assert opened.classes == ["ant", "bee"] and "'train/ant/images'" in opened.notes[0]
    (tmp_path / "d" / "train" / "ant" / "images").rename(tmp_path / "d" / "train" / "ant" / "pictures")
    assert "holds no images itself" in refused(tmp_path / "d").problem


def test_one_name_that_holds_the_classes_in_every_folder_is_refused(tmp_path):
    for name in ("first", "second"):
        classes_in(tmp_path / "d" / name / "data", ("ant", "bee"), count=20)
    assert "holds no images itself, only 'data'" in refused(tmp_path / "d").problem


def test_folders_below_a_class_that_holds_images_too_are_noted(photos):
    put(photos / "train" / "cat" / "tabby" / "1.png", picture(1))
    (note,) = read(photos).notes
    assert "'train/cat/tabby'" in note


def test_an_error_shows_few_of_many_names(tmp_path):
    classes_in(tmp_path / "d" / "images", [f"c{i:03}" for i in range(300)], count=1)
    error = refused(tmp_path / "d")
    assert "295 more" in error.problem and len(error.problem) < 200


# Names in two Unicode forms


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_two_class_folders_of_one_name_in_two_forms_are_refused_with_their_code_points(tmp_path, parts):
    for part in parts:
        classes_in(tmp_path / "d" / part, (COMPOSED, "cafe"), count=20)
    assert read(tmp_path / "d").classes == ["cafe", COMPOSED]
    classes_in(tmp_path / "d" / parts[-1], (DECOMPOSED,))
    if len(os.listdir(tmp_path / "d" / parts[-1])) < 3:
        pytest.skip("this file system takes the two for one name")
    problem = refused(tmp_path / "d").problem
    assert "caf<U+00E9>" in problem and "cafe<U+0301>" in problem


def test_training_and_test_folders_in_two_forms_are_one_class(tmp_path):
    classes_in(tmp_path / "d" / "train", (COMPOSED, "dog")), classes_in(tmp_path / "d" / "test", (DECOMPOSED, "dog"))
    opened = read(tmp_path / "d")
    assert opened.classes == sorted([COMPOSED, "dog"])
    assert opened.images.labels.bincount().tolist() == [8, 8]
