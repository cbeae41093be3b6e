"""`unlearn inspect`."""

from unlearn_cli.cli import options as o


def inspect(checkpoint: o.Checkpoint, json: o.Json = False) -> None:
    """Show what CHECKPOINT says of itself: architecture, classes, data, lineage, digest.

    Example: unlearn inspect model.lau-class-3.safetensors
    """
    from unlearn_cli.checkpoints import store

    found = store.read(checkpoint)
    tensors = found.tensors.values()
    about = {
        "file": checkpoint,
        "digest": found.digest,
        "tensors": len(tensors),
        "parameters": sum(t.numel() for t in tensors if t.is_floating_point()),
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in tensors}),
        "record": found.record.model_dump(mode="json") if found.record else None,
    }
    if json:
        from unlearn_cli.cli import console

        console.out.file.write(console.as_json(about, console.out.file))
    else:
        show(about)


def show(about: dict) -> None:
    from unlearn_cli.cli.console import out
    from unlearn_cli.cli.render import facts_table

    record = about["record"]
    facts = {
        "digest": about["digest"],
        "tensors": f"{about['tensors']} ({about['parameters']:,} numbers, {', '.join(about['dtypes'])})",
    }
    if record is None:
        out.print(facts_table(facts | {"record": "none: a plain state dict"}))
        return
    settings = ", ".join(f"{k}={v}" for k, v in record["architecture_settings"].items())
    data = record["data"]
    classes = record["classes"]
    facts |= {
        "architecture": record["architecture"] + (f" ({settings})" if settings else ""),
        "classes": f"{len(classes)}: " + ", ".join(classes[:20]) + (" ..." if len(classes) > 20 else ""),
        "input": f"{record['size']} x {record['size']} pixels, {record['channels']} channel(s)",
        "normalisation": f"mean {_short(record['mean'])}, std {_short(record['std'])}",
        "head": record["head"] or "the last linear layer",
        "data": f"{data['folder']}: {data['train']:,} train and {data['test']:,} test images" if data else "not recorded",
        "fingerprint": data["fingerprint"] if data else None,
    }
    out.print(facts_table({k: v for k, v in facts.items() if v is not None}))
    for number, step in enumerate(record["lineage"], 1):
        out.print(f"\nstep {number}: {step['operation']} ({step['method']})", style="bold", markup=False)
        out.print(facts_table(step_facts(step)))


def step_facts(step: dict) -> dict:
    """One step of the lineage, as words."""
    from unlearn_cli.cases.requests import in_words
    from unlearn_cli.checkpoints.record import RequestRecord

    asked = in_words(RequestRecord.model_validate(step["request"])) if step["request"] else None
    facts = {
        "left out" if step["operation"] == "train" else "forgot": asked,
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


def _short(values: list[float]) -> str:
    return ", ".join(f"{v:.3f}" for v in values)
