"""Tensors, records and hand-made safetensors files, for the tests of this folder."""

import json
from pathlib import Path

import torch

from unlearn_cli.checkpoints.record import DataRecord, Record, RequestRecord, Source, Step


def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "head.weight": torch.randn(3, 5, generator=draw),
        "head.bias": torch.randn(3, generator=draw).bfloat16(),
        "conv.weight": torch.randn(2, 1, 3, 3, generator=draw).double(),
        "norm.steps": torch.tensor(7),
    }


def record() -> Record:
    step = Step(
        operation="forget",
        method="lau",
        settings={"lr": 0.2, "epochs": 30, "cache": True, "low": None, "frozen": ["a"]},
        request=RequestRecord(classes=["cat"]),
        seed=0,
        seconds=1.5,
        images_read={"forget": 10},
        stopped_by="the end",
        notes=["a note"],
        device="cpu",
        precision="float32",
        versions={"torch": "2"},
        source=Source(name="m", digest="0" * 64),
    )
    return Record(
        architecture="compact",
        architecture_settings={"width": 8},
        classes=["cat", "dog", "größe"],
        size=28,
        channels=1,
        mean=[0.5],
        std=[0.2],
        data=DataRecord(folder="digits", fingerprint="a" * 64, train=10, test=5, test_fraction=0.2),
        lineage=[step],
    )


def file_of(path: Path, header: dict | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A file laid out as safetensors has it, with whatever header, and a length that may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: tuple[int, ...] = (1,), start: int = 0, end: int = 4) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
