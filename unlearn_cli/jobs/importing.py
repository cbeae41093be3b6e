"""`import`: weights out of a pickled PyTorch file, without unpickling anything else, or images out of Parquet files."""

from pathlib import Path

from unlearn_cli.checkpoints import store
from unlearn_cli.errors import UnlearnError, one_line
from unlearn_cli.metrics.report import Report

ENDINGS = (".pth.tar", ".pt.tar", ".ckpt.tar", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl")


def import_weights(file: str, output: str | None = None, *, key: str | None = None, force: bool = False) -> Report:
    """Write the state dict in FILE to OUTPUT, by default beside it; KEY is the dotted path of keys to it, if not the usual one.

    Tensors keep their names and types. A file that `torch.load(weights_only=True)` cannot read is refused. Of a Parquet file
    with images, or of a folder of them, OUTPUT becomes a data folder.
    """
    if is_parquet(file):
        return _images(file, output, key, force)
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


def is_parquet(file: str) -> bool:
    path = Path(file)
    return path.suffix.lower() == ".parquet" or path.is_dir() and any(True for _ in path.rglob("*.parquet"))


def _images(file: str, output: str | None, key: str | None, force: bool) -> Report:
    from unlearn_cli.data.parquet import unpack

    if key is not None:
        raise UnlearnError("--key is for PyTorch files, and Parquet files have columns.", "leave it out.")
    if force:
        raise UnlearnError("--force replaces files, and images become a folder.", "leave it out, and name a new folder.")
    if output is None or output == store.PIPE:
        raise UnlearnError(f"the images of {file} become a folder, and none is named.", "pass --output DIR.")
    counts = unpack(file, output)
    facts = {f"{part or 'images'}": count for part, count in counts.items()}
    return Report(command="import", title=f"{Path(file).name}: images", facts=facts, written=output)


def beside(file: str) -> str:
    """`model.safetensors` for `model.pth`, `model.ckpt` or `model.pth.tar`."""
    path = Path(file)
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end) and len(path.name) > len(end)), "")
    return str(path.with_name(path.name[: len(path.name) - len(ending)] + ".safetensors"))
