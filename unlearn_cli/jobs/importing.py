"""`import`: the weights of a pickled PyTorch file as a safetensors file, without unpickling anything else."""

from pathlib import Path

from unlearn_cli.checkpoints import store
from unlearn_cli.errors import one_line
from unlearn_cli.metrics.report import Report

ENDINGS = (".pth.tar", ".pt.tar", ".ckpt.tar", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl")


def import_weights(file: str, output: str | None = None, *, key: str | None = None, force: bool = False) -> Report:
    """Write the state dict in FILE to OUTPUT, by default beside it; KEY is the dotted path of keys to it, if not the usual one.

    Tensors keep their names and types. A file that `torch.load(weights_only=True)` cannot read is refused.
    """
    from unlearn_cli.checkpoints import importing, pickled  # `forget` must not wait for them

    output = store.claim(output or beside(file), force=force, inputs=(file,))
    found = importing.state_dict_of(pickled.read(file), file, key)
    store.write_plain(output, found.tensors, force=force)
    tensors = found.tensors.values()
    left = importing.first_of(found.left, importing.LISTED)
    return Report(
        command="import",
        title=f"{Path(file).name}: {'the state dict under ' + one_line(found.key) if found.key else 'a state dict'}",
        facts={
            "key": found.key or None,
            "tensors": len(tensors),
            "parameters": sum(t.numel() for t in tensors if t.is_floating_point()),
            "dtypes": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors})),
            "left_behind": left or None,
        },
        notes=found.notes,
        written=output,
    )


def beside(file: str) -> str:
    """`model.safetensors` for `model.pth`, `model.ckpt` or `model.pth.tar`."""
    path = Path(file)
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end) and len(path.name) > len(end)), "")
    return str(path.with_name(path.name[: len(path.name) - len(ending)] + ".safetensors"))
