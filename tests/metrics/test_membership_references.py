"""RMIA and U-LiRA on models of which it is known what they remember, and on evidence that does not suffice."""

from dataclasses import replace
from math import inf, sqrt

import pytest
import torch
from said import said

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics import requirements
from unlearn_cli.metrics.registry import Evidence, known, measure

RMIA = ["rmia_auc", "rmia_tpr_at_1_percent"]
RATIO = ["likelihood_ratio_auc", "likelihood_ratio_tpr"]
CLASSES = 3


def evidence(remembered=0.0, moved=0.0, references=4, shadows=4, sizes=(600, 1800), forgotten=(0,), seed=0):
    """Images of their own difficulty; models of their own noise. What forgot is surer of each forgotten image by `remembered`.

    With a forgotten class, which is 0, a third of the test images are of it; listed images are of classes 0 and 1.
    """
    n, m = sizes
    draws = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.zeros(n).long() if forgotten else torch.arange(n) % 2, torch.arange(m) % CLASSES])
    hard = 1 + 2.5 * torch.randn(n + m, generator=draws, dtype=torch.float64)

    def model(forgot):
        margins = hard + torch.randn(n + m, generator=draws, dtype=torch.float64)
        if forgot:
            margins += moved + remembered * (torch.arange(n + m) < n)
        logits = torch.randn(n + m, CLASSES, generator=draws, dtype=torch.float64)
        rest = logits.scatter(1, labels[:, None], -inf).logsumexp(1)
        return said(logits.scatter(1, labels[:, None], (margins + rest)[:, None]))

    test = torch.arange(n, n + m)
    splits = {"forget": torch.arange(n), "test": test}
    if forgotten:
        splits |= {"forget_test": test[labels[test] == 0], "retain_test": test[labels[test] != 0]}
    return Evidence(
        model(True), labels, splits, forgotten, seed=seed,
        references=[model(False) for _ in range(references)], shadows=[model(True) for _ in range(shadows)],
    )  # fmt: skip


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_what_a_model_remembers_is_found_and_better_than_by_its_losses(forgotten):
    found = measure(evidence(remembered=3.0, forgotten=forgotten), [*RMIA, *RATIO, "membership_auc", "tpr_at_1_percent"])
    plain = found["membership_auc"].value
    for name in ("rmia_auc", "likelihood_ratio_auc"):
        assert found[name].value > plain + 0.01
        assert found[name].detail["low"] > 0.5 + 3 * found[name].detail["noise_std"]
    one_percent = found["tpr_at_1_percent"].value
    assert found["likelihood_ratio_tpr"].value > one_percent + 0.2


@pytest.mark.parametrize("name", ["rmia_auc", "likelihood_ratio_auc"])
@pytest.mark.parametrize("moved", [0.0, -3.0], ids=["nothing done", "every image moved"])
def test_models_that_never_saw_the_set_are_at_a_half_as_often_as_the_interval_says(name, moved):
    held, runs = 0, 60
    for seed in range(runs):
        found = measure(evidence(moved=moved, references=2 + seed % 2, shadows=2, sizes=(150, 900), seed=seed), [name])[name]
        held += found.detail["low"] <= 0.5 <= found.detail["high"]
    assert held / runs >= 0.95 - 3 * sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("name", ["rmia_auc", "likelihood_ratio_auc"])
def test_shuffled_membership_gives_a_half(name):
    given = evidence(remembered=3.0)
    attacked = torch.cat([given.splits["forget"], given.splits["forget_test"]])
    attacked = attacked[torch.randperm(len(attacked), generator=torch.Generator().manual_seed(1))]
    shuffled = replace(given, splits=given.splits | {"forget": attacked[:600], "forget_test": attacked[600:]})
    found = measure(shuffled, [name])[name]
    assert found.detail["low"] <= 0.5 <= found.detail["high"]


def test_the_population_is_half_of_the_unseen_peers_and_the_other_half_is_attacked():
    found = measure(evidence(), RMIA)["rmia_auc"]
    assert (found.detail["n"], found.detail["n_unseen"], found.detail["population"]) == (600, 300, 300)
    assert found.detail["note"] == "a population of 300 images; 2,000 are advised"
    listed = measure(evidence(forgotten=()), RMIA)["rmia_auc"]
    assert (listed.detail["n_unseen"], listed.detail["population"]) == (600, 600)        # classes 0 and 1 of three
    assert "note" not in measure(evidence(forgotten=(), sizes=(50, 6000)), RMIA)["rmia_auc"].detail


def test_beside_images_of_other_classes_a_hidden_class_would_rank_lowest_altogether():
    from unlearn_cli.ops.attack_scores import margin
    from unlearn_cli.ops.ratio_attacks import log_ratio, rmia_scores

    given = evidence(remembered=3.0)
    logits = given.logits.clone()
    logits[:, 0] -= 30                                      # as a method leaves a class that is never predicted
    hidden = replace(given, model=said(logits))
    references = torch.stack([margin(other.logits, given.labels) for other in given.references])
    ratios = log_ratio(margin(logits, given.labels), references)
    assert (rmia_scores(ratios[given.splits["forget"]], ratios[given.splits["retain_test"]]) == 0).all()
    assert measure(hidden, RMIA)["rmia_auc"].value > 0.6


@pytest.mark.parametrize("name", RMIA + RATIO)
def test_every_number_has_its_interval_and_its_noise(name):
    found = measure(evidence(), [name])[name]
    assert found.detail["low"] <= found.value <= found.detail["high"]
    assert found.detail["noise_std"] > 0
    assert found.detail["references"] == 4
    assert found.detail.get("shadows") == (4 if name in RATIO else None)
    assert known()[name].target(True) == known()[name].target(False) == "reference"


def test_the_most_exposed_images_are_more_exposed_than_unseen_ones():
    detail = measure(evidence(remembered=3.0), RATIO)["likelihood_ratio_auc"].detail
    assert detail["most_exposed"] > 3
    assert detail["balanced_accuracy"] > 0.8
    assert "tpr_at_0_1_percent" not in detail
    assert "tpr_at_0_1_percent" in measure(evidence(sizes=(50, 3000)), RATIO)["likelihood_ratio_auc"].detail


def test_with_fewer_than_a_hundred_attacked_peers_there_is_no_rate_of_one_per_cent():
    found = measure(evidence(sizes=(100, 450)), [*RMIA, *RATIO])
    assert found["rmia_tpr_at_1_percent"].reason == "needs 100 unseen images for a false-positive rate of 1 %, there are 75"
    assert found["rmia_auc"].value is not None
    assert found["likelihood_ratio_tpr"].value is not None


@pytest.mark.parametrize(
    ("references", "shadows", "reasons"),
    [
        (0, 4, ("needs a reference model", "needs a reference model")),
        (1, 4, (None, "needs at least 2 reference models, there is 1")),
        (2, 0, (None, "needs shadow models")),
        (2, 1, (None, "needs at least 2 shadow models, there is 1")),
        (2, 2, (None, None)),
    ],
)
def test_an_attack_without_enough_models_says_what_is_missing(references, shadows, reasons):
    found = measure(evidence(references=references, shadows=shadows, sizes=(100, 600)), RMIA + RATIO)
    for names, reason in ((RMIA, reasons[0]), (RATIO, reasons[1])):
        assert all((found[name].reason or None) == reason for name in names)


@pytest.mark.parametrize("name", RMIA + RATIO)
def test_models_of_other_classes_and_broken_models_are_refused(name):
    given = evidence(sizes=(100, 600))
    wider = said(torch.randn(700, CLASSES + 1))
    broken = said(torch.full((700, CLASSES), torch.nan))
    for other, reason in ((wider, "a reference model has other classes"), (broken, "a reference model's outputs are not finite")):
        assert measure(replace(given, references=[*given.references, other]), [name])[name].reason == reason


@pytest.mark.parametrize("name", RMIA + RATIO)
def test_a_constant_model_gives_nothing_away_and_constant_shadows_cannot_judge(name):
    given = evidence(sizes=(200, 900))
    flat = said(torch.zeros(1100, CLASSES))
    found = measure(replace(given, model=flat, references=[flat, flat], shadows=[flat, flat]), [name])[name]
    if name == "rmia_auc":
        assert found.value == 0.5
    elif name == "rmia_tpr_at_1_percent":
        assert found.value == 0
    else:
        assert found.reason.startswith("the shadow models, or the references, all say the same")


@pytest.mark.parametrize("name", RMIA + RATIO)
def test_masked_classes_and_exploded_logits_leave_a_number(name):
    given = evidence(sizes=(200, 900))
    logits = given.logits.clone()
    logits[:50, 0], logits[50:60, 1], logits[210:230, 0] = -inf, 1e30, -1e30
    found = measure(replace(given, model=said(logits)), [name])[name]
    assert 0 <= found.value <= 1


@pytest.mark.parametrize("name", RMIA + RATIO)
@pytest.mark.parametrize("unseen", [0, 1, 6])
def test_without_unseen_peers_there_is_no_number(name, unseen):
    given = evidence(sizes=(20, 90))
    few = replace(given, splits=given.splits | {"forget_test": given.splits["forget_test"][:unseen]})
    assert measure(few, [name])[name].reason.startswith("needs more images: 18 on each side would do")
    more = evidence(sizes=(20, 120))
    assert measure(more, [name])[name].value is not None or "1 %" in measure(more, [name])[name].reason


def test_the_seed_decides_which_half_is_the_population():
    given = evidence(remembered=1.0)
    one, again, other = (measure(replace(given, seed=seed), RMIA)["rmia_auc"] for seed in (1, 1, 2))
    assert one == again
    assert one.value != other.value


def test_a_limit_that_needs_shadow_models_is_refused_before_the_first_pass():
    limits = requirements.parse(["likelihood_ratio_auc=0.5±0.05"])
    with pytest.raises(UnlearnError, match="likelihood_ratio_auc needs shadow models"):
        requirements.check_measurable(limits, has_reference=True, has_original=True, kinds=["classes"])
    requirements.check_measurable(limits, has_reference=True, has_original=True, kinds=["classes"], has_shadow=True)
