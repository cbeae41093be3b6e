"""The record that a checkpoint without one would have: from the command line, its library's configuration and the folder."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from unlearn_cli import models
from unlearn_cli.cases import class_order
from unlearn_cli.cases.class_names import check_order, matched
from unlearn_cli.cases.folders import numbered, open_images
from unlearn_cli.cases.networks import channels_of, outputs_of
from unlearn_cli.checkpoints.described import Described
from unlearn_cli.checkpoints.record import DataRecord, Record, folder_to, recorded_resize, recorded_size
from unlearn_cli.checkpoints.store import Checkpoint
from unlearn_cli.data.augment import statistics
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.names import normal
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Input, Size
from unlearn_cli.models.architecture import Architecture
from unlearn_cli.models.building import new


@dataclass(frozen=True)
class Plain:
    """What a plain state dict does not say of itself."""

    arch: str | None = None
    data: str | None = None
    size: Size | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    head: str | None = None
    test_fraction: float = 0.2
    classes: tuple[str, ...] | None = None
    """Names of the folders in the order of the head's outputs; by default alphabetical."""
    labels: tuple[str, ...] | None = None
    """Names of all the head's outputs in their order, of which the folder may have some only."""


@dataclass(frozen=True)
class Beside:
    """What of a checkpoint that is open already holds for another that is compared with it."""

    name: str
    record: Record
    folder: Folder


def arch_and_settings(text: str) -> tuple[str, dict[str, Any]]:
    """`resnet18` or `resnet18,width=16` as name and settings."""
    name, *pairs = text.split(",")
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UnlearnError(f"'{pair}' in --arch is no setting.", "write it as resnet18,width=16.")
        key = key.strip()
        if key in settings:
            raise UnlearnError(f"--arch {text} gives {key} twice.", "give it once.")
        settings[key] = value.strip()
    return name.strip(), settings


def described(
    checkpoint: Checkpoint, name: str, plain: Plain, options: Options, beside: Beside | None, erased: Collection[str]
) -> tuple[Architecture, Record, Folder, list[str]]:
    """The architecture, the record and the folder of a checkpoint without a record, and what to say of them."""
    told = checkpoint.described
    if beside is not None and told is None:
        plain = _as_beside(plain, beside.record)
    near = beside.record if beside and told is None else None
    if plain.arch is None and told is None and not (near and near.architecture_config):
        raise UnlearnError(f"{name} has no record of its architecture.", f"pass --arch: {models.known()}")
    if plain.data is None and beside is None:
        raise UnlearnError(f"{name} has no record of its data.", "pass --data DIR.")
    if plain.arch is not None:
        arch, settings = arch_and_settings(plain.arch)
        known = told.config if told and arch.partition("/")[0] == told.architecture.partition("/")[0] else None
        architecture = models.find(arch, typed=True, config=known)
    elif told is not None:
        architecture, settings = models.find(told.architecture, config=told.config), {}
    else:
        architecture, settings = models.find(near.architecture, config=near.architecture_config), near.architecture_settings
    if beside is not None and _made_from(beside.record, checkpoint):
        fed = beside.record.input  # how its images were prepared when it was told to forget, whatever options said so
    else:
        fed = (told.input or architecture.input) if told else near.input if near else architecture.input
    notes = list(told.notes) if told else []
    if told is not None and fed is None and None in (plain.size, plain.mean, plain.std):
        raise UnlearnError(f"{name}: {told.unprepared}.", "pass the --size, --mean and --std that it was trained with.")
    if fed is not None and told is None and beside is None and (plain.size, plain.mean, plain.std) == (None, None, None):
        notes.append(f"images are prepared as for the weights of {architecture.name} that its library has")

    images = {"size": plain.size or (fed.size if fed else None), "test_fraction": plain.test_fraction}
    if fed is not None and fed.resize is not None and images["size"] == fed.size:
        images["resize"] = fed.resize
    if not architecture.ours:
        images["channels"] = told.channels if told else architecture.channels[-1]
    rows = None
    looks = told is not None and not architecture.ours
    if looks:
        some = told.outputs or len(told.classes or ())
        rows, images["channels"] = _shape(architecture, settings, some, images["channels"], images["size"], plain.head, checkpoint)
    names, also, more = _outputs(plain, told, architecture, rows, name, beside)
    notes += more
    folder = _opened(plain, options, beside, names, erased, images)
    ran = architecture.parsed(settings, folder.images.size)
    notes += [f"{architecture.name} was taken with {key}={ran[key]}; pass --arch {architecture.name},{key}=VALUE if its weights "
              "were trained with another" for key in architecture.assumed if key not in settings]  # fmt: skip
    classes = len(names or folder.classes)
    if not architecture.ours and not looks:
        rows, channels = _shape(architecture, settings, classes, images["channels"], folder.images.size, plain.head, checkpoint)
        if channels != images["channels"]:
            images["channels"] = channels
            folder = _opened(plain, options, beside, names, erased, images)
    if told is not None and fed is not None and len(fed.mean) != images.get("channels", 3) and None in (plain.mean, plain.std):
        raise UnlearnError(f"{name}: its mean and std are of {len(fed.mean)} channels, its network takes {images['channels']}.",
                           "pass the --mean and --std that it was trained with.")  # fmt: skip
    if rows is not None and rows != classes:
        raise _miscounted(name, rows, names, plain, folder)
    present = _present(beside) if beside else None
    if names is None:
        folder = _in_order_given(folder, plain, beside)
    elif beside:
        check_order(folder, present or folder.classes, names, also, beside.name)
    else:
        folder, present, more = matched(folder, names, also)
        notes += more
    record = describe(architecture, settings, folder, _normalisation(plain, fed, folder), plain.test_fraction, checkpoint.path,
                      plain.head, present)  # fmt: skip
    return architecture, record, folder, notes


def describe(
    architecture: Architecture, settings: dict[str, Any], folder: Folder, normalisation: tuple[Sequence[float], Sequence[float]],
    test_fraction: float, path: Path | None, head: str | None = None, present: list[str] | None = None,
) -> Record:  # fmt: skip
    """A record without a past.

    Args:
        present: the classes that the folder has, where the head has more.
    """
    images = folder.images
    architecture.check(images.size, images.channels)
    if len(folder.classes) < 2:
        raise UnlearnError(f"{folder.root} has one class only.", "a classifier needs two classes or more.")
    test = int(images.test.sum())
    data = DataRecord(
        folder=folder_to(path, Path(folder.root)),
        fingerprint=folder.fingerprint,
        train=len(images.labels) - test,
        test=test,
        test_fraction=test_fraction,
        classes=present,
    )
    mean, std = normalisation
    return Record(
        architecture=architecture.name,
        architecture_settings=architecture.parsed(settings, images.size),
        architecture_config=architecture.config,
        architecture_digest=architecture.digest,
        classes=list(folder.classes),
        size=recorded_size(images.size),
        resize=recorded_resize(images.resize),
        channels=images.channels,
        mean=list(mean),
        std=list(std),
        head=head,
        data=data,
    )


def _made_from(record: Record, checkpoint: Checkpoint) -> bool:
    return any(step.operation == "forget" and step.source and step.source.digest == checkpoint.digest for step in record.lineage)


def _as_beside(plain: Plain, record: Record) -> Plain:
    """What was not typed of a state dict, as the record of the model that it is compared with has it; code has to be typed."""
    known = {"size": record.input.size, "mean": record.mean, "std": record.std, "head": record.head}
    if record.architecture_digest is None and record.architecture_config is None:
        known["arch"] = ",".join([record.architecture, *(f"{key}={value}" for key, value in record.architecture_settings.items())])
    return replace(plain, **{key: value for key, value in known.items() if getattr(plain, key) is None})


def _present(beside: Beside) -> list[str] | None:
    return beside.record.data.classes if beside.record.data else None


def _shape(
    architecture: Architecture, settings: dict[str, Any], classes: int, channels: int, size: Size, head: str | None,
    checkpoint: Checkpoint,
) -> tuple[int | None, int]:  # fmt: skip
    """How many outputs and how many channels a checkpoint's tensors are for, whatever a configuration says.

    Args:
        classes, channels: what is thought of them; the network is built so to find the tensors that tell.
    """
    model, found = new(architecture, max(classes, 2), channels, size, architecture.parsed(settings, size), 0, head)
    own = channels_of(model, checkpoint.tensors)
    return outputs_of(model, found.head, checkpoint.tensors), own if own in architecture.channels else channels


def _outputs(
    plain: Plain, told: Described | None, architecture: Architecture, rows: int | None, name: str, beside: Beside | None = None
) -> tuple[list[str] | None, list[list[str]] | None, list[str]]:
    """Names of the head's outputs in their order, other names of each, and what to say; no names where only the folder has some.

    A configuration that is not of so many outputs was left over from another network: its names are none of this one's.
    """
    if plain.labels is not None and plain.classes is not None:
        raise UnlearnError("--labels and --class-names both name the head's outputs.",
                           "give one: --labels where folders are missing.")  # fmt: skip
    if plain.labels is not None:
        own = told.classes if told and told.classes else plain.labels
        other = not class_order.same_order(own, plain.labels) and sorted(map(normal, own)) == sorted(map(normal, plain.labels))
        if other and beside:  # --labels is of the model that is judged
            raise UnlearnError(f"the config.json of {name} has the classes in another order than --labels.",
                               "compare models of the same order.")  # fmt: skip
        said = [f"the config.json of {name} has the classes in another order than --labels, which is taken"] if other else []
        return list(plain.labels), None, said
    if told is None or plain.classes is not None:
        return None, None, []
    count = len(told.classes) if told.classes else told.outputs
    if rows is not None and count not in (None, rows):
        return None, None, [f"the config.json of {name} is of {count:,} classes, and its head has {rows:,} outputs: what it says "
                            "of classes is not used"]  # fmt: skip
    if told.classes:
        return list(told.classes), told.also, []
    known = architecture.labels(rows) if rows else None
    if known is None:
        return None, None, []
    return *known, [f"{name} does not name its {rows:,} classes: they are taken as ImageNet's, in the order that its library has"]


def _opened(plain: Plain, options: Options, beside: Beside | None, names, erased: Collection[str], images: dict) -> Folder:
    """The images at the input's size; those of a model that is open already where they are the same."""
    if beside is not None:
        folder, record = beside.folder, beside.record
        wanted = {"resize": None} | {key: images[key] for key in ("size", "channels", "resize") if images.get(key) is not None}
        if all(getattr(folder.images, key) == value for key, value in wanted.items()):
            return folder
        fraction = record.data.test_fraction if record.data else plain.test_fraction
        images = images | {"test_fraction": fraction} | ({"partial": True} if _present(beside) is not None else {})
        opened = open_images(str(folder.root), options, may_lack=record.classes, **images)
        return numbered(opened, record.classes, [record.classes.index(c) for c in opened.classes])
    # Classes whose images are gone have to stand among the names given: nothing else says that the head has them.
    may_lack = [name for name in plain.classes or () if name in erased]
    return open_images(plain.data, options, may_lack=may_lack, **images | ({"partial": True} if names is not None else {}))


def _miscounted(name: str, rows: int, names, plain: Plain, folder: Folder) -> UnlearnError:
    if plain.labels is not None:
        return UnlearnError(f"the head of {name} has {rows} outputs, and --labels names {len(names)}.", "name every output once.")
    if names is not None:
        return UnlearnError(f"the head of {name} has {rows} outputs, and its configuration names {len(names)} classes.",
                            "pass --labels FILE with a name per line, in the order of the outputs.")  # fmt: skip
    return UnlearnError(f"the head of {name} has {rows} outputs, and {folder.root} has {len(folder.classes)} classes.",
                        "pass --labels FILE with a name per output, a line each, in their order.")  # fmt: skip


def _in_order_given(folder: Folder, plain: Plain, beside: Beside | None) -> Folder:
    """The folder with its classes in the order of --class-names, if there is one."""
    if plain.classes is None:
        return folder
    classes = class_order.as_given(plain.classes, folder.classes, folder.root)
    if beside and classes != list(folder.classes):
        raise UnlearnError(f"--class-names is not the order of the classes of {beside.name}.", "compare models of the same order.")
    return numbered(folder, classes, [classes.index(c) for c in folder.classes])


def _normalisation(plain: Plain, fed: Input | None, folder: Folder) -> tuple[Sequence[float], Sequence[float]]:
    """As given, else as the weights were made for, else that of the training images."""
    channels = folder.images.channels
    mean, std = plain.mean, plain.std
    if (mean is None or std is None) and fed is not None and len(fed.mean) == channels:
        mean, std = mean or fed.mean, std or fed.std
    if mean is None or std is None:
        mean, std = statistics(folder.images, (~folder.images.test).nonzero()[:, 0])
    if len(mean) != channels or len(std) != channels:
        raise UnlearnError(f"--mean and --std need {channels} numbers each for these images.", "for example 0.49,0.48,0.45.")
    if not all(isfinite(m) for m in mean) or not all(isfinite(s) and s > 0 for s in std):
        raise UnlearnError("--mean and --std must be finite, and --std above 0.", "they are in units of [0, 1] pixels.")
    return mean, std

