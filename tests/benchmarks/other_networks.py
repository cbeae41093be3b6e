"""Methods on other networks than the two of `behaviour`, each on a part of a public set. Run by hand; it goes on where it stopped:

    python -m tests.benchmarks.other_networks DATA [--only NAME ...] [--methods lau ...] [--out RESULTS.json] [--work FOLDER]

DATA holds the unpacked sets: fashion-mnist, cifar10-small and lfw12, each with train/ and test/. A set-up trains an original and a
retrained reference without one class, and forgets that class with the methods' defaults. The set-ups were fixed before any was
run, and no number of them was chosen by a result; that UNSIR is also run with its paper's rates for a ViT was added when the
defaults had ruined ours. `python -m tests.readme` makes the README's table of RESULTS.json.
"""

import argparse
import random
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.benchmarks import behaviour
from unlearn_cli.checkpoints import store
from unlearn_cli.engine.memory import keep_freed_memory
from unlearn_cli.jobs import Options, Request, train

RESULTS = Path(__file__).parent / "results" / "other_networks.json"
METHODS = ("mask", "lau", "suli", "unsir", "neg-grad", "fine-tune", "eu-k")
REFERENCE_SEED = 1
NO_RELEARNING = 0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One network on one set.

    Args:
        name: what the table calls it.
        folder: of DATA.
        train, test: images of each class at most, drawn with seed 0.
        arch: as it is typed.
        size: side of the images in pixels.
        recipe: a paper's; None for the architecture's own.
        epochs: None for the recipe's.
        chosen: what else of the recipe is set.
        classes: first and last place of the classes that are taken, in the order of their names; None for all.
        begun_on: the same of the classes that another network is trained on before, with whose weights this one begins.
        forget: place of the class that is forgotten, among those that are taken.
        settings: (label, settings) of more runs of methods, which a paper gives for such a network.
    """

    name: str
    folder: str
    train: int
    test: int
    arch: str
    size: int
    recipe: str | None = None
    epochs: int | None = None
    chosen: tuple[tuple[str, int | float], ...] = ()
    classes: tuple[int, int] | None = None
    begun_on: tuple[int, int] | None = None
    forget: int = 0
    settings: tuple[tuple[str, tuple[str, ...]], ...] = ()


# Numbers of images and epochs are what a CPU does in minutes. For vgg16, which has no BatchNorm, TMU's recipe, Adam at 1e-4, was
# taken: its own, SGD at 0.05, was afterwards seen to leave it near chance in as many epochs (22.8 % of the test images right).
# Batches of 32 give the few faces some hundred steps.
SETUPS = (
    Setup(name="resnet18 on Fashion-MNIST", folder="fashion-mnist", train=200, test=100, arch="resnet18,width=16", size=28),
    Setup(name="vgg16 on Fashion-MNIST", folder="fashion-mnist", train=100, test=50, arch="vgg16", size=28, recipe="tmu"),
    Setup(
        name="resnet18 pre-trained on five classes of CIFAR-10, fine-tuned on the other five", folder="cifar10-small",
        train=500, test=100, arch="resnet18,width=16", size=32, recipe="unsir", epochs=5, classes=(0, 4), begun_on=(5, 9),
        settings=(("(rates of the paper's pre-trained models)",
                   ("unsir.impair_lr=0.01", "unsir.repair_lr=0.005", "unsir.body_lr=0.0001")),),
    ),
    Setup(name="shifted ViT on Fashion-MNIST", folder="fashion-mnist", train=150, test=100, arch="vit,tokens=shifted,width=96",
          size=28, epochs=20,
          settings=(("(rates of the paper's ViT)", ("unsir.impair_lr=0.0001", "unsir.repair_lr=0.00002")),)),
    Setup(name="mobilenet-v2 on faces", folder="lfw12", train=60, test=25, arch="mobilenet-v2,stem=standard", size=48, epochs=15,
          chosen=(("batch_size", 32),), forget=1),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="set-ups whose names hold one of these words")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("other-networks"), help="for subsets and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    for setup in SETUPS:
        if not given.only or any(word in setup.name for word in given.only):
            measure(setup, given)


def measure(setup: Setup, given: Namespace) -> None:
    """All rows of a set-up that are not there yet."""
    place = given.work / setup.name.replace(" ", "-")
    data, classes = subset(given.data / setup.folder, place / "images", setup, setup.classes)
    request = Request((classes[setup.forget],))
    options = Options(device="cpu")
    original, reference = place / "original.safetensors", place / "reference.safetensors"
    args = Namespace(results=given.out, original=str(original), reference=str(reference), cap=NO_RELEARNING, set=[], label="")
    key = {"network": setup.name, "request": "class"}

    if not original.exists():
        begun = begin(setup, given, place, options) if setup.begun_on else None
        how = {"size": setup.size} if begun is None else {"weights": begun}
        train(str(data), str(original), arch=setup.arch, recipe=setup.recipe, epochs=setup.epochs, chosen=dict(setup.chosen),
              options=options, **how)  # fmt: skip
    if not reference.exists():
        train(None, str(reference), like=str(original), without=request, options=Options(device="cpu", seed=REFERENCE_SEED))
    for role, checkpoint in (("original", args.original), ("retrained", args.reference)):
        behaviour.once(args, key | {"method": role, "seed": 0}, lambda c=checkpoint: trained(c, args, request))
    for name in given.methods:
        behaviour.once(args, key | {"method": name, "label": "", "seed": 0},
                       lambda name=name: forgotten(name, args, request))  # fmt: skip
    for label, settings in setup.settings:
        name = settings[0].partition(".")[0]
        if name in given.methods:
            changed = Namespace(**vars(args) | {"set": list(settings), "label": label})
            behaviour.once(args, key | {"method": name, "label": label, "seed": 0},
                           lambda name=name, changed=changed: forgotten(name, changed, request))  # fmt: skip


def begin(setup: Setup, given: Namespace, place: Path, options: Options) -> str:
    """The network that the original begins with: its own architecture, by that one's own recipe, on other classes."""
    path = place / "begun.safetensors"
    if not path.exists():
        data, _ = subset(given.data / setup.folder, place / "begun-images", setup, setup.begun_on)
        train(str(data), str(path), arch=setup.arch, size=setup.size, options=options)
    return str(path)


def trained(checkpoint: str, args: Namespace, request: Request) -> dict:
    """What a training left, and how it went."""
    step = store.read(checkpoint).record.last
    return behaviour.measured(checkpoint, args, request) | {
        "seconds": step.seconds, "images_read": step.images_read, "epochs": step.settings["epochs"],
    }  # fmt: skip


def forgotten(name: str, args: Namespace, request: Request) -> dict:
    """What a method left, without its notes: they name files and classes, which of faces are people."""
    row = behaviour.forgotten(name, 0, args, request)
    row.pop("notes", None)
    return row


def subset(source: Path, place: Path, setup: Setup, classes: tuple[int, int] | None) -> tuple[Path, list[str]]:
    """A folder of links to some images of each class, and the classes."""
    names = sorted(path.name for path in (source / "train").iterdir())
    taken = names[classes[0] : classes[1] + 1] if classes else names
    for part, most in (("train", setup.train), ("test", setup.test)):
        for name in taken:
            (place / part / name).mkdir(parents=True, exist_ok=True)
            images = sorted((source / part / name).iterdir())
            for image in random.Random(0).sample(images, min(most, len(images))):
                link = place / part / name / image.name
                if not link.is_symlink():
                    link.symlink_to(image.resolve())
    return place, taken


if __name__ == "__main__":
    main()
