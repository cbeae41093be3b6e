"""Which changed copies are found, and how many unchanged images are called copies: one JSON document. By hand:

    python -m tests.benchmarks.near_copies DATA > near_copies.json

Some training images are drawn, changed, and added to all others: `recall` is the share found again with the right source.
`pairs` are what random lists of the folder's own images get: they may be real copies, which public data sets hold, so look
at the pictures before they are called wrong (`--names` prints them). Seconds are one run's each.
"""

import argparse
import io
import json
import time

import numpy as np
import torch
from PIL import Image

from unlearn_cli.data import copies
from unlearn_cli.data.folder import open_folder

BILINEAR = Image.Resampling.BILINEAR


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return Image.open(buffer)


def resized(image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * 0.9),) * 2, BILINEAR).resize(image.size, BILINEAR)


def cropped(image: Image.Image) -> Image.Image:
    edge = max(1, round(image.width * 0.03))
    return image.crop((edge, edge, image.width - edge, image.height - edge)).resize(image.size, BILINEAR)


CHANGES = {
    "jpeg_75": lambda image: compressed(image, 75),
    "jpeg_50": lambda image: compressed(image, 50),
    "resized_by_a_tenth_and_back": resized,
    "brighter_by_a_twentieth": lambda image: image.point(lambda value: min(255, round(value * 1.05))),
    "cropped_by_3_percent": cropped,
}


def changed(pixels: np.ndarray, how) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(how(Image.fromarray(image.squeeze()))).reshape(image.shape) for image in pixels]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--changed", type=int, default=1_000, help="images changed, for the recall")
    parser.add_argument("--lists", type=int, nargs="*", default=[20, 100, 1_000, 5_000], help="lengths of random lists")
    parser.add_argument("--names", action="store_true", help="print the pairs of the longest list as well")
    options = parser.parse_args()
    folder = open_folder(options.data)
    images, digests, random = folder.images, copies.digests_of(folder), np.random.default_rng(0)
    train = np.flatnonzero(~images.test.numpy())
    begin = time.perf_counter()
    traits = copies.traits_of(images)
    told = {"images": len(images), "size": images.size, "traits_seconds": round(time.perf_counter() - begin, 2)}

    told["recall"] = {}
    chosen = np.sort(random.choice(train, min(options.changed, len(train) // 2), replace=False))
    for name, how in CHANGES.items():
        added = copies.thumbnails_of(changed(images.gather(torch.from_numpy(chosen)).numpy(), how))
        found = copies.near_copies(torch.cat([traits.thumbnails, added]), chosen)
        new = found.copies >= len(images)
        told["recall"][name] = float((chosen[found.copies[new] - len(images)] == found.of[new]).sum() / len(chosen))

    told["pairs"] = {}
    for count in options.lists:
        if count <= len(train) // 2:
            listed = random.choice(train, count, replace=False)
            begin = time.perf_counter()
            found = copies.find(images, digests, listed, traits=traits)
            seconds = round(time.perf_counter() - begin, 2)
            told["pairs"][count] = {"exact": len(found.exact), "near": len(found.near), "seconds": seconds}
            pairs = [[images.paths[i], images.paths[j]] for i, j in zip(found.near.copies, found.near.of)]
    print(json.dumps(told | ({"names": pairs} if options.names else {}), indent=2))


if __name__ == "__main__":
    main()
