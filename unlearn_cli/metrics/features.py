"""What do the layers below the head still know?

A method that edits the head alone leaves the features as they were, so that any new head brings the class back. Features of
a retrained model tell an unseen class apart as well, only less: an accuracy of a probe says nothing by itself, its place
between the retrained and the original model does. Recoveries are that place: 0 as the references, 1 as the original.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from unlearn_cli.metrics.accuracy import ABSENT, share
from unlearn_cli.metrics.enough import too_few
from unlearn_cli.metrics.registry import CLASSES_ONLY, IMAGES_ONLY, ROWS, Evidence, Outputs, metric
from unlearn_cli.metrics.report import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_cli.ops.knowledge import Knowledge

POINTS = 0.03
"""Accuracies of original and reference that lie closer than this cannot be told from noise."""
APART = 0.05
"""The same for class separations."""


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
    curves: dict[str, list] = {"shots": list(own.prototypes)}
    for name in ("prototype", "probe"):
        accuracies = getattr(own, f"{name}s")
        curves[f"{name}_accuracy"] = list(accuracies.values())
        each = [recovery(evidence, lambda known, k=k, name=name: getattr(known, f"{name}s")[k], POINTS) for k in accuracies]
        curves[f"{name}_recovery"] = [one.unclipped for one in each]
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
    """Where the class separation lies between the references' (0) and the original's (1).

    `noise_of_images` is the ratio's standard deviation over other test images, every model asked about the same ones.
    """
    import torch

    found = recovery(evidence, lambda known: known.separation, APART)
    if found.value is None:
        return found
    models = (evidence.model, evidence.original, *evidence.references)
    own, original, *references = (knowledge(evidence, outputs)[0].separations for outputs in models)
    base = torch.stack(references).mean(0)
    rest = own - base - found.detail["ratio"] * (original - base)
    gap = found.detail["original"] - found.detail["reference"]
    noise = (rest.std() / len(rest) ** 0.5 / gap).item() if len(rest) > 1 else inf
    return Measure(found.value, detail=found.detail | {"noise_of_images": noise})


@metric(better="reference", needs=("class",), short="prototype head", source="prototype attack: 10 images, no training")
def prototype_accuracy(evidence: Evidence) -> Measure:
    """Share of the forgotten classes' test images known again once their head rows point to ten images' mean feature.

    The mean over draws; the detail has 1 and 5 images as well, and what the new rows take from the retained test accuracy.
    """
    from unlearn_cli.ops.knowledge import DRAWS, restored

    known, reason = knowledge(evidence, evidence.model)
    if known is None:
        return Measure(None, reason)
    head = evidence.model.head
    if head is None:
        return Measure(None, "the head of the model is not known")
    if not gives_logits(evidence.model, *head):
        return Measure(None, "the head does not give the model's logits from its features")
    kept, of = evidence.split("retain_test"), (evidence.model.features, evidence.labels, evidence.logits)
    rows = tuple(part if part is None else part.double() for part in head)
    again, still = restored(
        *of, rows, known.centre, evidence.splits["forget"], evidence.splits["forget_test"], kept, evidence.seed
    )
    detail = {"n": known.n, "draws": DRAWS, "shots": list(again), "accuracy": list(again.values())}
    if kept is not None:
        before = share(evidence.correct[kept])
        detail["retain_test_loss"] = [before - after for after in still.values()]
    return Measure(again[max(again)], detail=detail)


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


@metric(better="reference", needs=("images",), short="nearness AUC", source="ours; membership by features")
def feature_membership_auc(evidence: Evidence) -> Measure:
    """Chance that a listed image lies nearer its class's mean feature than an unseen image of the class; ties count half.

    Nearness is the cosine from the mean of all retained classes, class means are those of retain images, classes count by
    their listed images.
    """
    from unlearn_cli.ops import probes, roc

    if evidence.kind == "classes":
        return Measure(None, IMAGES_ONLY)
    forget, retain, test = (evidence.split(name) for name in ("forget", "retain", "test"))
    for name, index in (("forget", forget), ("retain", retain), ("test", test)):
        if index is None:
            return Measure(None, ABSENT[name])
    features, labels = evidence.model.features, evidence.labels
    if reason := unusable(features, retain):
        return Measure(None, reason)
    means, present, centre = probes.class_means(features, labels, retain, evidence.logits.shape[1])
    wins, compared, unseen = 0.0, 0, 0
    for c in labels[forget].unique():
        own, others = forget[labels[forget] == c], test[labels[test] == c]
        if present[c] and len(others):
            there = probes.directions(means[c][None], centre)[0]
            near, far = (probes.directions(features[index], centre) @ there for index in (own, others))
            wins += roc.auc(near, far) * len(own)
            compared, unseen = compared + len(own), unseen + len(others)
    if not compared:
        return Measure(None, "no class of the listed images has both test images and images to retain")
    if few := too_few(compared, unseen):
        return few
    return Measure(wins / compared, detail={"n": compared, "n_unseen": unseen})


def knowledge(evidence: Evidence, outputs: Outputs) -> tuple[Knowledge | None, str]:
    """`Knowledge` of a model, or None and the reason; the outputs keep it, for all rows of a report."""
    asked = evidence.forgotten, evidence.seed, evidence.labels, *evidence.splits.values()
    if asked not in outputs.learned:
        outputs.learned[asked] = learn(evidence, outputs)
    return outputs.learned[asked]


def learn(evidence: Evidence, outputs: Outputs) -> tuple[Knowledge | None, str]:
    import torch

    from unlearn_cli.ops import knowledge

    if evidence.kind == "images":
        return None, CLASSES_ONLY
    for name in ("forget_test", "forget", "retain"):
        if evidence.split(name) is None:
            return None, ABSENT[name]
    forget, retain, held = (evidence.splits[name] for name in ("forget", "retain", "forget_test"))
    features, labels = outputs.features, evidence.labels
    if reason := unusable(features, torch.cat([forget, retain, held])):
        return None, reason
    if not bool(torch.isin(labels[held], labels[forget]).all()):
        return None, "a forgotten class has test images and no training images"
    known = knowledge.learn(features, labels, outputs.logits.shape[1], forget, retain, held, evidence.seed)
    return known, "" if known else "the features are the same for every image"


def recovery(evidence: Evidence, of: Callable[[Knowledge], float], least: float) -> Measure:
    """(own - reference) / (original - reference), references averaged, clipped to [0, 1]; the detail has what it came from.

    Args:
        of: the number, larger where more is known.
        least: original and reference have to lie this far apart.
    """
    if evidence.kind == "images":
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
    place = between(own, original, references, least)
    return place if place.value is None else Measure(place.value, detail=place.detail | {"n": known.n})


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
    from unlearn_cli.ops.similarity import linear_cka

    index = evidence.split("forget")
    if index is None:
        return Measure(None, ABSENT["forget"])
    values = []
    for other in others:
        for features in (evidence.model.features, other.features):
            if not bool(features[index].isfinite().all()):
                return Measure(None, "the features are not finite")
        value = linear_cka(evidence.model.features[index], other.features[index])
        if value is None:
            return Measure(None, "the features are the same for every image of the forget set")
        values.append(value)
    return Measure(sum(values) / len(values), detail={"n": len(index), "models": len(values)})


def gives_logits(outputs: Outputs, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a head gives the logits of some images from their features, as far as the model's own precision goes."""
    features, wanted = outputs.features[:100].double(), outputs.logits[:100].double()
    if weight.shape != (wanted.shape[1], features.shape[1]):
        return False
    found = features @ weight.double().T + (0 if bias is None else bias.double())
    return bool(((found - wanted).abs() <= 1e-2 * (1 + wanted.abs().amax(1, keepdim=True))).all())


def unusable(features: Tensor, index: Tensor) -> str:
    """Why nothing can be learned of the features of a split, or nothing."""
    parts = index.split(ROWS)
    if not all(bool(features[part].isfinite().all()) for part in parts):
        return "the features are not finite"
    if all(bool((features[part] == features[index[0]]).all()) for part in parts):
        return "the features are the same for every image"
    return ""
