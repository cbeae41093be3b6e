"""Copies of the images to forget that stay where they are, found once for a folder and a request."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from unlearn_cli.cases.loading import Loaded
from unlearn_cli.data import copies
from unlearn_cli.data.copies import Copies, Pairs
from unlearn_cli.engine.kept import kept
from unlearn_cli.engine.run import Options

LAYOUT = 1
"""Raise when the same images would have other copies."""
LOOKED_AT = 1000
"""Images to forget, at most, that near copies are looked for of: more cost more than forgetting them does."""


def copies_of(model: Loaded, meant: Tensor, options: Options) -> Copies:
    """The copies of images that are to be forgotten or were, among those that are not; exact ones of all, near ones of a sample.

    Args:
        meant: (n,) positions of all that the requests mean.
    """
    folder, run = model.folder, model.run(options)
    images = folder.images
    chosen = meant.numpy()
    few = chosen[np.linspace(0, len(chosen) - 1, LOOKED_AT).astype(int)] if len(chosen) > LOOKED_AT else chosen
    size = (folder.fingerprint, *images.prepared)

    def see() -> dict[str, Tensor]:
        found = copies.traits_of(images)
        return {"pixels": torch.from_numpy(found.pixels.copy()), "thumbnails": found.thumbnails}

    def look() -> dict[str, Tensor]:
        seen = kept(run, "traits", (LAYOUT, *size), see, lambda found: set(found) == {"pixels", "thumbnails"})
        traits = copies.Traits(seen["pixels"].numpy(), seen["thumbnails"])
        exact = copies.find(images, copies.digests_of(folder), chosen, near=False, traits=traits).exact
        near = copies.near_copies(traits.thumbnails, few)
        near = near.where(~np.isin(near.copies, exact.copies) & ~np.isin(near.copies, chosen))
        parts = {"exact": exact.copies, "exact_of": exact.of, "near": near.copies, "near_of": near.of}
        return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}

    names = {"exact", "exact_of", "near", "near_of"}
    asked = hashlib.sha256(chosen.tobytes()).hexdigest()
    labels = hashlib.sha256(images.labels.numpy().tobytes() + images.test.numpy().tobytes()).hexdigest()
    found = kept(run, "copies", (LAYOUT, *size, labels, asked), look, lambda found: set(found) == names)
    pairs = {name: found[name].numpy() for name in names}
    return Copies(images, Pairs(pairs["exact"], pairs["exact_of"]), Pairs(pairs["near"], pairs["near_of"]))


def said(found: Copies, meant: Tensor) -> list[str]:
    """Notes on the copies, and how many images near ones were looked for of, where not of all."""
    lines = found.in_words()
    if len(found.in_retain(found.exact)):
        lines.append("exact copies stay in the retain set: --with-duplicates takes those of listed images in")
    if len(found.near) and len(meant) > LOOKED_AT:
        lines.append(f"near copies were looked for of {LOOKED_AT:,} of the {len(meant):,} images to forget")
    return lines


def in_verdict(found: Copies | None) -> str:
    """A sentence for the end of a verdict, where exact copies of what is forgotten stay."""
    count = len(found.in_retain(found.exact)) if found else 0
    if count == 0:
        return ""
    noun, verb = ("copy", "remains") if count == 1 else ("copies", "remain")
    return f" {count:,} exact {noun} of what is forgotten {verb} in the retain set."


def counted(found: Copies) -> dict[str, int]:
    """Numbers for the facts of a report."""
    return {
        "exact_copies_in_retain": len(found.in_retain(found.exact)),
        "near_copies_in_retain": len(found.in_retain(found.near)),
    }
