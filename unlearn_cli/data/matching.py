"""Which images of a folder the entries of a list name: every entry names one, or the list is refused."""

import os
import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unlearn_cli.data.globs import is_glob, literal_prefix, translate
from unlearn_cli.data.layout import TEST, TRAIN, VALIDATION
from unlearn_cli.data.lists import ListRead
from unlearn_cli.data.names import normal
from unlearn_cli.data.scan import SUFFIXES
from unlearn_cli.errors import UnlearnError, one_line

SHOWN = 3  # unmatched entries that a message names
LAST = "\U0010ffff"
ABSOLUTE = "write the path from the root of the file system: the list's folder and the working folder both hold such a name."


@dataclass(frozen=True, eq=False)
class Matched:
    """The images that a list names, and how it came to them."""

    positions: np.ndarray  # (n,) int64, sorted, each once
    entries: int  # names and patterns
    lines: int
    blank: int
    comments: int
    repeated: int  # entries that name an image which an earlier one named
    globs: tuple[tuple[str, int], ...] = ()  # each pattern, and how many images it matched
    header: bool = False  # the first entry was the name of the only column
    unit: str = "line"

    def in_words(self) -> str:
        """As `23 lines, 2 of them blank, 1 comment: 20 images, 1 pattern among the entries`."""
        told = [_count(self.lines, self.unit or "name")]
        told += [f"{self.blank} of them blank"] * bool(self.blank) + [_count(self.comments, "comment")] * bool(self.comments)
        told += ["a header"] * self.header
        found = [_count(len(self.positions), "image")]
        found += [f"{_count(len(self.globs), 'pattern')} among the entries"] * bool(self.globs)
        found += [f"{self.repeated} named again"] * bool(self.repeated)
        return f"{', '.join(told)}: {', '.join(found)}"


def match(read: ListRead, paths: Sequence[str], root: str | os.PathLike) -> Matched:
    """Look up every entry among the images of a folder.

    An entry is taken as written; else without blanks around it; else without quotes; each then with `\\` for `/`; then all of
    these in the composed form of Unicode. Each of these may be relative to the data root, to the list's folder or to the
    working directory, or absolute. The first that names an image counts. What names none is a pattern, if it holds `*`,
    `?` or `[`; a line that begins with `#` and cannot be meant as a name is a comment.

    Args:
        paths: relative to `root`, '/'-separated.

    Raises:
        UnlearnError: an entry names no image, or two different ones; a pattern matches nothing.
    """
    folder = _Folder(paths, os.fspath(root), read.folder)
    found, globbed, globs, unmatched = [], [], [], []
    comments, header = 0, False
    for number, text in read.entries:
        position = folder.image(text, read.place(number))
        if position is not None:
            found.append(position)
        elif read.comments and text.lstrip("\ufeff \t").startswith("#") and not folder.begins_in(text):
            if folder.like_an_image(text):
                unmatched.append((number, text))
            else:
                comments += 1
        elif read.globs and is_glob(text):
            matches = folder.pattern(text, read.place(number))
            globbed += matches
            globs.append((text.strip(), len(matches)))
        elif read.header and not found and number == read.entries[0][0] and not _like_a_path(text):
            header = True
        else:
            unmatched.append((number, text))
    if unmatched:
        raise folder.refusal(read, unmatched, len(read.entries) - comments)
    distinct = set(found)
    positions = np.array(sorted(distinct.union(globbed)), np.int64)
    if not len(positions):
        raise UnlearnError(f"{one_line(read.name)} lists no images.", f"write one image path per line, like {folder.example}.")
    entries, repeated = len(found) + len(globs), len(found) - len(distinct)
    return Matched(positions, entries, read.lines, read.blank, comments, repeated, tuple(globs), header, read.unit)


def set_apart(
    positions: np.ndarray, test: np.ndarray, paths: Sequence[str], *, strict: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The training images and the test images among those listed.

    Args:
        test: (N,) bool, which images are test images; a tensor will do.

    Raises:
        UnlearnError: none is a training image; or, if `strict`, one is a test image.
    """
    tested = np.asarray(test)[positions]
    trained, held_out = positions[~tested], positions[tested]
    if not len(trained):
        problem = f"every one of the {len(positions)} listed images is a test image; the model never saw them."
        raise UnlearnError(problem, "list training images: only they can be forgotten.")
    if strict and len(held_out):
        others = f" (and {len(held_out) - 1} more of those listed)" if len(held_out) > 1 else ""
        problem = f"{one_line(paths[held_out[0]])} is a test image{others}; the model never saw it."
        raise UnlearnError(problem, "take it out of the list, or leave --strict out to set test images apart.")
    return trained, held_out


class _Folder:
    """The images of a folder, by every name they may be called in a list that lies in `lists`."""

    def __init__(self, paths: Sequence[str], root: str, lists: str):
        self.paths, self.root = paths, root
        self.position = {path: i for i, path in enumerate(paths)}
        top, here = os.path.abspath(root), os.getcwd()
        self._roots = [_slashed(place).rstrip("/") + "/" for place in dict.fromkeys((top, os.path.realpath(top)))]
        bases = (lists, os.path.realpath(lists), here, os.path.realpath(here))
        self._bases = [_slashed(base).rstrip("/") + "/" for base in dict.fromkeys(bases)]
        # How a name relative to a base becomes one relative to the root: what to put before it, or what to take off it.
        self._put = list(dict.fromkeys(b[len(r) :] for b in self._bases for r in self._roots if b.startswith(r) and b != r))
        self._take = list(dict.fromkeys(r[len(b) :] for b in self._bases for r in self._roots if r.startswith(b) and b != r))
        self._real = {}
        self._backslashes = any("\\" in path for path in paths)

    def image(self, text: str, place: str) -> int | None:
        """The position of the image that an entry names; None where it names none.

        Raises:
            UnlearnError: relative to two places it names two different images.
        """
        if text in self.position and not self._put and not any(map(text.startswith, self._take)):
            return self.position[text]
        for spelling in self._spellings(text):
            if found := {self.position[name] for name in self._relative(spelling) if name in self.position}:
                return self._only(found, text, place)
        spellings = list(self._spellings(text))
        for spelling in spellings:
            if found := {i for name in self._relative(spelling) for i in self._composed.get(normal(name), ())}:
                return self._only(found, text, place)
        for spelling in spellings:
            if found := set(self._by_real_folder(spelling)):
                return self._only(found, text, place)

    def pattern(self, text: str, place: str) -> list[int]:
        """The positions of the images that a pattern matches.

        Raises:
            UnlearnError: there are none, or relative to two places it matches different ones.
        """
        spellings = list(self._spellings(text))
        for names, form in ((self._sorted, lambda name: name), (self._sorted_composed, normal)):
            for spelling in spellings:
                found = {tuple(self._matching(form(name), names)) for name in self._relative(spelling)} - {()}
                if len(found) > 1:
                    first, second = sorted(found)[:2]
                    each = [f"{_count(len(these), 'image')} such as {one_line(self.paths[these[0]])}" for these in (first, second)]
                    raise UnlearnError(f"the pattern {one_line(text)}{place} may mean {each[0]} or {each[1]}.", ABSOLUTE)
                if found:
                    return list(found.pop())
        problem = f"the pattern {one_line(text)}{place} matches no image of {self.root}."
        raise UnlearnError(problem, f"`*` stays inside one name, `**` goes through folders; images are called like {self.example}.")

    def begins_in(self, text: str) -> bool:
        """Whether a line begins with the name of a folder of the data, or above it, so that the line is no comment."""
        names = re.split(r"[/\\]", text.strip("\ufeff \t\"'"))
        first = next((name for name in names[:-1] if name not in (".", "..", "")), None)
        return first is not None and normal(first.strip()) in self._folder_names

    def like_an_image(self, text: str) -> bool:
        """Whether a line that begins with `#` may be meant as a file name: it ends as one, and some names do begin so."""
        return text.strip().lower().endswith(SUFFIXES) and any("/#" in path or path[0] == "#" for path in self.paths)

    def refusal(self, read: ListRead, unmatched: list[tuple[int, str]], entries: int) -> UnlearnError:
        named = [f"{one_line(text.strip())}{read.place(number)}" for number, text in unmatched[:SHOWN]]
        more = len(unmatched) - len(named)
        if len(unmatched) == 1:
            problem = f"{named[0]} is no image of {self.root}."
        else:
            whole = f"{', '.join(named)} and {more} more" if more else f"{', '.join(named[:-1])} and {named[-1]}"
            problem = f"{whole} are no images of {self.root}: {len(unmatched)} of {entries} entries."
        broken = any(not _is_utf8(text) for _, text in unmatched)
        if broken and read.damage:
            return UnlearnError(problem, f"the list is not UTF-8 from {read.damage} on: save it as UTF-8.")
        return UnlearnError(problem, self._hint(unmatched[0][1]))

    @property
    def example(self) -> str:
        return one_line(next((path for path in self.paths if not path.startswith("test/")), ""))

    def _spellings(self, text: str) -> Iterator[str]:
        """An entry as written, then with what a program or a person may have put around it taken off."""
        if "\\" in text and not self._backslashes:
            text = text.replace("\\", "/")
        yield _short(text)
        bare = text.strip("\ufeff").strip()
        quoted = len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'"
        forms = dict.fromkeys((text, bare, bare[1:-1] if quoted else bare))
        yield from (_short(form) for form in list(forms)[1:])
        yield from (_short(form.replace("\\", "/")) for form in forms if "\\" in form)

    def _relative(self, name: str) -> Iterator[str]:
        """What a name may be called relative to the root."""
        if os.path.isabs(name):
            yield from (name[len(root) :] for root in tuple(self._roots) if name.startswith(root))
            return
        if name.startswith("../"):
            for base in self._bases:
                yield from self._relative(posixpath.normpath(base + name))
            return
        yield name
        for prefix in self._put:
            yield prefix + name
        for prefix in self._take:
            if name.startswith(prefix):
                yield name[len(prefix) :]

    def _by_real_folder(self, name: str) -> Iterator[int]:
        """Positions of what the file system says lies in a folder of the data, whatever links led there."""
        above, _, last = name.rpartition("/")
        for base in [""] if os.path.isabs(name) else self._bases:
            folder = base + above
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder or "/")
                self._keep_root(folder, self._real[folder])
            for inside in self._real_folders.get(self._real[folder], ()):
                path = f"{inside}/{last}"
                found = self.position.get(path)
                yield from [found] if found is not None else self._composed.get(normal(path), ())

    def _keep_root(self, folder: str, real: str) -> None:
        """Remember what a link to the root is called, so that the file system is asked for one path and not for all."""
        for inside in self._real_folders.get(real, ()):
            root = folder.removesuffix(inside)
            if root != folder and root not in self._roots and os.path.realpath(root) == os.path.realpath(self.root):
                self._roots.append(root)

    def _matching(self, pattern: str, names: tuple[list[str], list[int]]) -> Iterator[int]:
        ordered, positions = names
        prefix = literal_prefix(pattern)
        begin, end = bisect_left(ordered, prefix), bisect_left(ordered, prefix + LAST)
        matches = translate(pattern).fullmatch
        return (positions[i] for i in range(begin, end) if matches(ordered[i]))

    def _only(self, found: set[int], text: str, place: str) -> int:
        if len(found) == 1:
            return found.pop()
        first, second = (one_line(self.paths[i]) for i in sorted(found)[:2])
        raise UnlearnError(f"{one_line(text.strip())}{place} may mean {first} or {second}.", ABSOLUTE)

    def _hint(self, text: str) -> str:
        """What may have been meant by an entry that names no image."""
        bare = list(self._spellings(text))[-1].rstrip("/")
        names = list(self._relative(bare))
        if not names:
            return f"it lies outside the data folder; paths are like {self.example}."
        name = next((n for n in names if n in self._folders or n.rpartition("/")[0] in self._folders), names[0])
        folder, _, last = name.rpartition("/")
        if name in self._folders:
            return f"it is a folder: the pattern {one_line(name)}/** means every image in it."
        half, _, rest = name.partition("/")
        others = (TEST, *VALIDATION) if half == TRAIN else (TRAIN,) if half in (TEST, *VALIDATION) else ()
        swapped = [path for path in (f"{other}/{rest}" for other in others) if path in self.position]
        alike = [path for path in self.paths if _stem(path) == _stem(name)]
        elsewhere = [path for path in self.paths if path.endswith(f"/{last}")]
        close = swapped or alike or (elsewhere if len(elsewhere) == 1 else [])
        if close:
            return f"did you mean '{one_line(close[0])}'?"
        if text.lstrip().startswith("#"):
            return "names in this folder begin with `#`, so that the line may be one: take it out if it is a comment."
        return f"paths are relative to the data folder, like {self.example}, or to the list, or absolute."

    @cached_property
    def _folders(self) -> dict[str, None]:
        """Every folder of the data that holds images, or folders that do."""
        holding = dict.fromkeys(path.rpartition("/")[0] for path in self.paths)
        parts = (folder.split("/") for folder in holding)
        return dict.fromkeys("/".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1))

    @cached_property
    def _folder_names(self) -> set[str]:
        return {normal(name) for folder in (*self._folders, *self._roots) for name in folder.split("/")}

    @cached_property
    def _real_folders(self) -> dict[str, list[str]]:
        found = {}
        for folder in self._folders:
            found.setdefault(os.path.realpath(f"{self.root}/{folder}"), []).append(folder)
        return found

    @cached_property
    def _composed(self) -> dict[str, list[int]]:
        found = {}
        for i, path in enumerate(self.paths):
            found.setdefault(normal(path), []).append(i)
        return found

    @cached_property
    def _sorted(self) -> tuple[list[str], list[int]]:
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        return [self.paths[i] for i in order], order

    @cached_property
    def _sorted_composed(self) -> tuple[list[str], list[int]]:
        composed = [normal(path) for path in self.paths]
        order = sorted(range(len(composed)), key=composed.__getitem__)
        return [composed[i] for i in order], order


def _short(name: str) -> str:
    """Without `.`, `..` and doubled slashes, where they can go."""
    if not ("//" in name or "./" in name or "/." in name):
        return name
    short = posixpath.normpath(name)
    return short[1:] if short.startswith("//") else short


def _slashed(path: str) -> str:
    return path.replace(os.sep, "/")


def _stem(path: str) -> str:
    """What two names have in common that differ in case, in the form of their accents or in .jpg for .JPEG."""
    return os.path.splitext(normal(path).casefold())[0]


def _like_a_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.strip("\ufeff \t\"'").lower().endswith(SUFFIXES)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
