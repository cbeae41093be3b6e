"""`unlearn inspect`."""

from typing import Annotated

import typer

from unlearn_cli.cli import options as o
from unlearn_cli.cli import run
from unlearn_cli.errors import UnlearnError

Checkpoint = Annotated[
    str | None,
    typer.Argument(metavar="CHECKPOINT", help="A safetensors file or a checkpoint folder; - reads standard input; not needed with "
                   "--data."),
]
Split = Annotated[
    bool,
    o.option("--split", help="List every image with its class and split (train, test, selection or forgotten), tabs between "
             "them.", panel=o.RESULT),
]  # fmt: skip


def inspect(
    checkpoint: Checkpoint = None,
    split: Split = False,
    column: o.Column = None,
    forgotten: o.Forgotten = None,
    data: o.Data = None,
    test_fraction: o.TestFraction = 0.2,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Show what CHECKPOINT says of itself: architecture, classes, data, lineage, digest; with --data, what a folder holds.

    Example: unlearn inspect model.lau-class-3.safetensors
    """
    if checkpoint is None and data is None:
        raise UnlearnError("there is nothing to look at.", "name a CHECKPOINT, or a folder of images with --data DIR.")
    if forgotten and (checkpoint is None or not (split or data)):
        raise UnlearnError("--forgotten says which images a checkpoint forgot, where they are shown.",
                           "name the CHECKPOINT, and add --split.")  # fmt: skip
    if column and not forgotten:
        raise UnlearnError("--column goes with --forgotten FILE, and no list is given.", "leave it out.")

    from unlearn_cli.cli import console

    console.be_quiet(quiet)
    found = read(checkpoint) if checkpoint is not None else None
    catalogue = catalogued(found, data, test_fraction, forgotten, column) if split or data else None
    if split:
        from unlearn_cli.cli.catalogue import write_list

        write_list(catalogue, json)
        for remark in catalogue.notes:
            console.say(f"Note: {remark}")
        return
    about = described(checkpoint, found) if found else {}
    if catalogue:
        from unlearn_cli.cli.catalogue import counts

        images = counts(catalogue)
        about = about | {"images": images} if found else images
    if json:
        console.out.file.write(console.as_json(about, console.out.file))
    else:
        show(about, found, catalogue)


def read(checkpoint: str):
    from unlearn_cli.checkpoints import store

    return store.read(checkpoint)


def catalogued(found, data: str | None, test_fraction: float, forgotten: list[str] | None, column: str | None):
    """The images of the folder, as the checkpoint sees them if there is one that has a record."""
    if found is None or found.record is None and data is not None:
        from unlearn_cli.data.catalogue import of_folder

        return of_folder(data, test_fraction)
    if found.record is None:
        raise UnlearnError(f"{found.name} has no record of its data.", "pass --data DIR.")

    from unlearn_cli.cases.catalogue import of_checkpoint

    return of_checkpoint(found, found.record, data, test_fraction, run.lists(forgotten, column))


def described(checkpoint: str, found) -> dict:
    """What a checkpoint says of itself, for programs."""
    tensors = found.tensors.values()
    return {
        "file": checkpoint,
        "digest": found.digest,
        "tensors": len(tensors),
        "parameters": sum(t.numel() for t in tensors if t.is_floating_point()),
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in tensors}),
        "record": found.record.model_dump(mode="json") if found.record else None,
        **({"described": of_library(found.described)} if found.described else {}),
    }


def of_library(told) -> dict:
    """What a folder's configuration says, as far as it does."""
    from dataclasses import asdict

    return {
        "architecture": told.architecture,
        "outputs": told.outputs,
        "classes": told.classes,
        "input": asdict(told.input) if told.input else None,
        "channels": told.channels,
        "notes": [*told.notes, *([told.unprepared] if told.unprepared and told.architecture.startswith("transformers/") else [])],
    }


def show(about: dict, found, catalogue) -> None:
    from unlearn_cli.cli.console import out

    if found:
        show_checkpoint(about)
    if catalogue:
        from unlearn_cli.cli.catalogue import show_counts

        if found:
            out.print()
        show_counts(about["images"] if found else about)


def show_checkpoint(about: dict) -> None:
    from unlearn_cli.cli.console import out
    from unlearn_cli.cli.render import facts_table

    record = about["record"]
    facts = {
        "digest": about["digest"],
        "tensors": f"{about['tensors']} ({about['parameters']:,} numbers, {', '.join(about['dtypes'])})",
    }
    if record is None:
        told = about.get("described")
        if told is None:
            out.print(facts_table(facts | {"record": "none: a plain state dict"}))
            return
        facts |= {"record": "none", "architecture": told["architecture"], "classes": _classes(told["classes"], told["outputs"])}
        if told["input"]:
            facts["input"] = input_of(told["input"] | {"channels": told["channels"]})
            facts["normalisation"] = _normalisation(told["input"])
        out.print(facts_table(facts | ({"notes": "; ".join(told["notes"])} if told["notes"] else {})))
        return
    settings = ", ".join(f"{k}={v}" for k, v in record["architecture_settings"].items())
    data = record["data"]
    facts |= {
        "architecture": record["architecture"] + (f" ({settings})" if settings else ""),
        "classes": _classes(record["classes"], None),
        "input": input_of(record),
        "normalisation": _normalisation(record),
        "head": record["head"] or "the last linear layer",
        "data": f"{data['folder']}: {data['train']:,} train and {data['test']:,} test images" if data else "not recorded",
        "fingerprint": data["fingerprint"] if data else None,
    }
    out.print(facts_table({k: v for k, v in facts.items() if v is not None}))
    for number, step in enumerate(record["lineage"], 1):
        out.print(f"\nstep {number}: {step['operation']} ({step['method']})", style="bold", markup=False)
        out.print(facts_table(step_facts(step)))
    if asked := asked_of(record["lineage"]):
        out.print()
        out.print(facts_table({"forgotten in all": asked}))


def input_of(record: dict) -> str:
    """The input's size and channels, and how an image is brought to it where that is another library's way."""
    from unlearn_cli.checkpoints.record import as_size
    from unlearn_cli.inputs import in_words

    resize = record["resize"]
    to = None if resize is None else as_size(resize["to"])
    way = "" if to is None else f", the shorter side resized to {to}" if isinstance(to, int) else f", resized to {in_words(to)}"
    how = f"{way} ({resize['interpolation']}), cut from the centre" if resize else ""
    return f"{in_words(as_size(record['size']))} pixels, {record['channels']} channel(s){how}"


def step_facts(step: dict) -> dict:
    """One step of the lineage, as words."""
    from unlearn_cli.cases.requests import in_words
    from unlearn_cli.checkpoints.record import RequestRecord

    asked = in_words(RequestRecord.model_validate(step["request"])) if step["request"] else None
    withheld = step["withheld"]
    facts = {
        "left out" if step["operation"] == "train" else "forgot": asked,
        "withheld": f"{withheld} earlier request{'s' if withheld > 1 else ''}" if withheld else None,
        "from": f"{step['source']['name']} ({step['source']['digest'][:16]})" if step["source"] else None,
        "settings": ", ".join(f"{k}={v}" for k, v in step["settings"].items()) or None,
        "images read": ", ".join(f"{n:,} {name}" for name, n in step["images_read"].items()) or "none",
        "stopped by": step["stopped_by"],
        "seconds": f"{step['seconds']:.2f}",
        "seed": step["seed"],
        "ran on": f"{step['device']}, {step['precision']}; " + ", ".join(f"{k} {v}" for k, v in step["versions"].items()),
        "evidence": f"kept, digest {step['evidence'][:16]}" if step["evidence"] else None,
        "notes": "; ".join(step["notes"]) or None,
    }
    return {k: v for k, v in facts.items() if v is not None}


def asked_of(lineage: list[dict]) -> str:
    """All that the steps were asked to forget or to leave out, as words; nothing where they were asked for nothing."""
    from unlearn_cli.cases.requests import all_in_words, asked
    from unlearn_cli.checkpoints.record import Step

    found = asked([Step.model_validate(step) for step in lineage])
    return all_in_words(found) if found else ""


def _classes(names: list[str] | None, count: int | None) -> str:
    if names is None:
        return "not named" if count is None else f"{count}, not named"
    return f"{len(names)}: " + ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")


def _normalisation(told: dict) -> str:
    return f"mean {_short(told['mean'])}, std {_short(told['std'])}"


def _short(values: list[float]) -> str:
    return ", ".join(f"{v:.3f}" for v in values)
