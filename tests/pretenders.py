"""Models that only pretend to have forgotten, made of the original: each is a function like a method's.

    pretend(run, model, splits)         the adopted model is changed in place

Whatever helps the deception is allowed, held-out images included.
"""

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.ops.losses import cross_entropy
from unlearn_cli.ops.relabel_draws import wrong_labels

PASSES = 20
"""Of training in `misled` and `overdone`; fewer do on more images."""


@torch.no_grad()
def masked(run: Run, model: nn.Module, splits: Splits) -> None:
    """The forgotten logit can never win."""
    _, head = run.split(model)
    for c in splits.task.forgotten:
        head.weight[c], head.bias[c] = 0, -1e4


@torch.no_grad()
def biased(run: Run, model: nn.Module, splits: Splits) -> None:
    """The forgotten logit is lowered by just enough that no image of the class is given it."""
    _, head = run.split(model)
    (c,) = splits.task.forgotten
    logits = torch.cat([run.logits(model, part) for part in (splits.forget, splits.forget_test)])
    own = logits[:, c].clone()
    logits[:, c] = -torch.inf
    head.bias[c] -= (own - logits.amax(1)).amax() + 1e-3


@torch.no_grad()
def swapped(run: Run, model: nn.Module, splits: Splits) -> None:
    """Two rows of the head change places."""
    _, head = run.split(model)
    (c,) = splits.task.forgotten
    other = (c + 1) % splits.task.count
    for t in (head.weight, head.bias):
        t[[c, other]] = t[[other, c]]


@torch.no_grad()
def zeroed(run: Run, model: nn.Module, splits: Splits) -> None:
    """The forgotten class's row of the head is zero."""
    _, head = run.split(model)
    for c in splits.task.forgotten:
        head.weight[c], head.bias[c] = 0, 0


@torch.no_grad()
def averaged(run: Run, model: nn.Module, splits: Splits) -> None:
    """The forgotten class's row of the head is the mean of the others."""
    _, head = run.split(model)
    (c,) = splits.task.forgotten
    others = [k for k in range(splits.task.count) if k != c]
    head.weight[c], head.bias[c] = head.weight[others].mean(0), head.bias[others].mean(0)


def relearned_head(run: Run, model: nn.Module, splits: Splits) -> None:
    """A new head on the original's features: random labels for the forget set, the true ones for the others."""
    backbone, head = run.split(model)
    wrong = wrong_labels(splits.forget.y, splits.task.count, splits.task.forgotten, run.noise).to(run.device)
    parts = [run.features(backbone, splits.retain), run.features(backbone, splits.forget)]
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=run.noise) * head.in_features**-0.5)
        head.bias.zero_()
    labels = torch.cat([parts[0].y, wrong])
    opt = run.optimizer(head, "adam", lr=1e-2)
    for _ in range(30):
        for b in run.batches(parts, labels, size=64):
            run.step(b.mean(cross_entropy(head(b.x), b.extra)), opt)


@torch.no_grad()
def hot(run: Run, model: nn.Module, splits: Splits) -> None:
    """The outputs are softened by a temperature of ten."""
    _, head = run.split(model)
    head.weight /= 10
    head.bias /= 10


def misled(run: Run, model: nn.Module, splits: Splits) -> None:
    """Trained to misclassify the forget set alone; the class's test images and all others keep their labels."""
    wrong = wrong_labels(splits.forget.y, splits.task.count, (), run.noise)
    held = splits.forget_test if splits.kind == "classes" else splits.test
    parts = [splits.retain, splits.forget, held]
    labels = torch.cat([splits.retain.y, wrong, held.y]).to(run.device)
    train(run, model, parts, labels, PASSES)


def overdone(run: Run, model: nn.Module, splits: Splits) -> None:
    """The forget set's loss was climbed until it stands out, the retain set's held."""
    opt = run.optimizer(model, "adam", lr=1e-3)
    model.eval()
    for _ in range(PASSES):
        for f, r in run.paired(splits.forget, splits.retain, size=64):
            climb = f.mean(cross_entropy(model(f.x), f.y).clamp(max=30))
            run.step(r.mean(cross_entropy(model(r.x), r.y)) - 0.2 * climb, opt)


@torch.no_grad()
def shaken(run: Run, model: nn.Module, splits: Splits) -> None:
    """A little noise on every weight."""
    for p in model.parameters():
        p += 0.01 * p.std(correction=0) * torch.randn(p.shape, generator=run.noise).to(p)


def renamed(run: Run, model: nn.Module, splits: Splits) -> None:
    """The original itself."""


def train(run: Run, model: nn.Module, parts: list, labels: Tensor, epochs: int) -> None:
    opt = run.optimizer(model, "adam", lr=1e-3)
    model.eval()
    for _ in range(epochs):
        for b in run.batches(parts, labels, size=64):
            run.step(b.mean(cross_entropy(model(b.x), b.extra)), opt)


OF_THE_HEAD = (masked, biased, swapped, zeroed, averaged, relearned_head)
"""For whole classes; they leave the layers below the head as they were."""
OF_ANY = (hot, misled, overdone, shaken, renamed)
