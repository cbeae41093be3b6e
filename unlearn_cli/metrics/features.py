"""What do the layers below the head still know?

A method that edits the head alone leaves the features as they were, so that any new head brings the class back. Features of
a retrained model tell an unseen class apart as well, only less: an accuracy of a probe says nothing by itself, its place
between the retrained and the original model does. Recoveries are that place: 0 as the references, 1 as the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from unlearn_cli.metrics.accuracy import ABSENT, share
from unlearn_cli.metrics.registry import Evidence, Outputs, metric
from unlearn_cli.metrics.report import Measure

if TYPE_CHECKING:
    from torch import Tensor

SHOTS = (1, 5, 10)
DRAWS = 20
PROBE_DRAWS = 5
POINTS = 0.03
"""Accuracies of original and reference that lie closer than this cannot be told from noise."""
APART = 0.05
"""The same for class separations."""
CLASSES_ONLY = "defined for requests that name classes only"
IMAGES_ONLY = "defined for requests that name images only"


@metric(better="reference", needs=("class",), short="probe", source="representation audit: closed-form ridge probe")
def probe_accuracy(evidence: Evidence) -> Measure:
    """Share of the forgotten classes' test images that a linear probe, trained on the features of all classes, gets right."""
    known, reason = knowledge(evidence, evidence.model)
    if known is None:
        return Measure(None, reason)
    return Measure(known.probe, detail={"n": known.n})


@metric(better="lower", needs=("class", "original", "reference"), short="probe recovery", source="representation audit")
def probe_recovery(evidence: Evidence) -> Measure:
    """Where the probe's accuracy on the forgotten classes lies between the references' (0) and the original's (1)."""
    return recovery(evidence, lambda known: known.probe, POINTS)


@metric(better="lower", needs=("class", "original", "reference"), short="few-shot recovery", source="prototype attack")
def few_shot_recovery(evidence: Evidence) -> Measure:
    """Where the accuracy of prototypes of 1, 5 and 10 forgotten images lies between the references' (0) and the original's (1).

    The other classes' prototypes are the means of all their images, angles are measured from the mean of those. The detail
    has the accuracy and the recovery at each number of images, and those of linear probes that learn from as many.
    """
    found = recovery(evidence, lambda known: sum(known.prototypes.values()) / len(known.prototypes), POINTS)
    if found.value is None:
        return found
    own, _ = knowledge(evidence, evidence.model)
    curves: dict[str, list] = {"shots": list(SHOTS)}
    for name in ("prototype", "probe"):
        curves[f"{name}_accuracy"] = list(getattr(own, f"{name}s").values())
        each = [recovery(evidence, lambda known, k=k, name=name: getattr(known, f"{name}s")[k], POINTS) for k in SHOTS]
        curves[f"{name}_recovery"] = [one.detail.get("ratio") for one in each]
    return Measure(found.value, detail=found.detail | curves)


@metric(better="reference", unit="score", most=1, needs=("class",), short="separation", source="ours; see `ops.probes.separation`")
def class_separation(evidence: Evidence) -> Measure:
    """By how much the forgotten classes' test images are nearer their own class's mean feature than any other's, by angle.

    The mean over images of (1 + s) / 2 with s the difference of the two cosines, clipped to [0, 1]: 0.5 where another class is
    as near. It needs fewer images than an accuracy does to show the same difference.
    """
    known, reason = knowledge(evidence, evidence.model)
    if known is None:
        return Measure(None, reason)
    return Measure(min(max(known.separation, 0.0), 1.0), detail={"n": known.n})


@metric(better="lower", needs=("class", "original", "reference"), short="separation recovery", source="ours")
def separation_recovery(evidence: Evidence) -> Measure:
    """Where the class separation lies between the references' (0) and the original's (1)."""
    return recovery(evidence, lambda known: known.separation, APART)


@metric(better="reference", needs=("class",), short="prototype head", source="prototype attack: 10 images, no training")
def prototype_accuracy(evidence: Evidence) -> Measure:
    """Share of the forgotten classes' test images known again once their head rows point to ten images' mean feature.

    The mean over draws; the detail has 1 and 5 images as well, and what the new rows take from the retained test accuracy.
    """
    import torch

    from unlearn_cli.ops import probes

    known, reason = knowledge(evidence, evidence.model)
    if known is None:
        return Measure(None, reason)
    head = head_of(evidence.model)
    if head is None:
        return Measure(None, "no weights of the model give its logits from its features: its head is not known")
    features, labels, logits = evidence.model.features, evidence.labels, evidence.logits
    forget, held, kept = evidence.splits["forget"], evidence.splits["forget_test"], evidence.split("retain_test")
    classes = labels[forget].unique()
    own = torch.searchsorted(classes, labels[held])[:, None]
    rivals = logits.index_fill(1, classes, -torch.inf)      # no other row changes
    before = None if kept is None else share(evidence.correct[kept])
    curve, loss = {}, {}
    for k, chosen in draws(evidence, DRAWS).items():
        right, after = [], []
        for positions in chosen:
            shots, y = features[forget[positions]].double(), labels[forget[positions]]
            means = torch.stack([shots[y == c].mean(0) for c in classes])
            weight, bias = probes.prototype_rows(*head, means, known.centre, classes)

            def new(index, weight=weight[classes], bias=0 if bias is None else bias[classes]):
                return features[index].double() @ weight.T + bias

            scores = new(held)
            others = torch.maximum(scores.scatter(1, own, -torch.inf).amax(1), rivals[held].amax(1).double())
            right.append(share(scores.gather(1, own)[:, 0] > others))
            if kept is not None:
                stays = (rivals[kept].argmax(1) == labels[kept]) & (rivals[kept].amax(1) >= new(kept).amax(1))
                after.append(share(stays))
        curve[k] = sum(right) / len(right)
        if before is not None:
            loss[k] = before - sum(after) / len(after)
    detail = {"n": known.n, "draws": DRAWS, "shots": list(SHOTS), "accuracy": list(curve.values())}
    return Measure(curve[max(SHOTS)], detail=detail | ({"retain_test_loss": list(loss.values())} if loss else {}))


@metric(better="reference", needs=("original",), short="CKA to original", source="linear CKA, Kornblith et al. 2019")
def similarity_to_original(evidence: Evidence) -> Measure:
    """How alike the features of the forget set are to the original's: linear CKA, 1 when no layer below the head changed."""
    if evidence.original is None:
        return Measure(None, "needs the original model")
    return similarity(evidence, [evidence.original])


@metric(better="reference", needs=("reference",), short="CKA to reference", source="linear CKA, Kornblith et al. 2019")
def similarity_to_reference(evidence: Evidence) -> Measure:
    """How alike the features of the forget set are to the references': linear CKA, averaged over references."""
    if not evidence.references:
        return Measure(None, "needs a reference model")
    return similarity(evidence, evidence.references)


@metric(better="reference", short="nearness AUC", source="ours; membership by features")
def feature_membership_auc(evidence: Evidence) -> Measure:
    """Chance that a listed image lies nearer its class's mean feature than an unseen image of the class; ties count half.

    Nearness is the cosine from the mean of all retained classes, class means are those of retain images, classes count by
    their listed images.
    """
    from unlearn_cli.ops import probes

    if evidence.is_class:
        return Measure(None, IMAGES_ONLY)
    forget, retain, test = (evidence.split(name) for name in ("forget", "retain", "test"))
    for name, index in (("forget", forget), ("retain", retain), ("test", test)):
        if index is None:
            return Measure(None, ABSENT[name])
    features, labels = evidence.model.features, evidence.labels
    if reason := unusable(features[retain]):
        return Measure(None, reason)
    means, present, centre = class_means(features, labels, retain, evidence.logits.shape[1])
    wins, compared, unseen = 0.0, 0, 0
    for c in labels[forget].unique():
        own, others = forget[labels[forget] == c], test[labels[test] == c]
        if present[c] and len(others):
            there = probes.directions(means[c][None], centre)[0]
            near, far = (probes.directions(features[index], centre) @ there for index in (own, others))
            wins += wins_over(near, far) * len(own)
            compared, unseen = compared + len(own), unseen + len(others)
    if not compared:
        return Measure(None, "no class of the listed images has both test images and images to retain")
    return Measure(wins / compared, detail={"n": compared, "n_unseen": unseen})


@dataclass(frozen=True)
class Knowledge:
    """What the features of one model tell of the forgotten classes' test images.

    Args:
        probe: accuracy of a probe trained on all classes; probes, prototypes: accuracies by the number of images.
        separation: mean over images of (1 + difference of cosines) / 2, from -0.5 to 1.5.
        centre: (d,) mean over retained classes of their mean feature.
        n: test images.
    """

    probe: float
    probes: dict[int, float]
    prototypes: dict[int, float]
    separation: float
    centre: Tensor = field(repr=False)
    n: int


_kept: WeakKeyDictionary[Outputs, tuple] = WeakKeyDictionary()


def knowledge(evidence: Evidence, outputs: Outputs) -> tuple[Knowledge | None, str]:
    """`Knowledge` of a model, or None and the reason; computed once per model and request, for all rows of a report."""
    asked = evidence.splits, evidence.labels, evidence.forgotten, evidence.seed
    kept = _kept.get(outputs)
    if kept is None or any(a is not b and (i < 2 or a != b) for i, (a, b) in enumerate(zip(asked, kept[0], strict=True))):
        kept = _kept[outputs] = asked, learn(evidence, outputs)
    return kept[1]


def learn(evidence: Evidence, outputs: Outputs) -> tuple[Knowledge | None, str]:
    import torch

    from unlearn_cli.ops import probes

    if not evidence.is_class:
        return None, CLASSES_ONLY
    for name in ("forget_test", "forget", "retain"):
        if evidence.split(name) is None:
            return None, ABSENT[name]
    forget, retain, held = (evidence.splits[name] for name in ("forget", "retain", "forget_test"))
    features, labels, classes = outputs.features, evidence.labels, outputs.logits.shape[1]
    if reason := unusable(features[torch.cat([forget, retain, held])]):
        return None, reason
    held_x, held_y = features[held], labels[held]
    if not bool(torch.isin(held_y, labels[forget]).all()):
        return None, "a forgotten class has test images and no training images"

    others = probes.gather(features[retain], labels[retain], classes)
    gone = probes.gather(features[forget], labels[forget], classes, others.centre)
    probe = probes.ridge(others + gone)
    if probe is None:
        return None, "the features are the same for every image"
    middle = others.means[others.present].mean(0)
    centre = others.centre + middle
    means = others.centre + others.means + gone.means
    rivals, present = means[others.present], others.present | gone.present
    place = present.cumsum(0) - 1

    forget_x, forget_y = features[forget], labels[forget]
    chosen = draws(evidence, DRAWS)
    prototypes, few = {}, {}
    for k, picks in chosen.items():
        right = probes.few_shot_accuracy(held_x, held_y, rivals, forget_x, forget_y, centre, picks)
        prototypes[k] = sum(right) / len(right)
        tried = [
            probes.ridge(others + probes.gather(forget_x[pick], forget_y[pick], classes, others.centre))
            for pick in picks[:PROBE_DRAWS]
        ]
        few[k] = sum(p.accuracy(held_x, held_y) for p in tried) / len(tried)
    apart = probes.separation(held_x, place[held_y], means[present], centre).mean().item()
    return Knowledge(probe.accuracy(held_x, held_y), few, prototypes, (1 + apart) / 2, centre, len(held)), ""


def draws(evidence: Evidence, count: int) -> dict[int, list[Tensor]]:
    """Positions into the forget set, k images of each class or all it has, for each k of SHOTS; the same for every model."""
    import torch

    labels = evidence.labels[evidence.splits["forget"]]
    generator = torch.Generator().manual_seed(evidence.seed)
    found: dict[int, list[Tensor]] = {k: [] for k in SHOTS}
    for k in SHOTS:
        for _ in range(count):
            mixed = torch.randperm(len(labels), generator=generator)
            y = labels[mixed]
            found[k].append(torch.cat([mixed[y == c][:k] for c in y.unique()]))
    return found


def recovery(evidence: Evidence, of: Callable[[Knowledge], float], least: float) -> Measure:
    """(own - reference) / (original - reference), references averaged, clipped to [0, 1]; the detail has what it came from.

    Args:
        of: the number, larger where more is known.
        least: original and reference have to lie this far apart.
    """
    if not evidence.is_class:
        return Measure(None, CLASSES_ONLY)
    if evidence.original is None:
        return Measure(None, "needs the original model")
    if not evidence.references:
        return Measure(None, "needs a reference model")
    found = []
    for outputs in (evidence.model, evidence.original, *evidence.references):
        known, reason = knowledge(evidence, outputs)
        if known is None:
            return Measure(None, reason)
        found.append(of(known))
    own, original, *references = found
    return between(own, original, references, least)


def between(own: float, original: float, references: list[float], least: float) -> Measure:
    """The place of `own` between the references' mean (0) and the original (1)."""
    base = sum(references) / len(references)
    if original - base < least:
        why = f"the original ({original:.3f}) and the reference ({base:.3f}) are too close to tell forgetting from knowing"
        return Measure(None, why)
    ratio = (own - base) / (original - base)
    detail = {"own": own, "original": original, "reference": base, "references": len(references), "ratio": ratio}
    return Measure(min(max(ratio, 0.0), 1.0), detail=detail)


def similarity(evidence: Evidence, others: list[Outputs]) -> Measure:
    """Linear CKA on the forget set, averaged over other models."""
    from unlearn_cli.ops import probes

    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    values = []
    for other in others:
        for features in (evidence.model.features, other.features):
            if not bool(features[index].isfinite().all()):
                return Measure(None, "the features are not finite")
        value = probes.linear_cka(evidence.model.features[index], other.features[index])
        if value is None:
            return Measure(None, "the features are the same for every image of the forget set")
        values.append(value)
    return Measure(sum(values) / len(values), detail={"n": len(index), "models": len(values)})


def class_means(features: Tensor, labels: Tensor, index: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """(C, d) mean feature of each class on a split, which classes it has, and the mean of those means; float64."""
    import torch

    y = labels[index]
    counts = torch.bincount(y, minlength=classes)
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64).index_add_(0, y, features[index].double())
    means = sums / counts.clamp(min=1)[:, None]
    return means, counts > 0, means[counts > 0].mean(0)


def head_of(outputs: Outputs) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias, float64, of the layer that gives the logits from the features; None when there is none."""
    width, classes = outputs.features.shape[1], outputs.logits.shape[1]
    some = slice(None, 100)
    for name, weight in reversed(outputs.weights.items()):
        if weight.shape == (classes, width) and name.endswith("weight"):
            bias = outputs.weights.get(name.removesuffix("weight") + "bias")
            w, b = weight.double(), None if bias is None else bias.double()
            logits = outputs.features[some].double() @ w.T
            logits = logits if b is None else logits + b
            wanted = outputs.logits[some].double()
            if bool(((logits - wanted).abs() <= 1e-2 * (1 + wanted.abs().amax(1, keepdim=True))).all()):
                return w, b
    return None


def wins_over(near: Tensor, far: Tensor) -> float:
    """Chance that one of the first is larger than one of the second; ties count half."""
    import torch

    ordered = far.sort().values
    below, not_above = torch.searchsorted(ordered, near), torch.searchsorted(ordered, near, right=True)
    return int((below + not_above).sum()) / (2 * len(near) * len(far))


def unusable(features: Tensor) -> str:
    """Why nothing can be learned of features, or nothing."""
    if not bool(features.isfinite().all()):
        return "the features are not finite"
    if bool((features == features[0]).all()):
        return "the features are the same for every image"
    return ""
