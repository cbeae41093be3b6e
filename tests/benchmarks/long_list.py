"""How long 50,000 listed paths take against 100,000 images in 1,000 classes: one JSON document. By hand:

    python -m tests.benchmarks.long_list > long_list.json

The list is a file in a temporary folder, the images are names in memory. Seconds are the median of `--repeats` runs, read
and matched apart, for each way to write the same list. Nothing is asked of the file system but where a link leads there.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from unlearn_cli.data.lists import read_list
from unlearn_cli.data.matching import match


def names(images: int, classes: int) -> list[str]:
    each = images // classes
    return sorted(f"train/class-{c:04d}/image-{i:06d}.jpg" for c in range(classes) for i in range(each))


def ways(listed: list[str], root: Path, link: Path) -> dict[str, tuple[str, str]]:
    """The suffix and the text of the list, written in several ways."""
    return {
        "relative": (".txt", "\n".join(listed)),
        "crlf_dot_slash": (".txt", "\r\n".join(f"./{path}" for path in listed)),
        "as_found_from_above": (".txt", "\n".join(f"{root.name}/{path}" for path in listed)),
        "absolute": (".txt", "\n".join(f"{root}/{path}" for path in listed)),
        "absolute_through_a_link": (".txt", "\n".join(f"{link}/{path}" for path in listed)),
        "backslashes_and_quotes": (".txt", "\n".join('"' + path.replace("/", "\\") + '"' for path in listed)),
        "csv": (".csv", "file_name,score\n" + "".join(f"{path},0.5\n" for path in listed)),
        "jsonl": (".jsonl", "".join(json.dumps({"path": path}) + "\n" for path in listed)),
        "one_thousand_patterns": (".txt", "\n".join(f"train/class-{c:04d}/*[05].jpg" for c in range(1_000))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--listed", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    paths = names(options.images, options.classes)
    chosen = np.random.default_rng(0).choice(len(paths), options.listed, replace=False)
    found = {}
    with tempfile.TemporaryDirectory() as place:
        root, link = Path(place).resolve() / "photos", Path(place).resolve() / "link"
        for folder in {os.path.dirname(path) for path in paths}:
            (root / folder).mkdir(parents=True)
        link.symlink_to(root)
        for way, (suffix, text) in ways([paths[i] for i in chosen], root, link).items():
            file = Path(place) / f"list{suffix}"
            file.write_text(text, newline="")
            times = []
            for _ in range(options.repeats):
                begin = time.perf_counter()
                read = read_list(str(file))
                middle = time.perf_counter()
                matched = match(read, paths, root)
                times.append((middle - begin, time.perf_counter() - middle))
            reading, matching = (median(column) for column in zip(*times, strict=True))
            same = bool(np.array_equal(matched.positions, np.sort(chosen))) if way != "one_thousand_patterns" else None
            found[way] = {
                "read_seconds": round(reading, 4), "match_seconds": round(matching, 4), "images": len(matched.positions),
                "the_images_listed": same,
            }  # fmt: skip
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({"images": len(paths), "listed": options.listed, "ways": found} | machine, indent=2))


if __name__ == "__main__":
    main()
