"""What features can still tell: closed-form linear probes, and class prototypes.

A probe needs nothing of the images but their count, class means and second moments, so that these are summed once (`gather`)
and probes of other selections cost one small solve each. Statistics are float64; an image is never visited by a Python loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-3
CONSTANT = 1e-6
"""A feature that varies by less than this share of its size is rounding; standardised, it would be noise."""
CHUNK, COLUMNS = 8192, 64
SCORES = 1 << 24
"""Scores of images under the rows of all draws that are held at a time."""


@dataclass(frozen=True)
class Moments:
    """Sums over classes in which each class counts the same, whatever the number of its images.

    Args:
        centre: (d,) float64, subtracted from every feature before the sums.
        means: (C, d) mean of each class's centred features; 0 for a class without images.
        second: (d, d) sum over classes of the mean of h'h.
        present: (C,) bool, the classes that have images.
    """

    centre: Tensor
    means: Tensor
    second: Tensor
    present: Tensor

    def __add__(self, other: Moments) -> Moments:
        """Both sets of classes together; they share no class and have the same centre."""
        return Moments(self.centre, self.means + other.means, self.second + other.second, self.present | other.present)


@dataclass(frozen=True)
class Probe:
    """scores(h) = ((h - mean) / scale) W, with W (d, C); -inf for a class that the probe never saw."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    present: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(n, d) features -> (n, C) float64 scores."""
        weight = self.weight / self.scale[:, None]
        return (features.double() @ weight - self.mean @ weight).masked_fill(~self.present, -torch.inf)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of images whose highest score is that of their label."""
        return int((self.scores(features).argmax(1) == labels).sum()) / len(labels)


def gather(
    features: Tensor, labels: Tensor, classes: int, centre: Tensor | None = None, index: Tensor | None = None
) -> Moments:
    """Class-balanced moments of (n, d) features with (n,) labels below `classes`.

    Args:
        centre: (d,) to subtract; the mean of the features themselves when left out. Any gives the same probe, one near the
            mean without loss of digits.
        index: the images that count; all when left out. They are read some at a time, and never copied as a whole.
    """
    index = torch.arange(len(labels)) if index is None else index
    counts = torch.bincount(labels[index], minlength=classes)
    share = 1 / counts.clamp(min=1).double()
    if centre is None:
        centre = torch.cat([part[index].double().mean(0) for part in features.split(COLUMNS, dim=1)])
    means = torch.zeros(classes, features.shape[1], dtype=torch.float64)
    second = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for part in index.split(CHUNK):
        h, y = features[part].double() - centre, labels[part]
        weighted = h * share[y, None]
        means.index_add_(0, y, weighted)
        second += h.T @ weighted
    return Moments(centre, means, second, counts > 0)


def ridge(moments: Moments, strength: float = RIDGE) -> Probe | None:
    """The linear probe that fits one-hot labels best, every class with the same weight.

        W = (H'H + l I)^-1 H'Y,   l = strength · mean diag(H'H)

    H are the features standardised with their own class-balanced mean and deviation. Balanced, the targets' mean is the same
    for every class, so that the intercept shifts all scores alike and is left out.

    Returns:
        The probe, or None when no feature varies, or there are fewer than two classes: nothing can be learned then.

    Source: representation audits of unlearned networks; ridge regression of one-hot targets, Bishop 2006, Sec. 4.1.3.
    """
    classes = int(moments.present.sum())
    if classes < 2:
        return None
    mean = moments.means.sum(0) / classes
    covariance = moments.second / classes - mean.outer(mean)
    size = (moments.second.diagonal() / classes + 2 * mean * moments.centre + moments.centre**2).clamp(min=0).sqrt()
    deviation = covariance.diagonal().clamp(min=0).sqrt()
    varies = deviation > CONSTANT * size
    if not bool(varies.any()):
        return None
    scale = torch.where(varies, deviation, 1.0)
    gram = (covariance / scale / scale[:, None]) * (varies & varies[:, None])
    target = (moments.means - mean * moments.present[:, None]) / scale / classes * varies
    gram.diagonal().add_(strength * gram.diagonal().mean())
    factor = torch.linalg.cholesky(gram)
    return Probe(moments.centre + mean, scale, torch.cholesky_solve(target.T, factor), moments.present)


def class_means(features: Tensor, labels: Tensor, index: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """(C, d) mean feature of each class on a split, which classes it has, and the mean of those means; float64."""
    y = labels[index]
    counts = torch.bincount(y, minlength=classes)
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64)
    for part in index.split(CHUNK):
        sums.index_add_(0, labels[part], features[part].double())
    means = sums / counts.clamp(min=1)[:, None]
    return means, counts > 0, means[counts > 0].mean(0)


def directions(features: Tensor, centre: Tensor) -> Tensor:
    """(..., d) features -> (..., d) float64 unit vectors as seen from the centre; 0 for a feature that lies there."""
    return torch.nn.functional.normalize(features.double() - centre, dim=-1)


def few_shot_accuracy(
    held: Tensor, labels: Tensor, rivals: Tensor, shots: Tensor, shot_labels: Tensor, centre: Tensor, draws: Tensor
) -> list[float]:
    """How often held-out images are nearest, by angle, to the mean of a few images of their own class; one number per draw.

    Args:
        held: (n, d) features, of classes that have shots; labels: (n,) theirs.
        rivals: (R, d) mean features of the classes that have no shots.
        shots: (m, d) features to draw from, shot_labels: (m,) theirs.
        centre: (d,) from where angles are measured.
        draws: (D, k) positions into shots, the same classes in the same order in every draw.

    Source: "prototype attack" on unlearned networks; prototypes as in Snell et al. 2017, with angles for distances.
    """
    x = directions(held, centre)
    nearest = (x @ directions(rivals, centre).T).amax(1) if len(rivals) else x.new_full((len(x),), -torch.inf)
    classes, own = labels.unique(return_inverse=True)
    means = directions(means_of_draws(shots, shot_labels, draws, classes), centre)

    def hits(part: Tensor) -> Tensor:
        near = (x[part] @ means.flatten(0, 1).T).unflatten(1, means.shape[:2])
        return wins(near, own[part], nearest[part])

    return shares(torch.cat([hits(part) for part in in_parts(len(x), means)]))


def in_parts(n: int, rows: Tensor) -> tuple[Tensor, ...]:
    """Positions of n images, as many at a time as can be held with a score for each row of each draw, (D, C, d)."""
    return torch.arange(n).split(max(1, SCORES // max(1, rows.shape[0] * rows.shape[1])))


def means_of_draws(shots: Tensor, labels: Tensor, draws: Tensor, classes: Tensor) -> Tensor:
    """(D, C, d) float64 mean of the images of each of (C,) classes in each draw.

    Args:
        shots: (m, d) features to draw from, labels: (m,) theirs.
        draws: (D, k) positions into them, the same classes in the same order in every draw.
    """
    y = labels[draws[0]]
    return torch.stack([shots[draws[:, y == c]].double().mean(1) for c in classes], 1)


def wins(scores: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """(n, D) bool: an image's own score in a draw is above all others of the draw, and above those that no draw changes.

    Args:
        scores: (n, D, C), own: (n,) the place of each image's own.
        others: (n,) the highest of the others.
    """
    own = own[:, None, None].expand(-1, scores.shape[1], 1)
    best = scores.scatter(2, own, -torch.inf).amax(2).maximum(others[:, None])
    return scores.gather(2, own)[..., 0] > best


def shares(hits: Tensor) -> list[float]:
    """The share of True in each column of (n, D)."""
    return [count / len(hits) for count in hits.sum(0).tolist()]


def separation(held: Tensor, labels: Tensor, means: Tensor, centre: Tensor) -> Tensor:
    """By how much each image is nearer its own class's mean feature than any other's, in cosine: (n,), from -2 to 2.

        cos(h - c, m_y - c) - max_{k != y} cos(h - c, m_k - c)

    Args:
        held: (n, d) features, labels: (n,) positions into means.
        means: (C, d) mean features; at least two.
        centre: (d,), c.
    """
    near = directions(held, centre) @ directions(means, centre).T
    mine = near.gather(1, labels[:, None])[:, 0]
    return mine - near.scatter(1, labels[:, None], -torch.inf).amax(1)


def prototype_rows(
    weight: Tensor, bias: Tensor | None, means: Tensor, centre: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor | None]:
    """A head whose rows for some classes point to their mean features: forgotten rows put back without any training.

        w_c = w + s · (m_c - c) / ‖m_c - c‖,   b_c such that at the centre c class c scores what the others do on average

    w is the mean of the other rows and s the mean distance from it, so that the new rows are as long as theirs, whatever is
    added to all rows alike. Means taken from zero in place of the centre would give a row that wins everywhere: features
    above zero all point the same way. Without a bias the same score at the centre comes from a part of the row along c.

    Args:
        weight, bias: (K, d) and (K,) or None, the head.
        means: (m, d) mean features of the classes, (m,) positions; centre: (d,) mean feature of all other images.

    Returns:
        New weight and bias, of the head's dtype.
    """
    w, b = weight.double(), None if bias is None else bias.double()
    kept = torch.ones(len(w), dtype=torch.bool, device=w.device).index_fill(0, classes, False)
    rows, biases = rows_towards(means, centre, w[kept], None if b is None else b[kept])
    if b is None:
        return w.index_copy(0, classes, rows).to(weight.dtype), None
    return w.index_copy(0, classes, rows).to(weight.dtype), b.index_copy(0, classes, biases).to(bias.dtype)


def rows_towards(means: Tensor, centre: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The new rows of `prototype_rows` alone, (..., d), and their biases, (...), for (..., d) mean features.

    Args:
        weight, bias: (K, d) and (K,) or None, float64: the other rows of the head.
    """
    middle = weight.mean(0)
    size = (weight - middle).norm(dim=1).mean() if len(weight) > 1 else middle.norm()
    rows = middle + size * directions(means, centre)
    level = (weight @ centre + (0 if bias is None else bias)).mean()
    shift = level - rows @ centre
    if bias is None:
        return rows + shift[..., None] * centre / centre.square().sum().clamp(min=1e-300), None
    return rows, shift
