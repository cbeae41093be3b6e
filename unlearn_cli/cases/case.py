"""A request put to a model on open data: the positions that every attack and every metric reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn_cli.cases import requests
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.checkpoints.record import Record, RequestRecord
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import Request, Target, resolve
from unlearn_cli.data.splits import ALL, split
from unlearn_cli.errors import UnlearnError
from unlearn_cli.kinds import Kind


@dataclass(frozen=True, eq=False)
class Case:
    """A request on open data.

    Args:
        splits: name to (n,) int64 positions.
        target: None where nothing was ever asked to be forgotten.
        request: as a record keeps it.
    """

    splits: dict[str, Tensor]
    target: Target | None
    request: RequestRecord | None

    @property
    def kind(self) -> Kind:
        """What the request names."""
        return self.target.kind if self.target else "images"

    @property
    def forgotten(self) -> tuple[int, ...]:
        """Indices of the classes to forget; empty where images are."""
        return self.target.task.forgotten if self.target else ()

    @property
    def words(self) -> str:
        """The request, told from others of its kind: a list by its first image."""
        listed = self.request.instances if self.request else None
        return requests.in_words(self.request) + (f", {listed[0]} the first" if listed else "")


@dataclass(frozen=True, eq=False)
class Asked:
    """All that a model is judged by.

    Args:
        case: of all its requests together, or of those of the last one's kind where some name classes and some images.
        parts: of those of the other kind together, then of each request by itself; none where there was one request.
        request: all that is judged, as a record keeps it.
        kinds: how many of the cases, from the first, are all that was asked of a kind.
        own: whether it is what the model's own lineage was asked, and not what somebody else wants to know of it.
        meant: (m,) positions of everything that these requests and the lineage's mean, test images of classes included.
        forget: (n,) positions of all the training images that are meant.
        notes: what else there is to say of the requests.
    """

    case: Case
    parts: list[Case]
    request: RequestRecord | None
    kinds: int
    own: bool
    meant: Tensor
    forget: Tensor
    notes: list[str]

    @property
    def cases(self) -> list[Case]:
        return [self.case, *self.parts]


def selection_of(record: Record) -> float:
    """The share of the test images that chose something on the way to this model, and says nothing of it any more."""
    return max((step.selection_fraction for step in record.lineage), default=0.0)


def open_case(
    loaded: Loaded, given: Request, carved: float | None = None, only_last: bool = False, lists: Sequence[Request] = ()
) -> Asked:
    """The request that was given, or all that the model's lineage was asked to forget; without any, train and test alone.

    Args:
        carved: the share of the test images that is left out; by default what the model's own lineage set aside.
        only_last: of the lineage's requests, judge the last alone; the images of the others are withheld all the same.
        lists: lists that the record keeps by their digest.
    """
    folder, lineage = loaded.folder, loaded.record.lineage
    carved = selection_of(loaded.record) if carved is None else carved
    known = requests.known(lineage, folder, loaded.name, [*lists, given], loaded.evidence)
    remembered = requests.asked(lineage, requests.paths_of([*lists, given], folder), loaded.evidence)
    notes = [words for one in known for words in one.said]
    if apart := requests.elsewhere(lineage, folder):
        words = f"{requests.all_in_words(apart)} before it was trained on images of other classes"
        if not given and (not only_last or requests.asked(lineage)[-1] in apart):
            raise UnlearnError(f"{loaded.name} was asked to forget {words}: how well it did cannot be judged on these.",
                               "judge what was asked since: --only-last, or --class NAME.")  # fmt: skip
        notes.append(f"{loaded.name} was asked to forget {words}: that is not judged")
    if given and not requests.fills_in(given, lineage, folder):
        chosen = [resolve(given, folder)]
    elif not known:
        test = folder.images.test
        nothing = Case({"train": (~test).nonzero()[:, 0], "test": test.nonzero()[:, 0]}, None, None)
        return Asked(nothing, [], None, 1, True, requests.NO_IMAGES, requests.NO_IMAGES, [])
    elif only_last:
        chosen = known[-1:]
        notes += [f"only the last of {len(known)} requests is judged"] if len(known) > 1 else []
    else:
        chosen = judged_by(known, folder)
    new = {one.key: one for one in map(requests.recorded, chosen if given else ())}
    notes += kept_in_part(chosen, folder)
    notes += requests.gone(list((new | {one.key: one for one in remembered}).values()), folder, loaded.evidence)
    meant = requests.meant_by([*known, *chosen], folder)
    cases = [_case(requests.apart(target, [*known, *chosen], folder), folder, carved) for target in chosen]
    forget = torch.cat([target.images for target in chosen]).unique()
    whole, kinds = requests.union([case.target for case in cases]), len({case.kind for case in cases})
    own = {case.request.key for case in cases} <= {one.key for one in remembered} if given else True
    return Asked(cases[0], cases[1:], whole, kinds, own, meant, forget, notes)


def kept_in_part(chosen: Sequence[Target], folder: Folder) -> list[str]:
    """A note where what is measured on the classes to keep is measured on some of them."""
    images = folder.images
    kept = set(range(len(folder.classes))) - {i for target in chosen for i in target.task.forgotten}
    seen = kept & set(images.labels[images.test].unique().tolist())
    if len(seen) == len(kept):
        return []
    return [f"the classes to keep are judged by {len(seen)} of them: {folder.root} has no test images of the other "
            f"{len(kept) - len(seen)}"]  # fmt: skip


def judged_by(known: Sequence[Target], folder: Folder) -> list[Target]:
    """The unions of each kind, the last request's first, then each request, where these are not the same.

    Listed images of classes that are forgotten too are judged with their classes.
    """
    classes, images = ([one for one in known if one.kind == kind] for kind in ("classes", "images"))
    covered = requests.meant_by(classes, folder)
    images = [left for one in images if (left := without(one, covered, folder)).paths]
    kinds = [kind for kind in (classes, images) if kind]
    if known[-1].kind == "images":
        kinds.reverse()
    found = [requests.together(kind) for kind in kinds] + [one for kind in kinds if len(kind) > 1 for one in kind]
    return list({(one.kind, one.classes, tuple(one.images.tolist())): one for one in reversed(found)}.values())[::-1]


def without(target: Target, covered: Tensor, folder: Folder) -> Target:
    """Listed images less some of them."""
    away = torch.isin(target.images, covered)
    paths = {folder.images.paths[i] for i in target.images[away].tolist()}
    return replace(target, images=target.images[~away], paths=tuple(path for path in target.paths if path not in paths))


def _case(target: Target, folder: Folder, carved: float) -> Case:
    splits = split(folder, target, reads=ALL, selection_fraction=carved)
    return Case({name: getattr(splits, name).index for name in ALL}, target, requests.recorded(target))
