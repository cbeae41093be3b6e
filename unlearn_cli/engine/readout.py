"""The readout: one inference pass of a model over every image; each metric reads from it, and the next command too.

What is kept is the penultimate features, under the digest of the backbone: models that differ in their heads alone, as
after a head-only method, share one pass.
"""

import torch
from torch import Tensor, nn

from unlearn_cli.checkpoints import store
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.kept import kept
from unlearn_cli.engine.run import Run
from unlearn_cli.tasks.classes import Classes

LAYOUT = 2
"""Raise when the same model and images would give other numbers."""


def readout(
    run: Run, model: nn.Module, head: str, folder: Folder, tensors: dict[str, Tensor], name: str, network: tuple = ()
) -> tuple[Tensor, Tensor]:
    """(N, C) float32 logits and (N, d) float32 features of all images in folder order, on the CPU.

    Args:
        tensors: the checkpoint's, by which its backbone is known again.
        name: of the checkpoint, for the progress.
        network: what the same tensors would say otherwise by: the architecture, its settings, its code.
    """
    images = folder.images
    everything = Split("all", images, torch.arange(len(images)), Classes(len(folder.classes)))
    below = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{head}.")}
    key = (LAYOUT, store.digest(below), network, folder.fingerprint, *images.prepared, run.mean, run.std,
           str(run.precision), run.device.type, head, torch.__version__)  # fmt: skip

    def whole(found: dict[str, Tensor]) -> bool:
        features = found.get("features")
        return features is not None and features.dim() == 2 and len(features) == len(images) and features.is_floating_point()

    with run.adopted(model, head):
        backbone, last = run.split(model)

        def read() -> dict[str, Tensor]:
            return {"features": run.features(backbone, everything, f"reading {name}").x}

        features = kept(run, "readout", key, read, whole)["features"]
        with torch.no_grad():
            logits = torch.cat([last(part.to(run.device, run.dtype)) for part in features.split(10_000)])
    return logits.float().cpu(), features.float().cpu()
