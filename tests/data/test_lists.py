import io
import json
import os
import sys
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearn_cli.data.globs import translate
from unlearn_cli.data.lists import patterns, read_list
from unlearn_cli.data.matching import match, set_apart
from unlearn_cli.data.names import normal, same_name
from unlearn_cli.errors import UnlearnError

PATHS = sorted(
    [f"train/{name}/{i:03d}.png" for name in ("3", "14", "#1") for i in range(12)]
    + [f"test/3/{i:03d}.png" for i in range(100, 104)]
    + ["train/14/a b.png", "train/14/ a.png", "train/14/x[1].png", "train/14/x1.png", "train/14/a,b.png", "train/14/Big.JPG"]
    + ["train/14/it's.png", "train/14/form\x0cfeed.png", "train/14/line\u2028next.png", "train/14/new\nline.png"]
    + ["train/14/caf\udce9.png", unicodedata.normalize("NFD", "train/14/é.png"), "train/3/#7.png"]
)
PATHS_OF_3 = [f"train/3/00{i}.png" for i in range(10)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photos/ in it, whose images are names only, and a list beside it; the working directory is elsewhere."""
    for folder in {os.path.dirname(path) for path in PATHS}:
        (tmp_path / "photos" / folder).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def found(place, content: str | bytes, name: str = "lists/list.txt", column: str | None = None, paths=PATHS):
    file = place / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))
    return match(read_list(str(file), column), paths, str(place / "photos"))


def names(matched, paths=PATHS) -> list[str]:
    return [paths[i] for i in matched.positions]


def refused(call, *args, **more) -> UnlearnError:
    with pytest.raises(UnlearnError) as caught:
        call(*args, **more)
    return caught.value


def as_lines(paths, end="\n"):
    return "".join(path + end for path in paths)


def as_csv(paths, header="file_name,score", before="", after=",0.5"):
    return as_lines([header] + [before + '"' + path.replace('"', '""') + '"' + after for path in paths])


DIALECTS = {
    "lines": lambda p: (as_lines(p), "a.txt"),
    "without a last line break": lambda p: ("\n".join(p), "a.txt"),
    "CRLF": lambda p: (as_lines(p, "\r\n"), "a.txt"),
    "CR alone": lambda p: (as_lines(p, "\r"), "a.txt"),
    "byte order mark": lambda p: ("\ufeff" + as_lines(p), "a.txt"),
    "marks of files put together": lambda p: ("".join(f"\ufeff{path}\n" for path in p), "a.txt"),
    "UTF-16": lambda p: (as_lines(p).encode("utf-16"), "a.txt"),
    "UTF-16, big first": lambda p: (b"\xfe\xff" + as_lines(p).encode("utf-16-be"), "a.txt"),
    "UTF-32": lambda p: (as_lines(p).encode("utf-32"), "a.txt"),
    "blank lines and blanks": lambda p: ("\n \n" + "".join(f"  {path}\t\n\n" for path in p), "a.txt"),
    "double quotes": lambda p: ("".join(f'"{path}"\n' for path in p), "a.txt"),
    "single quotes": lambda p: ("".join(f"'{path}'\n" for path in p), "a.txt"),
    "dot and slash": lambda p: (as_lines(path if path[0] == "/" else f"./{path}" for path in p), "a.txt"),
    "doubled slashes": lambda p: (as_lines(path.replace("/", "//") for path in p), "a.txt"),
    "through the folder above": lambda p: (as_lines(path.replace("/3/", "/14/../3/") for path in p), "a.txt"),
    "backslashes": lambda p: (as_lines(path.replace("/", "\\") for path in p), "a.txt"),
    "composed": lambda p: (as_lines(unicodedata.normalize("NFC", path) for path in p), "a.txt"),
    "decomposed": lambda p: (as_lines(unicodedata.normalize("NFD", path) for path in p), "a.txt"),
    "NUL after each": lambda p: (as_lines(p, "\0"), "a.txt"),
    "comments": lambda p: ("# to remove:\n" + as_lines(p) + "#\n  # done, 3 of 4\n", "a.txt"),
    "CSV": lambda p: (as_csv(p), "a.csv"),
    "CSV with CRLF and a mark": lambda p: ("\ufeff" + as_csv(p, "file_name,score\r", after=",0.5\r"), "a.csv"),
    "CSV with semicolons": lambda p: (as_csv(p, "score;Path", "0,5;", ""), "a.csv"),
    "CSV of one column": lambda p: (as_csv(p, "image", after=""), "a.csv"),
    "CSV without a header": lambda p: (as_csv(p, "", after=""), "a.csv"),
    "CSV with an unknown header": lambda p: (as_csv(p, "to forget", after=""), "a.csv"),
    "TSV": lambda p: (as_csv(p, "n\tfile_name", "1\t", ""), "a.tsv"),
    "JSON": lambda p: (json.dumps(p), "a.json"),
    "JSON of objects": lambda p: (json.dumps([{"id": 1, "path": path} for path in p]), "a.json"),
    "JSON lines": lambda p: (as_lines(json.dumps({"file_name": path}) for path in p), "a.jsonl"),
    "JSON lines of strings": lambda p: (as_lines(json.dumps(path, ensure_ascii=False) for path in p), "a.jsonl"),
}
WHERE = {
    "relative to the data": lambda path, place: path,
    "relative to the list": lambda path, place: f"../photos/{path}",
    "absolute": lambda path, place: f"{place}/photos/{path}",
    "absolute, through a link": lambda path, place: f"{place}/link/{path}",
    "as found from the working directory": lambda path, place: f"../photos/{path}",
}
PLAIN = [path for path in PATHS if not any(c in path for c in ",'\x0c\u2028\n\udce9[#") and "/ " not in path]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=20), st.sampled_from(sorted(DIALECTS)), st.sampled_from(sorted(WHERE)))
def test_a_list_in_any_dialect_names_the_same_images(place, listed, dialect, where):
    link = place / "link"
    if not link.is_symlink():
        link.symlink_to(place / "photos")
    content, name = DIALECTS[dialect]([WHERE[where](path, place) for path in listed])
    matched = found(place, content, f"lists/{name}")
    assert names(matched) == sorted(set(listed))
    assert matched.entries == len(listed) and matched.repeated == len(listed) - len(set(listed))


@pytest.mark.parametrize("dialect", ["lines", "CRLF", "NUL after each", "JSON", "JSON lines", "CSV", "CSV with CRLF and a mark"])
def test_odd_names_are_matched_as_they_are_written(place, dialect):
    """A name may hold blanks at its ends, quotes, brackets, form feeds, and line breaks where the dialect has another end."""
    odd = [path for path in PATHS if path not in PLAIN and "#1" not in path]
    if dialect in ("lines", "CRLF"):
        odd = [path for path in odd if "\n" not in path]
    content, name = DIALECTS[dialect](odd)
    assert names(found(place, content, f"lists/{name}")) == sorted(odd)


def test_the_exact_name_wins_over_the_name_without_blanks_or_quotes(place):
    paths = ["train/3/x.png", "train/3/x.png ", "train/'3/x.png'", "'train/3/x.png'"]
    for path in paths:
        assert names(found(place, path, paths=paths), paths) == [path]
    assert names(found(place, ' "train/3/x.png" ', paths=paths), paths) == ["train/3/x.png"]


def test_an_exact_name_wins_over_its_other_spelling_in_unicode(place):
    one, other = "train/3/\u00e9.png", "train/3/e\u0301.png"
    assert names(found(place, one, paths=[one, other]), [one, other]) == [one]
    assert names(found(place, other, paths=[one]), [one]) == [one]
    assert same_name(one, other) and normal(other) == one and not same_name("a", "b")
    both = ["train/3/e\u0301\u0323.png", "train/3/e\u0323\u0301.png"]                  # marks in two orders, and a third spelling
    assert "may mean" in refused(found, place, "train/3/\u1eb9\u0301.png", paths=both).problem


def test_a_name_that_is_not_utf8_is_matched_and_an_unmatched_one_says_where_the_list_breaks(place):
    assert names(found(place, b"train/14/caf\xe9.png\n")) == ["train/14/caf\udce9.png"]
    error = refused(found, place, b"train/3/000.png\ntrain/3/caf\xe9.png\n")
    assert "(line 2) is no image" in error.problem and "byte 27, line 2" in error.hint and "UTF-8" in error.hint
    error = refused(found, place, b"\xff\xfet\x00r\x00\x00\xd8")
    assert "UTF-16" in error.problem
    assert "not UTF-8" in refused(found, place, as_lines(PLAIN).encode("utf-16-le")).problem


def test_a_line_that_begins_with_a_hash_is_an_entry_where_it_is_a_name(place):
    matched = found(place, "# a comment\n#1/001.png\ntrain/#1/002.png\n  #1/003.png\n#\n#1/00[56].png\n", "photos/train/list.txt")
    assert names(matched) == [f"train/#1/00{i}.png" for i in (1, 2, 3, 5, 6)]
    assert (matched.comments, matched.lines, matched.globs) == (2, 6, (("#1/00[56].png", 2),))
    assert names(found(place, "#7.png", "photos/train/3/list.txt")) == ["train/3/#7.png"]


@pytest.mark.parametrize("line", ["#1/999.png", "#1\\999.png", "#1/notes", "#1/9*.png", "#8.png", "# 8.png", "train/#1/9.png"])
def test_a_line_that_may_be_meant_as_a_name_is_no_comment(place, line):
    error = refused(found, place, f"train/3/000.png\n{line}\n")
    assert line in error.problem and "line 2" in error.problem


def test_a_root_whose_name_begins_with_a_hash_makes_no_comment_of_its_paths(place, monkeypatch):
    (place / "photos").rename(place / "#photos")
    monkeypatch.chdir(place)
    (place / "list.txt").write_text("#photos/train/3/000.png\n")
    assert names(match(read_list("list.txt"), PATHS, "#photos")) == ["train/3/000.png"]
    (place / "list.txt").write_text("#photos/train/3/000.png\n#photos/train/3/gone.png\n")
    paths = [path for path in PATHS if "#" not in path]
    assert "gone.png (line 2)" in refused(match, read_list("list.txt"), paths, "#photos").problem
    assert match(read_list("list.txt"), [*paths, "train/3/gone.png"], "#photos").comments == 0


@pytest.mark.parametrize("line", ["# train/3/ is next", "#", "## 1/2 of them", "#1", "# see lists/notes.txt", "#train/3/001"])
def test_other_lines_that_begin_with_a_hash_are_comments(place, line):
    matched = found(place, f"{line}\ntrain/3/000.png\n")
    assert names(matched) == ["train/3/000.png"] and matched.comments == 1


def test_an_image_that_is_commented_out_is_a_comment_where_no_name_begins_with_a_hash(place):
    paths = [path for path in PATHS if "#" not in path]
    matched = found(place, "#train/3/001.png\n# train/3/002.png\ntrain/3/000.png\n", paths=paths)
    assert names(matched, paths) == ["train/3/000.png"] and matched.comments == 2
    assert "begin with `#`" in refused(found, place, "# train/3/001.png\ntrain/3/000.png\n").hint


def test_paths_in_tables_are_never_comments_or_patterns(place):
    assert "#1 of all" in refused(found, place, '["train/3/000.png", "#1 of all"]', "a.json").problem
    assert "train/3/*.png" in refused(found, place, '["train/3/*.png"]', "a.json").problem
    assert "train/14/x[2].png" in refused(found, place, "path\ntrain/14/x[2].png\n", "a.csv").problem


def test_patterns_take_what_they_match_and_a_name_wins_over_a_pattern(place):
    matched = found(place, "train/14/0*.png\ntrain/3/00[0-2].png\ntrain/3/00?.png\ntrain/3/001.png")
    assert matched.globs == (("train/14/0*.png", 12), ("train/3/00[0-2].png", 3), ("train/3/00?.png", 10))
    assert (len(matched.positions), matched.entries, matched.repeated) == (22, 4, 0)
    matched = found(place, "train/14/x[1].png")
    assert names(matched) == ["train/14/x[1].png"] and matched.globs == ()
    paths = [path for path in PATHS if path != "train/14/x[1].png"]
    assert names(found(place, "train/14/x[1].png", paths=paths), paths) == ["train/14/x1.png"]
    everything = found(place, "**/14/**")
    assert names(everything) == [path for path in PATHS if path.startswith("train/14/")]


@pytest.mark.parametrize("start", ["", "./", "../photos/", "{place}/photos/", "{place}/photos//"])
def test_a_pattern_may_be_relative_to_anything_that_a_name_may_be_relative_to(place, start):
    text = start.format(place=place) + "train/3/00*.png"
    assert names(found(place, text)) == names(match(patterns([text]), PATHS, str(place / "photos"))) == PATHS_OF_3


def test_a_pattern_that_matches_nothing_is_an_error(place):
    error = refused(found, place, "train/3/000.png\n*.png\n")
    assert "pattern *.png (line 2) matches no image" in error.problem and "**" in error.hint
    assert "train/9/*" in refused(match, patterns(["train/9/*"]), PATHS, str(place / "photos")).problem
    assert "--images" in refused(patterns, [" "]).problem
    assert "--images" in refused(patterns, []).problem


def test_a_pattern_for_decomposed_names_may_be_composed(place):
    assert names(found(place, "train/14/\u00e9.*")) == [unicodedata.normalize("NFD", "train/14/é.png")]


@pytest.mark.parametrize(("pattern", "yes", "no"), [
    ("a/*.png", ["a/x.png", "a/.png"], ["a/b/x.png", "a/x.jpg", "b/a/x.png"]),
    ("a/**", ["a/x", "a/b/x"], ["a", "a/", "b/a/x"]),
    ("**/x", ["x", "a/x", "a/b/x"], ["ax", "a/xx"]),
    ("a/**/x", ["a/x", "a/b/x", "a/b/c/x"], ["a/bx", "ax"]),
    ("a**b", ["ab", "acb"], ["a/b"]),
    ("?[!a-c]", ["ad", "xx"], ["aa", "a/", "a"]),
    ("[]]x", ["]x"], ["x", "[]]x"]),
    ("[^a]x", ["bx", "^x"], ["ax", "/x"]),
    ("[a", ["[a"], ["a"]),
    ("[z-a]x", [], ["zx", "ax", "-x"]),
    ("[a-]x", ["ax", "-x"], ["bx"]),
    ("a.+(b)", ["a.+(b)"], ["aa(b)"]),
    ("[\\d]", ["\\", "d"], ["1"]),
])  # fmt: skip
def test_patterns_mean_what_their_description_says(pattern, yes, no):
    for path in yes:
        assert translate(pattern).fullmatch(path), path
    for path in no:
        assert not translate(pattern).fullmatch(path), path


@given(st.text("abc/*?[]!^-.\\\n", max_size=12))
def test_no_pattern_is_too_odd_to_be_read(pattern):
    translate(pattern).fullmatch("a/b")


def test_names_relative_to_the_list_and_to_the_working_directory(place, monkeypatch):
    assert names(found(place, "3/000.png", "photos/train/list.txt")) == ["train/3/000.png"]
    assert names(found(place, "000.png", "photos/train/3/list.txt")) == ["train/3/000.png"]
    assert names(found(place, "photos/train/3/000.png", "list.txt")) == ["train/3/000.png"]
    monkeypatch.chdir(place)
    assert names(found(place, "photos/train/3/000.png")) == ["train/3/000.png"]
    monkeypatch.chdir(place / "photos" / "train")
    assert names(found(place, "3/000.png\n./3/001.png\n../train/3/002.png")) == [f"train/3/00{i}.png" for i in range(3)]
    assert names(match(read_list("../../lists/list.txt"), PATHS, "..")) == [f"train/3/00{i}.png" for i in range(3)]


def test_a_root_and_a_class_folder_may_be_links(place):
    (place / "real" / "seven").mkdir(parents=True)
    (place / "photos" / "train" / "7").symlink_to(place / "real" / "seven")
    (place / "link").symlink_to(place / "photos")
    paths = ["train/7/000.png", *PATHS]
    for text in (f"{place}/real/seven/000.png", f"{place}/link/train/7/000.png", "../real/seven/000.png"):
        assert names(found(place, text, paths=paths), paths) == ["train/7/000.png"]
    through = match(read_list(str(place / "lists" / "list.txt")), paths, str(place / "link"))
    assert through.positions.tolist() == [0]
    assert "no image" in refused(found, place, f"{place}/real/eight/000.png", paths=paths).problem


def test_a_name_that_means_two_images_is_an_error(place, monkeypatch):
    paths = ["a/a/x.png", "a/x.png"]
    (place / "photos" / "a" / "a").mkdir(parents=True)
    error = refused(found, place, "a/x.png", "photos/a/list.txt", paths=paths)
    assert error.problem == "a/x.png (line 1) may mean a/a/x.png or a/x.png."
    assert "may mean" in refused(found, place, "a/*.png", "photos/a/list.txt", paths=paths).problem
    assert names(found(place, "a/x.png", paths=paths), paths) == ["a/x.png"]           # the control: the list lies elsewhere
    assert names(found(place, f"{place}/photos/a/x.png", "photos/a/list.txt", paths=paths), paths) == ["a/x.png"]


def test_a_tilde_is_a_name_like_any_other(place):
    assert "~/photos" in refused(found, place, "~/photos/train/3/000.png").problem


def test_every_entry_that_names_no_image_is_counted_and_the_first_are_named(place):
    one = refused(found, place, "train/3/000.png\ntrain/3/x.png")
    assert one.problem == f"train/3/x.png (line 2) is no image of {place}/photos."
    error = refused(found, place, as_lines(["# some", "train/3/000.png", *(f"train/3/x{i}.png" for i in range(7))]))
    assert "train/3/x0.png (line 3), train/3/x1.png (line 4), train/3/x2.png (line 5) and 4 more are no images" in error.problem
    assert "7 of 8 entries" in error.problem
    assert "(item 2)" in refused(found, place, '["train/3/000.png", "y.png"]', "a.json").problem


@pytest.mark.parametrize(("text", "hint"), [
    ("train/3/100.png", "did you mean 'test/3/100.png'?"),
    ("train/14/big.jpg", "did you mean 'train/14/Big.JPG'?"),
    ("train/3/001.jpeg", "did you mean 'train/3/001.png'?"),
    ("train/3/Big.JPG", "did you mean 'train/14/Big.JPG'?"),
    ("train/3", "train/3/** means every image in it"),
    ("train/3/", "train/3/** means every image in it"),
    ("nowhere.png", "relative to the data folder, like train/"),
    ("/nowhere/x.png", "outside the data folder"),
])  # fmt: skip
def test_the_hint_says_what_was_meant(place, text, hint):
    assert hint in refused(found, place, text).hint


def test_an_unprintable_name_cannot_break_the_message(place):
    problem = refused(found, place, "train/3/\x1b[2Jx\x00train/3/y\nz.png\x00").problem
    assert "\n" not in problem and "\x1b" not in problem


def test_counts_are_told(place):
    content = "# all of these\n\ntrain/3/000.png\ntrain/3/000.png\n./train/3/000.png\ntrain/14/00*.png\n\n"
    matched = found(place, content)
    assert (matched.lines, matched.blank, matched.comments, matched.entries, matched.repeated) == (7, 2, 1, 4, 2)
    assert matched.in_words() == "7 lines, 2 of them blank, 1 comment: 11 images, 1 pattern among the entries, 2 named again"
    assert found(place, "to forget\ntrain/3/000.png\n", "a.csv").in_words() == "2 lines, a header: 1 image"


def test_standard_input_is_read_in_bytes(place, monkeypatch):
    content = b"\xef\xbb\xbf../photos/train/3/000.png\0train/14/caf\xe9.png\0"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    read = read_list("-")
    assert (read.name, read.unit) == ("standard input", "item")
    assert names(match(read, PATHS, str(place / "photos"))) == ["train/14/caf\udce9.png", "train/3/000.png"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": "train/3/000.png"}\n')))
    assert names(match(read_list("-", "a"), PATHS, str(place / "photos"))) == ["train/3/000.png"]


def test_a_column_may_be_named_in_any_file(place):
    assert names(found(place, "a,b\n1,train/3/000.png\n", "x.txt", "b")) == ["train/3/000.png"]
    assert names(found(place, "path,b\nnone,train/3/000.png\n", "x.csv", "b")) == ["train/3/000.png"]
    assert names(found(place, "a;b\n1,5;train/3/000.png\n", "x.csv", "b")) == ["train/3/000.png"]
    assert names(found(place, '[{"b": "train/3/000.png", "path": 3}]', "x.json", "b")) == ["train/3/000.png"]


@pytest.mark.parametrize(("content", "name", "column", "said"), [
    ("a,b\n1,2\n", "x.csv", None, "pass --column: a, b"),
    ("path,file\n1,2\n", "x.csv", None, "pass --column: path, file"),
    ("a,b\n1,2\n", "x.csv", "c", "no column called 'c'"),
    ("path,path\n1,2\n", "x.csv", None, "2 columns called 'path'"),
    ("b,path,b\n1,2,3\n", "x.csv", "b", "2 columns called 'b'"),
    ("a,path\n1,train/3/000.png\n2,\n", "x.csv", None, "line 3 names no image"),
    ("a,path\n1,train/3/000.png\n,\n", "x.csv", None, "line 3 names no image"),
    ("a,path\n1,train/3/000.png\n\n2\n", "x.csv", None, "line 4 has 1 columns, not 2"),
    ("path\ntrain/14/a,b.png\n", "x.csv", None, "line 2 has 2 columns, not 1"),
    ('path\n"train/3/000.png\n', "x.csv", None, "is not CSV"),
    ("path\n", "x.csv", None, "lists no images"),
    ("only a header\n", "x.csv", None, "lists no images"),
    ("\n\n", "x.csv", None, "lists no images"),
    ("# nothing\n\n", "x.txt", None, "lists no images"),
    ("", "x.txt", None, "lists no images"),
    ("[]", "x.json", None, "lists no images"),
    ("{}", "x.json", None, "is not a list"),
    ("[1]", "x.json", None, "item 1 names no image"),
    ('["train/3/000.png", {"b": 1}]', "x.json", None, "item 2 does not say which column"),
    ('[{"path": "train/3/000.png", "path": "y"}]', "x.json", None, "2 columns called 'path'"),
    ('["train/3/000.png"]', "x.json", "b", "has no columns"),
    ('{"path": "train/3/000.png"}\n{"path": null}\n', "x.jsonl", None, "line 2 names no image"),
    ('{"path": "train/3/000.png"}\n{"file": \n', "x.jsonl", None, "line 2 is not JSON"),
    ("[" * 100_000, "x.json", None, "is not JSON"),
])  # fmt: skip
def test_a_table_that_does_not_say_what_is_meant_is_refused(place, content, name, column, said):
    error = refused(found, place, content, name, column)
    assert said in f"{error.problem} {error.hint}"


def test_a_first_line_that_looks_like_a_path_is_no_header(place):
    assert "train/3/typo.png (line 1)" in refused(found, place, "train/3/typo.png\ntrain/3/000.png\n", "x.csv").problem
    assert "typo.png (line 1)" in refused(found, place, "typo.png\ntrain/3/000.png\n", "x.csv").problem


def test_a_file_that_cannot_be_read_is_named(place):
    assert "nothing.txt" in refused(read_list, "nothing.txt").problem
    assert "lists" in refused(read_list, str(place)).hint


def test_test_images_are_set_apart_or_refused(place):
    test = np.array([path.startswith("test/") for path in PATHS])
    both = found(place, "test/3/100.png\ntrain/3/00*.png\ntest/3/103.png\n").positions
    for mask in (test, torch.from_numpy(test)):
        trained, held_out = set_apart(both, mask, PATHS)
        assert ([PATHS[i] for i in trained], [PATHS[i] for i in held_out]) == (PATHS_OF_3, ["test/3/100.png", "test/3/103.png"])
    error = refused(set_apart, both, test, PATHS, strict=True)
    assert error.problem.startswith("test/3/100.png is a test image (and 1 more")
    only = found(place, "test/3/*\n").positions
    assert "every one of the 4 listed images is a test image" in refused(set_apart, only, test, PATHS).problem
    trained, held_out = set_apart(found(place, "train/3/*").positions, test, PATHS, strict=True)
    assert len(trained) == 13 and len(held_out) == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=1))
def test_any_names_come_back_from_a_list_with_nuls_and_from_json(place, stems):
    paths = sorted(f"train/1/{stem}.png" for stem in stems)
    for content, name in ((as_lines(paths, "\0"), "a.txt"), (json.dumps(paths), "a.json"), (as_csv(paths), "a.csv")):
        assert names(found(place, content, f"lists/{name}", paths=paths), paths) == paths
