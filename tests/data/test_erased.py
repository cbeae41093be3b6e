"""Classes whose images were erased stay in the numbering; nothing else that is missing is passed over."""

import shutil

import pytest
import torch
from pictures import picture, put

from unlearn_cli.data.folder import open_folder, read_anew
from unlearn_cli.data.names import normal, same_name
from unlearn_cli.errors import UnlearnError


def refused(root, **options) -> UnlearnError:
    with pytest.raises(UnlearnError) as caught:
        open_folder(root, **options)
    return caught.value


def erase(root, name: str, how: str) -> None:
    for part in ("train", "test"):
        shutil.rmtree(root / part / name)
        if how == "empty":
            (root / part / name).mkdir()
        if how == "empty below":
            (root / part / name / "deep").mkdir(parents=True)


@pytest.mark.parametrize("how", ["gone", "empty", "empty below"])
def test_an_erased_class_keeps_the_numbers_of_the_others(photos, how):
    before = open_folder(photos)
    of_path = dict(zip(before.images.paths, before.images.labels.tolist(), strict=True))
    erase(photos, "dog", how)
    after = open_folder(photos, may_lack=["dog"])
    assert after.classes == before.classes
    assert [of_path[path] for path in after.images.paths] == after.images.labels.tolist()
    assert after.images.labels.unique().tolist() == [0, 2]


def test_an_empty_class_folder_is_refused_unless_its_class_is_named(photos):
    erase(photos, "dog", "empty")
    for named in ((), ("cat",), ("Dog",), ("train/dog",)):
        error = refused(photos, may_lack=named)
        assert "train/dog holds no images" in error.problem and "forgot" in error.hint
    assert open_folder(photos, may_lack=("dog",)).classes == ["cat", "dog", "owl"]


def test_a_class_that_is_not_named_leaves_the_classes_with_its_folder(photos):
    erase(photos, "dog", "gone")
    assert open_folder(photos).classes == ["cat", "owl"]


@pytest.mark.parametrize("part, left", [("train", 6), ("test", 10)])
def test_one_half_of_a_class_may_be_erased(photos, part, left):
    shutil.rmtree(photos / part / "dog")
    opened = open_folder(photos, may_lack=["dog"])
    assert opened.classes == ["cat", "dog", "owl"]
    assert int((opened.images.labels == 1).sum()) == {"train": 3, "test": 5}[part]
    if part == "train":
        assert "test/dog is a class without training images" in refused(photos).problem


def test_the_fingerprint_is_that_of_the_images_alone(photos):
    whole = open_folder(photos).fingerprint
    assert open_folder(photos, may_lack=["cat", "dog", "nobody"]).fingerprint == whole
    erase(photos, "dog", "gone")
    assert open_folder(photos).fingerprint == open_folder(photos, may_lack=["dog"]).fingerprint != whole


def test_a_folder_split_by_hash_may_lack_a_class_too(tmp_path):
    for name in ("ant", "bee", "cow"):
        for i in range(40):
            put(tmp_path / "d" / name / f"{i}.png", picture(i, (4, 4)))
    before = open_folder(tmp_path / "d").images
    shutil.rmtree(tmp_path / "d" / "bee")
    after = open_folder(tmp_path / "d", may_lack=["bee"])
    assert after.classes == ["ant", "bee", "cow"]
    kept = before.labels != 1
    assert torch.equal(after.images.labels, before.labels[kept]) and torch.equal(after.images.test, before.test[kept])
    (tmp_path / "d" / "bee").mkdir()
    assert open_folder(tmp_path / "d", may_lack=["bee"]).classes == ["ant", "bee", "cow"]
    assert "bee holds no images" in refused(tmp_path / "d").problem


def test_a_class_called_train_stays_one_when_the_others_are_erased(tmp_path):
    for name in ("car", "plane", "train"):
        for i in range(40):
            put(tmp_path / "d" / name / f"{i}.png", picture(i, (4, 4)))
    assert open_folder(tmp_path / "d").classes == ["car", "plane", "train"]
    shutil.rmtree(tmp_path / "d" / "plane")
    assert open_folder(tmp_path / "d", may_lack=["plane"]).classes == ["car", "plane", "train"]
    assert "'train'" in refused(tmp_path / "d").problem


def test_what_is_left_in_folders_below_an_erased_class_is_still_its_own(photos):
    put(photos / "train" / "dog" / "puppies" / "1.png", picture(1))
    for path in (photos / "train" / "dog").glob("*.png"):
        path.unlink()
    assert "train/dog holds no images itself" in refused(photos).problem
    left = open_folder(photos, may_lack=["dog"]).images
    assert [left.paths[i] for i in (left.labels == 1).nonzero()[:, 0] if not left.test[i]] == ["train/dog/puppies/1.png"]


def test_one_folder_in_each_class_is_still_read_when_one_class_is_left(tmp_path):
    for name in ("ant", "bee"):
        for i in range(40):
            put(tmp_path / "d" / name / "images" / f"{i}.png", picture(i, (4, 4)))
    assert open_folder(tmp_path / "d").classes == ["ant", "bee"]
    shutil.rmtree(tmp_path / "d" / "bee")
    assert open_folder(tmp_path / "d", may_lack=["bee"]).classes == ["ant", "bee"]
    assert "a level too deep" in refused(tmp_path / "d").problem


def test_all_images_gone_is_refused_even_where_every_class_may_lack_them(photos):
    for name in ("cat", "dog", "owl"):
        erase(photos, name, "empty")
    assert "holds no images" in refused(photos, may_lack=["cat", "dog", "owl"]).problem


def test_an_erased_class_is_known_by_either_form_of_its_name(photos):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert same_name(composed, decomposed) and not same_name(composed, "cafe") and normal(decomposed) == composed
    for part in ("train", "test"):
        (photos / part / "dog").rename(photos / part / decomposed)
    wanted = open_folder(photos)
    assert open_folder(photos, may_lack=[composed]).classes == wanted.classes == [decomposed, "cat", "owl"]
    erase(photos, decomposed, "empty")
    assert open_folder(photos, may_lack=[composed]).classes == sorted([composed, "cat", "owl"])
    assert open_folder(photos, may_lack=[decomposed]).classes == wanted.classes


def test_what_is_read_anew_may_lack_the_same_classes(photos):
    erase(photos, "dog", "empty")
    listing, digests = read_anew(photos, 0.2, may_lack=["dog"])
    assert listing.classes == ["cat", "dog", "owl"] and len(digests) == 16
    with pytest.raises(UnlearnError):
        read_anew(photos, 0.2)
