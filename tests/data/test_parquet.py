"""Image bytes in Parquet files become a data folder, whole or not at all."""

import json

import pytest
from pictures import encoded, picture

from unlearn_cli.data.folder import open_folder
from unlearn_cli.data.parquet import unpack
from unlearn_cli.errors import UnlearnError

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402


def table(path, images, labels, names=None, struct=True, columns=("image", "label")):
    """A file as the hub writes it: images as bytes with a path, and the names of the labels in its metadata."""
    images = [{"bytes": image, "path": None} for image in images] if struct else images
    made = pyarrow.table(dict(zip(columns, (images, labels), strict=True)))
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(made, path)
    return path


def pictures(count, first=0, kind="png"):
    return [encoded(picture(first + i), kind) for i in range(count)]


def refused(source, output) -> UnlearnError:
    before = sorted(output.parent.iterdir())
    with pytest.raises(UnlearnError) as caught:
        unpack(source, output)
    assert sorted(output.parent.iterdir()) == before
    assert caught.value.hint and "\n" not in caught.value.problem
    return caught.value


@pytest.mark.parametrize("second", ["test", "validation"])
def test_files_of_parts_become_a_folder_that_opens(tmp_path, second):
    train = pictures(4) + pictures(2, 10, "jpeg")
    table(tmp_path / "hub/data/train-00000-of-00002.parquet", train[:4], [0, 1, 0, 1], ["cat", "sea lion"])
    table(tmp_path / "hub/data/train-00001-of-00002.parquet", train[4:], [1, 0], ["cat", "sea lion"])
    table(tmp_path / f"hub/data/{second}-00000-of-00001.parquet", pictures(2, 20), [0, 1], ["cat", "sea lion"])
    assert unpack(tmp_path / "hub", tmp_path / "made") == {"train": 6, second: 2}
    names = ["cat/000000.png", "sea lion/000001.png", "cat/000002.png", "sea lion/000003.png"]
    names += ["sea lion/000004.jpg", "cat/000005.jpg"]
    assert len(list((tmp_path / "made/train").glob("*/*"))) == 6
    assert [(tmp_path / "made/train" / name).read_bytes() for name in names] == train
    opened = open_folder(tmp_path / "made")
    assert opened.classes == ["cat", "sea lion"] and int(opened.images.test.sum()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "hub", "made"]


@pytest.mark.parametrize("labels, classes", [(["ant", "bee"], ["ant", "bee"]), ([7, 10], ["10", "7"])])
@pytest.mark.parametrize("struct", [True, False])
def test_one_file_of_no_part_becomes_folders_of_classes_by_its_labels(tmp_path, labels, classes, struct):
    file = table(tmp_path / "animals.parquet", pictures(2), labels, struct=struct, columns=("img", "label"))
    assert unpack(file, tmp_path / "made") == {"": 2}
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == classes
    assert (tmp_path / "made" / str(labels[1]) / "000001.png").read_bytes() == pictures(2)[1]


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../up", "a/b", "a\\b", ".hidden", "x" * 300, "nul\0"])
def test_a_class_that_cannot_be_a_folder_is_refused(tmp_path, name):
    file = table(tmp_path / "train.parquet", pictures(2), [0, 1], ["fine", name])
    assert "in row 2 of" in refused(file, tmp_path / "made").problem
    assert unpack(table(file, pictures(2), [0, 0], ["fine", name]), tmp_path / "made") == {"train": 2}


@pytest.mark.parametrize("label", [-1, 2, None])
def test_a_row_without_a_class_is_refused(tmp_path, label):
    assert "row 2 of" in refused(table(tmp_path / "train.parquet", pictures(2), [0, label], ["a", "b"]), tmp_path / "made").problem


@pytest.mark.parametrize("image, problem", [(b"", "is empty"), (b"no image", "is not a readable"), (None, "has no image bytes")])
def test_a_row_without_an_image_is_refused(tmp_path, image, problem):
    file = table(tmp_path / "train.parquet", [*pictures(1), image], [0, 1], ["a", "b"])
    problem_of = refused(file, tmp_path / "made").problem
    assert "row 2" in problem_of and problem in problem_of


def test_names_that_two_labels_share_are_refused(tmp_path):
    file = table(tmp_path / "train.parquet", pictures(2), [0, 1], ["crane", "crane"])
    assert "two classes of one name" in refused(file, tmp_path / "made").problem


def test_what_is_there_is_not_overwritten_and_files_in_doubt_are_refused(tmp_path):
    file = table(tmp_path / "in/train.parquet", pictures(1), ["a"])
    (tmp_path / "made").mkdir()
    assert "is there already" in refused(file, tmp_path / "made").problem
    assert list((tmp_path / "made").iterdir()) == []
    (tmp_path / "made").rmdir()
    table(tmp_path / "in/more.parquet", pictures(1), ["a"])
    assert "'more.parquet' beside files of parts" in refused(tmp_path / "in", tmp_path / "made").problem
    assert "does not exist" in refused(tmp_path / "none", tmp_path / "made").problem
    (tmp_path / "empty").mkdir()
    assert "holds no Parquet file" in refused(tmp_path / "empty", tmp_path / "made").problem
    (tmp_path / "bad.parquet").write_bytes(file.read_bytes()[:-40])
    assert "cannot be read as Parquet" in refused(tmp_path / "bad.parquet", tmp_path / "made").problem
    table(tmp_path / "other.parquet", pictures(1), ["a"], columns=("picture", "label"))
    assert "has the columns 'picture' and 'label'" in refused(tmp_path / "other.parquet", tmp_path / "made").problem
    assert "holds no rows" in refused(table(tmp_path / "none.parquet", [], [], struct=False), tmp_path / "made").problem
    assert unpack(file, tmp_path / "made") == {"train": 1}


def test_without_pyarrow_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    import sys

    file = table(tmp_path / "train.parquet", pictures(1), ["a"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "unlearn-cli[parquet]" in refused(file, tmp_path / "made").hint
