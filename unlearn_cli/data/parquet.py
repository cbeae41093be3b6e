"""Parquet files with image bytes, as the Hugging Face hub keeps them, unpacked to a data folder."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unlearn_cli.data.layout import TEST, TRAIN, listed, role
from unlearn_cli.errors import UnlearnError, one_line

IMAGE, LABEL = ("image", "img"), "label"
SUFFIX = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "WEBP": "webp"}
PARTS = {TRAIN: "train", TEST: "test", "val": "validation"}
ROWS = 256  # in memory at once
LONGEST = 255  # bytes of a folder's name


def unpack(source: str | os.PathLike, output: str | os.PathLike) -> dict[str, int]:
    """Write the images of a Parquet file, or of a folder of them, as OUTPUT/<part>/<class>/<number>.<suffix>, bytes as they are.

    The part is what a file's name begins with (train-00000-of-00001.parquet); without any, OUTPUT/<class>/ is written. The
    class is the column `label`: by the names in the file's Hugging Face metadata, else as it is.

    Returns:
        How many images each part has; of no part, under "".

    Raises:
        UnlearnError: naming the file and the row that cannot be read, or the class that cannot be a folder. Nothing is left.
    """
    source, output = Path(source), Path(output)
    files = _files(source)
    parts = _parts(files)
    if os.path.lexists(output):
        raise UnlearnError(f"{output} is there already.", "name a folder that is not.")
    counts = dict.fromkeys(parts.values(), 0)
    with _renamed_to(output) as folder:
        for file in files:
            part = parts[file]
            for row, name, image in _rows(file):
                place = folder / part / _folder_name(name, file, row)
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{counts[part]:06}.{_suffix(image, file, row)}").write_bytes(image)
                counts[part] += 1
        if not sum(counts.values()):
            raise UnlearnError(f"{source} holds no rows.", "pass a Parquet file with images.")
    return counts


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    found = sorted(source.glob("*.parquet")) or sorted(source.glob("data/*.parquet"))
    if not found:
        what = "holds no Parquet file" if source.is_dir() else "does not exist"
        raise UnlearnError(f"{source} {what}.", "pass a file or a folder of train-00000-of-00001.parquet and the like.")
    return found


def _parts(files: list[Path]) -> dict[Path, str]:
    """The part of each file, by the first word of its name; "" where none of them says it."""
    parts = {file: PARTS.get(role(re.split(r"[-._]", file.name)[0]), "") for file in files}
    unsaid = [file.name for file, part in parts.items() if not part]
    if unsaid and len(unsaid) < len(files):
        what = f"{listed(unsaid)} beside files of parts: whether for training or for testing is not said."
        raise UnlearnError(what, "begin the names with train- or test-.")
    return parts


@contextmanager
def _renamed_to(output: Path) -> Iterator[Path]:
    """A folder beside that becomes the output when all went well, and is gone when not."""
    temporary = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name[:100]}.", dir=output.parent))
        whole = temporary / "whole"  # with the permissions of any new folder, which the temporary one has not
        whole.mkdir()
        yield whole
        os.rename(whole, output)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnlearnError(f"{output} cannot be written: {why}.", "name another folder.") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _rows(file: Path) -> Iterator[tuple[int, str, bytes]]:
    """Each row's number, counted from 1, its class and its image."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        what = "Parquet files are read by pyarrow, which is not installed."
        raise UnlearnError(what, "pip install 'unlearn-cli[parquet]'") from None
    row = 0
    try:
        with parquet.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            column = next((name for name in IMAGE if name in schema.names), None)
            if column is None or LABEL not in schema.names:
                raise UnlearnError(f"{file} has the columns {listed(schema.names)}.", f"it takes '{IMAGE[0]}' and '{LABEL}'.")
            names = _class_names(schema.metadata or {}, file)
            for batch in opened.iter_batches(ROWS, columns=[column, LABEL]):
                for image, label in zip(batch[column].to_pylist(), batch[LABEL].to_pylist(), strict=True):
                    row += 1
                    image = image.get("bytes") if isinstance(image, dict) else image
                    if not isinstance(image, bytes):
                        raise UnlearnError(f"row {row} of {file} has no image bytes.", "images that are only named are not read.")
                    yield row, _class(label, names, file, row), image
    except (pyarrow.ArrowException, OSError) as error:
        raise UnlearnError(f"{file} cannot be read as Parquet: {one_line(error, 200)}.", "it may be cut short.") from None


def _class_names(metadata: dict[bytes, bytes], file: Path) -> list[str] | None:
    """The names of the labels' numbers, where the file says them."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][LABEL]
        names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if names is not None and (not all(isinstance(name, str) for name in names) or len(set(names)) < len(names)):
        raise UnlearnError(f"{file} has two classes of one name, or one without.", "its metadata must name each label once.")
    return names


def _class(label: object, names: list[str] | None, file: Path, row: int) -> str:
    if isinstance(label, int) and names is not None:
        if 0 <= label < len(names):
            return names[label]
    elif isinstance(label, str) or (isinstance(label, int) and label >= 0):
        return str(label)
    what = f"row {row} of {file} has no class: its label is {one_line(label)}."
    raise UnlearnError(what, "take files whose rows are labelled.")


def _folder_name(name: str, file: Path, row: int) -> str:
    bad = not name.strip() or name[0] == "." or re.search(r"[/\\\0]", name) or len(name.encode(errors="replace")) > LONGEST
    if bad:
        raise UnlearnError(f"the class '{one_line(name)}' in row {row} of {file} cannot be the name of a folder.",
                           "rename it in the file: no slash, and no dot at the start.")  # fmt: skip
    return name


def _suffix(image: bytes, file: Path, row: int) -> str:
    from unlearn_cli.data.decode import checked  # starts Pillow

    try:
        return SUFFIX.get(checked(image).format, "jpg")  # a JPEG of several pictures goes by another name
    except ValueError as error:
        raise UnlearnError(f"the image in row {row} of {file} {error}.", "repair it, or take it out of the file.") from None
