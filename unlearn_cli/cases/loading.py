"""What every job starts with: a checkpoint as a network, its data folder, and a run that suits both."""

import json
import sys
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from unlearn_cli import models
from unlearn_cli.cases import class_order, plausibility
from unlearn_cli.cases import evidence as kept
from unlearn_cli.cases.folders import changed, folder_beside, folder_of, in_head_order
from unlearn_cli.cases.networks import Network, architecture_of, filled, fresh
from unlearn_cli.cases.starts import file_of, open_start, taken, training_of
from unlearn_cli.cases.strangers import Beside, Plain, described
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.evidence import Evidence
from unlearn_cli.checkpoints.fitting import weights_digest
from unlearn_cli.checkpoints.folders import is_one
from unlearn_cli.checkpoints.record import Record, Source, as_size
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import is_index
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.settings import parse


@dataclass
class Loaded:
    """A checkpoint with everything that is needed to use it."""

    checkpoint: Checkpoint
    record: Record
    folder: Folder
    architecture: Architecture
    network: Network
    notes: list[str] = field(default_factory=list)
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def model(self) -> nn.Module:
        return self.network.model

    @property
    def head(self) -> str:
        """The name of the head in the network."""
        return self.network.head

    @property
    def source(self) -> Source:
        """This checkpoint, as the record of what is made from it names it; before anything is done to the network."""
        name = self.checkpoint.origin or self.name
        return Source(name=name, digest=self.checkpoint.digest, weights=weights_digest(self.checkpoint.tensors))

    @property
    def lacks(self) -> list[str]:
        """Classes of which no training image is left."""
        images = self.folder.images
        present = set(images.labels[~images.test].unique().tolist())
        return [name for i, name in enumerate(self.folder.classes) if i not in present]

    @property
    def computes(self) -> tuple:
        """What the network makes of its tensors by: two that are alike in this and in their tensors give the same outputs."""
        kind, settings = self.architecture, sorted(self.record.architecture_settings.items())
        library = sys.modules.get(kind.name.partition("/")[0]) if "/" in kind.name else None
        config = json.dumps(kind.config, sort_keys=True, default=str)
        return kind.name, settings, config, kind.digest, getattr(library, "__version__", "")

    def fresh(self, seed: int) -> nn.Module:
        """The same architecture with new weights drawn from the seed."""
        return fresh(self.architecture, self.record, seed)

    def recipe(self) -> Recipe:
        """How the model was trained, as far as its record says; the architecture's default otherwise."""
        default, step = self.architecture.recipe, training_of(self.record.lineage)
        if step is None:
            return default
        known = models.recipe_settings()
        given = parse(known, {k: v for k, v in step.settings.items() if k in known}, "the recipe")
        frozen = step.settings.get("frozen")
        return replace(default, **given, frozen=tuple(map(str, frozen)) if isinstance(frozen, list) else default.frozen)

    def begun(self, seed: int) -> nn.Module:
        """The network as its training began: with the weights of another file, and a head from the seed where that was new.

        Raises:
            UnlearnError: that file is not beside this one, or is another now.
        """
        source = training_of(self.record.lineage).source
        start = open_start(file_of(source, self.checkpoint), known=(self.architecture, self.record.architecture_settings))
        model = self.fresh(seed)
        taken(start, self.record).into(model)
        return model

    def run(self, options: Options) -> Run:
        step = training_of(self.record.lineage)
        begun = self.begun if step is not None and step.source is not None else None
        return Run(options, self.record.mean, self.record.std, self.fresh, self.recipe(), begun)


def load(
    name: str, plain: Plain, options: Options, beside: Loaded | None = None, original: bool = False,
    erased: Collection[str] = (), evidence: str | None = None,
) -> Loaded:  # fmt: skip
    """Read a checkpoint, build its network, open its data. Of a file without a record, the class order is checked.

    Args:
        original: whether it has to know every class; another may have forgotten some.
        beside: a checkpoint that is open already and that this one is compared with: its data is taken, and its classes
            have to be the same.
        erased: classes whose images may be gone, beside those that it was asked to forget.
        evidence: the file that keeps what it forgot, by default the one beside it.
    """
    checkpoint = store.read(name)
    known, notes = kept.of(checkpoint, evidence)
    near = Beside(beside.name, beside.record, beside.folder) if beside else None
    if checkpoint.record is None:
        architecture, record, folder, more = described(checkpoint, name, plain, options, near, erased)
        notes += more
    else:
        record = checkpoint.record
        architecture, more = architecture_of(record, plain.arch, name)
        notes += more
        architecture.check(as_size(record.size), record.channels)
        given = plain.labels or plain.classes
        if given is not None and not class_order.same_order(given, record.classes):
            option = "--labels" if plain.labels else "--class-names"
            raise UnlearnError(f"{name} has a record of its classes, and {option} is another order or has others.",
                               f"leave out {option}; `unlearn inspect` shows the order.")  # fmt: skip
        if beside:
            folder = folder_beside(record, name, beside.folder, beside.record, beside.name, options)
        else:
            folder = folder_of(record, checkpoint.path, plain.data, plain.test_fraction, options)
            if unused := [f"--{o}" for o in ("arch", "size", "mean", "std") if getattr(plain, o) is not None and
                          not (o == "arch" and architecture.digest)]:  # fmt: skip
                notes.append(f"{', '.join(unused)} not used: {name} has a record that says it")
        notes += changed(record, name, folder)
    erased = [*erased, *by_index(erased, record.classes)]
    folder = in_head_order(folder, record, name, [*forgotten_by(record), *erased, *(beside.lacks if beside else ())])
    if beside is None:
        notes += folder.notes
    network = filled(architecture, record, checkpoint.tensors, name, plain.head or record.head)
    notes += network.notes
    if network.idle:
        raise UnlearnError(f"{record.architecture} has a second classifier of its classes, '{network.idle[0]}', that no answer is "
                           "made of.", "nothing would make that forget: take it out of the network and of its file.")  # fmt: skip
    checkpoint = replace(checkpoint, tensors=network.tensors)
    loaded = Loaded(checkpoint, record, folder, architecture, network, notes, known)
    if checkpoint.record is None:
        run, given = loaded.run(options), plain.classes is not None
        notes += plausibility.checked(run, loaded.model, loaded.head, folder, name, original=original, given=given)
    return loaded


def forgotten_by(record: Record | None) -> list[str]:
    """The classes that a lineage was asked to forget, whose images may be gone."""
    return [name for step in (record.lineage if record else ()) if step.request for name in step.request.classes]


def by_index(names: Collection[str], classes: list[str]) -> list[str]:
    """The classes that those of the names may mean which are none of them."""
    return [classes[int(n)] for n in names if n not in classes and is_index(n) and int(n) < len(classes)]


def original_of(loaded: Loaded, plain: Plain, options: Options, name: str | None = None) -> Loaded | None:
    """The model before it forgot: as named, or as the record names it, if the file beside is still that one."""
    if name is not None:
        return load(name, plain, options, loaded, original=True)
    lineage = loaded.record.lineage
    trained = max((i for i, step in enumerate(lineage) if step.operation == "train"), default=-1)
    since, before = lineage[trained + 1 :], lineage[: trained + 1]
    source = next((step.source for step in [*since, *before] if step.operation == "forget"), None)
    place = loaded.checkpoint.path
    if source and place:
        beside = place.with_name(Path(source.name).name)
        if (beside.is_file() or is_one(beside)) and store.read(str(beside)).digest == source.digest:
            return load(str(beside), plain, options, loaded, original=True)
    return None
