"""What may stand as a reference: a model that never saw the forget set, is none of those it is held against, and counts once."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unlearn_cli.cases import requests
from unlearn_cli.cases.case import Asked
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.fitting import USUAL_PREFIXES, weights_digest
from unlearn_cli.checkpoints.record import RequestRecord, Step
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import normal
from unlearn_cli.data.requests import Target
from unlearn_cli.errors import UnlearnError

HALVES = (torch.float16, torch.bfloat16)
"""The types of half the bytes in which weights are kept."""


def distinct(models: Sequence[Loaded], against: Sequence[Loaded], asked: Asked | None, what: str = "reference") -> list[Loaded]:
    """The models, each once: the same weights twice would narrow every band. A note goes with the one that stays.

    One that was not trained from scratch has to have begun where the judged ones did, or with what never saw the forget set.

    Args:
        against: the models that are judged, and their original.
        asked: what the models must not have seen.

    Raises:
        UnlearnError: a model is one of `against` or what these were made from, or was trained on images of the forget set.
    """
    if not models:
        return []
    others = {weights_digest(model.checkpoint.tensors): f"{model.name} itself" for model in against}
    steps = [(step.source, f"what {model.name} was made from") for model in against for step in model.record.lineage if step.source]
    sources = {digest: words for source, words in steps for digest in (source.digest, source.weights) if digest}
    found: dict[str, Loaded] = {}
    for model in models:
        digest = weights_digest(model.checkpoint.tensors)  # a wrapper's prefix or another type makes no other model
        same = next((sources[one] for one in (digest, *_files(model)) if one in sources), None)
        twin = next((f"{one.name} itself" for one in against if _is_rounded(model, one)), None)
        if known := same or others.get(digest) or twin:
            raise UnlearnError(f"{model.name} is no {what}: it is {known}.", f"leave it out of --{what}.")
        if asked is not None and (seen := training_on(model, asked)):
            raise UnlearnError(f"{model.name} is no {what}: it was trained on {seen}, says its record.",
                               "train one without the forget set, by --without-class or --without.")  # fmt: skip
        if asked is not None and (begun := begun_with(model, asked, against)):
            raise UnlearnError(f"{model.name} is no {what}: it began with {begun}.",
                               "train one from scratch, or as the original was: train --like ORIGINAL.")  # fmt: skip
        digest = next((known for known, one in found.items() if _is_rounded(model, one)), digest)
        if digest in found:
            found[digest].notes.append(f"{model.name} is the same model as {found[digest].name}: counted once")
        else:
            found[digest] = model
    return list(found.values())


def _files(model: Loaded) -> Iterator[str]:
    """Digests of the files that would hold this model: its own and, where it has no past, what wrappers would have saved."""
    yield model.checkpoint.digest
    if model.record.lineage:
        return
    for prefix in ("", *USUAL_PREFIXES):
        yield store.digest({prefix + name: tensor for name, tensor in model.checkpoint.tensors.items()})
    for kind in HALVES:
        yield weights_digest({key: t.to(kind) if t.is_floating_point() else t for key, t in model.checkpoint.tensors.items()})


def _is_rounded(one: Loaded, other: Loaded) -> bool:
    """Whether two models' weights are the same but for the types they are kept in, one of which holds fewer digits."""
    a, b = one.checkpoint.tensors, other.checkpoint.tensors
    if a.keys() != b.keys() or any(a[key].shape != b[key].shape for key in a):
        return False
    pairs = [(a[key], b[key]) for key in a if not key.endswith(store.COUNTER)]
    narrow = [min(x.dtype, y.dtype, key=lambda kind: kind.itemsize) for x, y in pairs]
    if all(x.dtype == y.dtype for x, y in pairs):
        return False  # their digests tell
    return all(torch.equal(x.to(kind), y.to(kind)) for (x, y), kind in zip(pairs, narrow, strict=True))


def refuse_twins(references: Sequence[tuple[str, Tensor]], against: Sequence[tuple[str, Tensor]]) -> None:
    """Refuse references that answer every image as one of the models that they are held against: the same under other names.

    Args:
        references, against: the models' names and their (N, K) logits of the same images.
    """
    for name, logits in references:
        for other, theirs in against:
            tells = bool((logits != logits[:1]).any())  # two that say nothing of any image may be two
            if tells and logits.shape == theirs.shape and torch.allclose(logits, theirs, rtol=1e-3, atol=1e-3):
                raise UnlearnError(f"{name} is no reference: it answers every image as {other} does.",
                                   "leave it out of --reference.")  # fmt: skip


def check_original(original: Loaded, judged: Loaded) -> None:
    """Refuse an original that was given and is none of the models that the judged one was made from, where its record says these.

    Raises:
        UnlearnError: limits relative to it would be those of another network.
    """
    sources = [step.source for step in judged.record.lineage if step.source and step.operation != "train"]
    known = {digest for source in sources for digest in (source.digest, source.weights)}
    if sources and known.isdisjoint({weights_digest(original.checkpoint.tensors), *_files(original)}):
        raise UnlearnError(
            f"{original.name} is not the model that {judged.name} was made from (digest {original.checkpoint.digest[:16]}, not "
            f"{sources[0].digest[:16]}).", "pass the --original that its record names: `unlearn inspect` shows it.")  # fmt: skip


def training_on(model: Loaded, asked: Asked, lineage: Sequence[Step] | None = None) -> str:
    """What a model's weights were trained on from their first, in words, if images of the forget set are or were among it.

    Nothing where they are not, or where the record does not say.

    Args:
        lineage: of what the model began with, on the same images; by default its own.
    """
    lineage = model.record.lineage if lineage is None else lineage
    starts = [i for i, step in enumerate(lineage) if step.operation == "train" or step.method == "retrain"]
    if not starts:  # of a stranger's model nobody knows, and whatever forgets it goes on from what it saw
        return f"all that {lineage[0].source.name} was" if lineage and lineage[0].source else ""
    start, folder = lineage[starts[-1]], model.folder
    if start.request is None:
        return "everything"
    before = lineage[: starts[-1]] if start.withheld else []
    paths = [folder.images.paths[i] for i in asked.forget.tolist()]
    lists = [case.target.paths for case in asked.cases]
    left_out = requests.asked([*before, start], [paths, *lists, [path for each in lists for path in each]])
    known = [requests.target_of(one, folder, model.name) for one in left_out if one.classes or one.instances is not None]
    if bool(torch.isin(asked.forget, requests.meant_by(known, folder)).all()) and not erased(asked, known, folder):
        return ""
    return f"all but {' and '.join(map(requests.in_words, left_out))}"


def begun_with(model: Loaded, asked: Asked, against: Sequence[Loaded]) -> str:
    """What weights a model's training began with, in words, if they may have seen the forget set; nothing where they did not.

    What the judged models began with may have seen the classes of the request, but not these very images: it is no part of what
    was to be forgotten, and a note says so. Any other start must not be for such a class, and must say what it is for.
    """
    lineage, folder = model.record.lineage, model.folder
    shared = {step.source.digest for one in against for _, step in trainings(one.record.lineage) if step.source}
    classes = [folder.classes[i] for i in folder.images.labels[asked.forget].unique().tolist()]
    meant = {normal(name) for name in [*classes, *(name for case in asked.cases for name in case.target.classes)]}
    for place, step in trainings(lineage):
        source = step.source
        if source is None:
            break
        if source.data == folder.fingerprint and (seen := training_on(model, asked, lineage[:place])):
            return f"{source.name}, which was trained on {seen}"
        both = [name for name in source.classes or () if normal(name) in meant]
        words = requests.in_words(RequestRecord(classes=both)) if both else ""
        if source.digest not in shared and (source.classes is None or both):
            return f"{source.name}, {f'which was made for {words} too' if both else 'and does not say what that was made for'}"
        if both:
            model.notes.append(f"{model.name} began with {source.name}, as the judged model did: what that knew of {words}, both "
                               "may know")  # fmt: skip
    return ""


def trainings(lineage: Sequence[Step]) -> list[tuple[int, Step]]:
    """The trainings that the last weights of a lineage come from, newest first, and their places: each began with the next."""
    found = []
    for place, step in reversed(list(enumerate(lineage))):
        if step.operation == "train":
            found.append((place, step))
            if step.source is None:
                break
    return found


def erased(asked: Asked, known: Sequence[Target], folder: Folder) -> bool:
    """Whether something is asked whose images are gone and that other requests do not mean by its name."""
    images = folder.images
    classes, paths = {name for one in known for name in one.classes}, {path for one in known for path in one.paths}
    left = {folder.classes[i] for i in images.labels[~images.test].unique().tolist()}
    there = set(images.paths)
    names = {name for case in asked.cases for name in case.target.classes} - left
    lost = {path for case in asked.cases for path in case.target.paths} - there - paths
    return not names <= classes or any(class_of(path, folder) not in classes for path in lost)


def class_of(path: str, folder: Folder) -> str:
    """The class folder that an image lay in, by its path alone."""
    first, _, rest = path.partition("/")
    return rest.partition("/")[0] if first == "train" and first not in folder.classes else first
