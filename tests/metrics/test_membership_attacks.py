"""Attacks that know retained and unseen images: on models that remember, on models that never saw, and at their limits."""

from dataclasses import replace
from math import inf

import pytest
import torch
from said import said
from sklearn.metrics import balanced_accuracy_score

from unlearn_cli.metrics.registry import Evidence, known, measure
from unlearn_cli.ops.attack_scores import margin

NAMES = ["membership_efficacy", "population_attack"]
CLASSES = 4


def normal(n, seed, mean):
    return mean + 2 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evidence(forget=0.0, retain=4.0, unseen=0.0, sizes=(400, 1500, 1200), forgotten=(0,), labels=None, seed=0):
    """A model whose true class has normal margins with the given means on forgotten, retained and unseen images.

    A forgotten class is 0 and has 400 test images, all others are even; listed images are of classes 0 and 1.
    """
    n, m, k = sizes
    if labels is None and forgotten:
        peers = k // 3
        labels = torch.cat([torch.zeros(n), 1 + torch.arange(m) % 3, torch.zeros(peers), 1 + torch.arange(k - peers) % 3])
    elif labels is None:
        labels = torch.cat([torch.arange(n) % 2, torch.arange(m) % CLASSES, torch.arange(k) % CLASSES])
    labels = labels.long()
    margins = torch.cat([normal(n, seed + 1, forget), normal(m, seed + 2, retain), normal(k, seed + 3, unseen)])
    logits = torch.zeros(len(labels), CLASSES, dtype=torch.float64)
    logits.scatter_(1, labels[:, None], margins[:, None] + torch.tensor(3.0).log())
    test = torch.arange(n + m, n + m + k)
    wanted = torch.isin(labels[test], torch.tensor(forgotten or [-1]))
    index = {
        "train": torch.arange(n + m), "forget": torch.arange(n), "retain": torch.arange(n, n + m), "test": test,
        "forget_test": test[wanted], "retain_test": test[~wanted],
    }  # fmt: skip
    return Evidence(said(logits), labels, {name: at for name, at in index.items() if len(at)}, tuple(forgotten), seed=seed)


def attack(name, **given):
    return measure(evidence(**given), [name])[name]


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_both_attacks_tell_a_model_that_remembers_from_one_that_never_saw(forgotten):
    remembers = measure(evidence(forget=4, forgotten=forgotten), NAMES)
    never = measure(evidence(forget=0, forgotten=forgotten), NAMES)
    assert remembers["membership_efficacy"].value < 0.3 and never["membership_efficacy"].value > 0.7
    assert remembers["population_attack"].value > 0.7 and never["population_attack"].value < 0.3
    for found in (remembers, never):
        for name in NAMES:
            detail = found[name].detail
            assert detail["low"] <= found[name].value <= detail["high"]
            assert detail["n"] == 400 and detail["balanced_accuracy"] > 0.8 and "note" not in detail


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_a_model_that_never_saw_the_set_comes_to_the_share_of_its_unseen_peers(forgotten):
    found = measure(evidence(forget=0, forgotten=forgotten), NAMES)
    efficacy, success = (found[name] for name in NAMES)
    assert efficacy.value == pytest.approx(efficacy.detail["unseen_share"], abs=0.08)
    assert success.value == pytest.approx(success.detail["false_positive_rate"], abs=0.08)


@pytest.mark.parametrize("name", NAMES)
def test_membership_that_is_shuffled_between_retained_and_unseen_images_teaches_nothing(name):
    told = attack(name)
    given = evidence(forgotten=())
    known_images = torch.cat([given.splits["retain"], given.splits["test"]])
    known_images = known_images[torch.randperm(len(known_images), generator=torch.Generator().manual_seed(1))]
    shuffled = replace(given, splits=given.splits | {"retain": known_images[:1500], "test": known_images[1500:]})
    found = measure(shuffled, [name])[name]
    assert found.detail["balanced_accuracy"] < 0.56 < told.detail["balanced_accuracy"]
    if name == "population_attack":
        assert found.detail["retain_auc"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_that_learned_nothing_says_so(name):
    found = attack(name, retain=0.0, sizes=(300, 300, 300), forgotten=(), seed=3)
    assert found.detail["note"].startswith("the attack cannot tell this model's retained images from unseen ones")


def test_the_efficacy_is_that_of_the_best_of_all_thresholds():
    given = evidence(forget=1, sizes=(200, 180, 180), forgotten=(), labels=torch.zeros(560))       # one threshold, no draw
    given.logits[:180] = given.logits[200:380]          # so that a forgotten image lies on the threshold
    scores = margin(given.logits, given.labels)
    truth, known_scores = torch.arange(360) < 180, scores[200:]
    tried = {cut: balanced_accuracy_score(truth, known_scores >= cut) for cut in known_scores.tolist()}
    best = max(tried.values())
    cut = max(cut for cut, accuracy in tried.items() if accuracy > best - 1e-12)
    found = measure(given, NAMES)["membership_efficacy"]
    assert found.detail["balanced_accuracy"] == pytest.approx(best, abs=1e-12)
    assert (scores[:200] == cut).any()
    assert found.value == pytest.approx((scores[:200] < cut).double().mean().item(), abs=1e-15)


def test_the_population_attack_learns_from_images_of_the_listed_classes_alone():
    detail = attack("population_attack", forgotten=()).detail                # 300 of 1200 unseen images are of each class
    assert (detail["population"], detail["fitted_on"]) == (300, 600)
    every = attack("population_attack", forgotten=(0,)).detail               # 800 are of retained classes
    assert (every["population"], every["fitted_on"]) == (401, 798)


def test_for_a_forgotten_class_the_attack_never_sees_that_class():
    given = evidence(forget=0)
    masked = given.logits.clone()
    masked[given.splits["forget_test"], 0] = -inf
    changed = replace(given, model=said(masked))
    for name in NAMES:
        one, other = measure(given, [name])[name], measure(changed, [name])[name]
        assert one.value == other.value
    assert measure(changed, NAMES)["membership_efficacy"].detail["unseen_share"] == 1


def test_classes_with_enough_images_have_their_own_thresholds():
    given = evidence(forget=0, forgotten=())
    logits = given.logits.clone()
    easy = given.labels == 1                    # a class whose losses are all smaller: one threshold for all would fail it
    logits[easy, 1] += 8
    found = measure(replace(given, model=said(logits)), NAMES)["membership_efficacy"]
    assert found.detail["thresholds"] == 2      # for the two classes that the list names
    assert found.value > 0.7
    few = evidence(forget=0, forgotten=(), sizes=(400, 390, 390))
    assert measure(few, NAMES)["membership_efficacy"].detail["thresholds"] == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_a_model_that_always_says_the_same_cannot_be_attacked(name, forgotten):
    given = evidence(forgotten=forgotten)
    constant = replace(given, model=said(torch.zeros(len(given.labels), CLASSES)))
    assert measure(constant, [name])[name].reason == "no threshold tells this model's retained images from unseen ones"


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_class_is_called_unseen_altogether(name):
    given = evidence(forget=4)
    logits = given.logits.clone()
    logits[:, 0] = -inf
    masked = measure(replace(given, model=said(logits)), [name])[name]
    assert masked.value == (1 if name == "membership_efficacy" else 0)
    logits[:, 0] = -1e30
    assert measure(replace(given, model=said(logits)), [name])[name].value == masked.value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("missing", "forgotten", "reason"),
    [
        ("forget", (0,), "there are no images to forget"), ("retain", (), "there are no images to retain"),
        ("retain_test", (0,), "there are no test images of retained classes"), ("test", (), "there are no test images"),
    ],
)  # fmt: skip
def test_where_a_side_is_missing_there_is_no_number(name, missing, forgotten, reason):
    given = evidence(forgotten=forgotten)
    without = replace(given, splits={key: index for key, index in given.splits.items() if key != missing})
    assert measure(without, [name])[name].reason == reason


@pytest.mark.parametrize("unseen", [1, 12, 16])
def test_a_threshold_is_not_learned_from_few_unseen_images(unseen):
    found = measure(evidence(forgotten=(), sizes=(40, 90, unseen)), NAMES)
    assert found["membership_efficacy"].reason == f"needs more images: 18 on each side would do, there are {unseen} and {unseen}"
    assert found["population_attack"].reason.startswith("needs more images: 18 on each side would do, there are")
    enough = measure(evidence(forgotten=(), sizes=(40, 90, 80)), NAMES)
    assert None not in [measure.value for measure in enough.values()]


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_which_images_the_attack_learns_from(name):
    given = evidence(forget=2, forgotten=())
    one, again, other = (measure(replace(given, seed=seed), [name])[name] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_the_best_value_is_the_references():
    for name in NAMES:
        assert known()[name].target(True) == known()[name].target(False) == "reference"
